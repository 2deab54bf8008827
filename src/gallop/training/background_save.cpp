#include "gallop/training/background_save.h"

#include <ATen/core/grad_mode.h>

#include <chrono>
#include <utility>

#include "gallop/base/error.h"

namespace gallop::training {
namespace {

NamedTensors copy_of(const NamedTensors& tensors) {
  NamedTensors copies;
  copies.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors) {
    copies.emplace_back(name,
                        tensor.detach().to(c10::kCPU, tensor.scalar_type(), /*non_blocking=*/false,
                                           /*copy=*/true, at::MemoryFormat::Contiguous));
  }
  return copies;
}

}  // namespace

BackgroundSaver::~BackgroundSaver() {
  if (save_.valid()) save_.wait();
}

void BackgroundSaver::start(const Snapshot& snapshot, std::string recipe_toml,
                            std::function<void()> before) {
  require(!save_.valid(), "the checkpoint of step ", step_, " is still being written");
  Snapshot copy{.step = snapshot.step,
                .model = copy_of(snapshot.model),
                .ema = copy_of(snapshot.ema),
                .optimizer = copy_of(snapshot.optimizer),
                .state = snapshot.state,
                .model_metadata = snapshot.model_metadata,
                .ema_metadata = snapshot.ema_metadata};
  step_ = snapshot.step;
  save_ = std::async(std::launch::async,
                     [this, copy = std::move(copy), recipe_toml = std::move(recipe_toml),
                      before = std::move(before)] {
                       const at::NoGradGuard no_grad;
                       before();
                       store_.save(copy, recipe_toml);
                     });
}

std::optional<SaveResult> BackgroundSaver::poll() {
  if (!save_.valid() || save_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    return {};
  }
  return wait();
}

std::optional<SaveResult> BackgroundSaver::wait() {
  if (!save_.valid()) return {};
  SaveResult result{.step = step_, .error = {}};
  try {
    save_.get();
  } catch (const Error& error) {
    result.error = error.what();
  }
  return result;
}

}  // namespace gallop::training
