#include "gallop/sparse/choice/mixing.h"

#include "gallop/sparse/choice/selection.h"

namespace gallop::sparse {

std::vector<std::string> selections_that_mix_samples(const nn::Module& model) {
  std::vector<std::string> names;
  for (const Selection* selection : selections_of(model)) {
    if (selection->independent_at_inference()) continue;
    // One selection that wraps another has the name of its layer.
    if (names.empty() || !selection->name().starts_with(names.back() + "."))
      names.push_back(selection->name());
  }
  return names;
}

}  // namespace gallop::sparse
