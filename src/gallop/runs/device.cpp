#include "gallop/runs/device.h"

#include <ATen/DeviceAccelerator.h>
#include <ATen/Parallel.h>

#include "gallop/base/error.h"
#include "gallop/base/thread_pool.h"

namespace gallop::runs {

nn::Placement placement_of(const Recipe& recipe) {
  nn::Placement placement;
  if (recipe.device == "cpu") return placement;
  const auto accelerator = at::accelerator::getAccelerator();
  const bool found = accelerator.has_value() && at::accelerator::deviceCount() > 0;
  require(
      found || recipe.device == "auto",
      "device = \"gpu\", but libtorch sees none: is this the build with CUDA, and does nvidia-smi "
      "list the GPU? `gallop doctor` tells; device = \"cpu\" trains without.");
  if (found) placement.device = at::Device(*accelerator, 0);
  return placement;
}

ops::Precision precision_of(const Recipe& recipe) {
  if (recipe.train.precision != "bf16") return ops::Precision::float32;
  constexpr const char* instead =
      ". train.precision = \"float32\" works here (--set train.precision=float32, and for a run "
      "that "
      "was started in bf16 --allow train.precision)";
  const at::Device device = placement_of(recipe).device;
  require(device.is_cpu(), "train.precision = \"bf16\" is for CPUs, and the model would live on ",
          device.str(), ": device = \"cpu\" trains it there", instead);
  const std::string missing = ops::bf16_missing();
  require(missing.empty(), "train.precision = \"bf16\" cannot run: ", missing, instead);
  return ops::Precision::bf16;
}

int64_t use_threads(const Recipe& recipe) {
  const int threads =
      recipe.threads == 0 ? ThreadPool::default_threads() : static_cast<int>(recipe.threads);
  ThreadPool::shared().set_threads(threads);
  at::set_num_threads(1);  // a team of OpenMP beside ours would spin for the cores that ours use
  return threads;
}

}  // namespace gallop::runs
