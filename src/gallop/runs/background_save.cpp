#include "gallop/runs/background_save.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <chrono>
#include <new>
#include <utility>

#include "gallop/base/error.h"

namespace gallop::runs {
namespace {

// Into what an earlier save left, where that fits: memory that is touched for the first time makes
// a copy several times slower.
void copy_into(NamedTensors& copies, const NamedTensors& tensors) {
  copies.resize(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const at::Tensor& from = tensors[i].second;
    auto& [name, to] = copies[i];
    name = tensors[i].first;
    if (!to.defined() || to.sizes() != from.sizes() || to.scalar_type() != from.scalar_type()) {
      to = at::empty(from.sizes(), from.options().device(at::kCPU).requires_grad(false));
    }
    to.copy_(from);
  }
}

}  // namespace

BackgroundSaver::~BackgroundSaver() {
  if (save_.valid()) save_.wait();
}

void BackgroundSaver::start(const Snapshot& snapshot, std::string recipe_toml,
                            std::function<void()> before) {
  require(!save_.valid(), "the checkpoint of step ", copy_.step, " is still being written");
  const at::NoGradGuard no_grad;
  copy_.step = snapshot.step;
  try {
    copy_into(copy_.model, snapshot.model);
    copy_into(copy_.ema, snapshot.ema);
    copy_into(copy_.optimizer, snapshot.optimizer);
  } catch (...) {  // training needs the memory more
    copy_ = Snapshot();
    throw;
  }
  copy_.state = snapshot.state;
  copy_.model_metadata = snapshot.model_metadata;
  copy_.ema_metadata = snapshot.ema_metadata;
  save_ = std::async(std::launch::async,
                     [this, recipe_toml = std::move(recipe_toml), before = std::move(before)] {
                       const at::NoGradGuard no_grad;
                       before();
                       store_.save(copy_, recipe_toml);
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
  SaveResult result{.step = copy_.step, .error = {}};
  try {
    save_.get();
  } catch (const std::exception& error) {
    result.error = reason_of(error);
  }
  return result;
}

std::string reason_of(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return "out of memory";
  const std::string text = error.what();
  const bool ours = dynamic_cast<const Error*>(&error) != nullptr;
  return ours ? text : text.substr(0, text.find('\n'));
}

}  // namespace gallop::runs
