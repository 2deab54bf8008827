#include "gallop/tasks/stream.h"

#include "gallop/base/error.h"
#include "gallop/base/human.h"

namespace gallop::tasks {

const at::Tensor& Batch::at(const std::string& name) const {
  const auto found = tensors.find(name);
  if (found != tensors.end()) return found->second;
  std::vector<std::string> known;
  for (const auto& [key, value] : tensors) known.push_back(key);
  fail("a batch holds no '", name, "', it has ", join_list(known));
}

}  // namespace gallop::tasks
