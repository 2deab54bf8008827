#include "gallop/training/device.h"

#include <ATen/DeviceAccelerator.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "gallop/base/cpu.h"
#include "gallop/base/error.h"

namespace gallop::training {

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
  int64_t threads = recipe.threads;
  // OMP_NUM_THREADS, which libtorch has read already, stands where the recipe says nothing.
  if (threads == 0 && std::getenv("OMP_NUM_THREADS") != nullptr) return at::get_num_threads();
  if (threads == 0) {
    const CpuInfo cpu = cpu_info();
    threads = std::max<int64_t>(1, std::min<int64_t>(cpu.cores, std::llround(cpu.quota)));
  }
  at::set_num_threads(static_cast<int>(threads));
  return threads;
}

}  // namespace gallop::training
