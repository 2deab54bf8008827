#include "gallop/data/recognise.h"

#include <map>
#include <utility>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/config/registry.h"
#include "gallop/data/dataset.h"

namespace gallop::data {
namespace {

std::map<std::string, Recogniser>& recognisers() {
  static std::map<std::string, Recogniser> instance;
  return instance;
}

}  // namespace

Recognise::Recognise(const char* kind, Recogniser recogniser) {
  recognisers()[kind] = std::move(recogniser);
}

std::string recognise_kind(const fs::path& folder) {
  require(is_there(folder), "there is no '", folder.string(), "'");
  require(is_folder(folder), "'", folder.string(),
          "' is neither a folder nor a recipe (a file that ends in .toml)");
  std::vector<std::string> found, looked_for;
  for (const auto& [kind, recogniser] : recognisers()) {
    if (recogniser(folder)) found.push_back(kind);
    looked_for.push_back(kind + " (" + config::find_component(Dataset::category, kind).summary +
                         ")");
  }
  if (found.size() == 1) return found.front();
  require(found.empty(), "'", folder.string(), "' looks like ", join_list(found),
          ": say which with --kind");
  fail("'", folder.string(), "' holds no data that is known: ", join_list(looked_for, "or"));
}

}  // namespace gallop::data
