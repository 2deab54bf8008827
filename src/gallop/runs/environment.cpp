#include "gallop/runs/environment.h"

#include <torch/headeronly/version.h>

#include "gallop/base/cpu.h"

namespace gallop::runs {

Environment environment_of(int64_t threads, const std::string& device) {
  const CpuInfo cpu = cpu_info();
  std::string features;
  for (const std::string& feature : cpu.features)
    features += (features.empty() ? "" : " ") + feature;
  return {{"threads", std::to_string(threads)},
          {"cpu", cpu.model},
          {"instructions", features},
          {"libtorch", TORCH_VERSION},
          {"device", device}};
}

std::vector<std::string> differences(const Environment& before, const Environment& now) {
  std::vector<std::string> found;
  for (const auto& [name, was] : before) {
    const auto is = now.find(name);
    if (is != now.end() && is->second != was) {
      found.push_back(name + ": " + was + " -> " + is->second);
    }
  }
  return found;
}

}  // namespace gallop::runs
