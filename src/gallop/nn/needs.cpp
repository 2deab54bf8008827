#include "gallop/nn/needs.h"

#include <algorithm>

#include "gallop/base/error.h"
#include "gallop/nn/module.h"

namespace gallop::nn {

const char* description_of(Given given) {
  switch (given) {
    case Given::time:
      return "a time that the model embeds";
    case Given::label:
      return "class labels";
    case Given::null_label:
      return "samples without a label, which a null label marks";
    case Given::target:
      return "the training target of every token";
    default:
      return "all tokens of a sample";
  }
}

void refuse_need(const Module& part, Given what, const std::string& giver) {
  std::vector<const Module*> parts = part.modules();
  parts.insert(parts.begin(), &part);
  for (const Module* module : parts) {
    for (const Need& need : module->needs()) {
      require(need.what != what, module->name(), ": ", need.by, " needs ", description_of(what),
              ", and ", giver, " does not give that: leave one of the two out");
    }
  }
}

void require_given(const Module& part, const std::vector<Given>& given, const std::string& giver) {
  for (const Given what :
       {Given::time, Given::label, Given::null_label, Given::target, Given::all_tokens}) {
    if (std::find(given.begin(), given.end(), what) == given.end()) refuse_need(part, what, giver);
  }
}

}  // namespace gallop::nn
