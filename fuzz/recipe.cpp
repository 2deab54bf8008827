#include "fuzz/target.h"
#include "gallop/config/parse.h"
#include "gallop/config/print.h"
#include "tests/config/sample_recipe.h"

namespace gallop::config {

// A recipe, and then one `--set` of a recipe.
GALLOP_FUZZ_TARGET(recipe) {
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  fuzz::allowing_errors([&] {
    sample::Recipe overridden;
    load_text(overridden, "", "recipe.toml", {text});
  });
  sample::Recipe recipe;
  load_text(recipe, text, "recipe.toml");
  sample::Recipe again;
  load_text(again, to_toml(recipe), "printed.toml");
  if (to_toml(again) != to_toml(recipe)) throw std::logic_error("a recipe changes when printed");
}

}  // namespace gallop::config
