#include "gallop/ops/int8.h"

#include <ATen/ops/full_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <limits>

#include "gallop/base/error.h"
#include "gallop/ops/activation.h"
#include "gallop/ops/tasks.h"

namespace gallop::ops {

namespace {

const Int8Weights*& active() {
  static thread_local const Int8Weights* active = nullptr;
  return active;
}

struct Quantized {
  at::Tensor numbers, scale;  // double; float32 with last size 1
};

Quantized quantize(const at::Tensor& x) {
  const at::Tensor most = x.abs().amax(-1, /*keepdim=*/true);
  const at::Tensor finite = most.isfinite(), zero = most.lt(least_int8);
  const at::Tensor inverse =
      at::where(zero, at::zeros_like(most), at::full_like(most, most_int8).div(most));
  const at::Tensor numbers = x.mul(inverse).round();
  const at::Tensor scale = at::where(zero, at::zeros_like(most), most.div(most_int8));
  return {at::where(finite, numbers, at::zeros_like(x)).to(at::kDouble),
          at::where(finite, scale, at::full_like(scale, std::numeric_limits<float>::quiet_NaN()))};
}

}  // namespace

Int8Weights::Int8Weights(const std::vector<at::Tensor>& weights, const Int8Tile& tile)
    : tile_(&tile) {
  for (const at::Tensor& weight : weights) {
    require((weight.dim() == 2 || weight.dim() == 3) && weight.is_cpu() &&
                weight.scalar_type() == at::kFloat && weight.is_contiguous(),
            "8-bit weights are made of contiguous float32 matrices on the CPU, not of ",
            weight.toString(), " ", weight.sizes(), " on ", weight.device());
    const int64_t E = weight.dim() == 3 ? weight.size(0) : 1, N = weight.size(-2),
                  K = weight.size(-1);
    auto entry = std::make_unique<Entry>();
    entry->weight = weight;
    entry->version = weight._version();
    for (int64_t e = 0; e < E; ++e) entry->panels.emplace_back(N, K, tile);
    const int64_t panels = E == 0 ? 0 : entry->panels[0].count();
    const float* data = weight.const_data_ptr<float>();
    for_each_task(E * panels, weight.numel(), [&](int64_t task) {
      const int64_t e = task / panels;
      entry->panels[e].fill(task % panels, data + e * N * K);
    });
    for (int64_t e = 0; e < E && N * K > 0; ++e) places_[data + e * N * K] = {entry.get(), e};
    entries_.push_back(std::move(entry));
  }
}

int64_t Int8Weights::numel() const {
  int64_t sum = 0;
  for (const auto& entry : entries_) sum += entry->weight.numel();
  return sum;
}

int64_t Int8Weights::numel_used() const {
  int64_t sum = 0;
  for (const auto& entry : entries_) sum += entry->used ? entry->weight.numel() : 0;
  return sum;
}

int64_t Int8Weights::bytes() const {
  int64_t sum = 0;
  for (const auto& entry : entries_) {
    for (const Int8Panels& panels : entry->panels) sum += panels.bytes();
  }
  return sum;
}

const Int8Weights::Place* Int8Weights::place_of(const at::Tensor& weight) const {
  const int64_t dim = weight.dim();
  if ((dim != 2 && dim != 3) || !weight.is_contiguous()) return nullptr;
  const auto place = places_.find(weight.const_data_ptr());
  if (place == places_.end()) return nullptr;
  const at::Tensor& known = place->second.entry->weight;
  const bool same = dim == 3 ? weight.sizes() == known.sizes()
                             : weight.size(0) == known.size(-2) && weight.size(1) == known.size(-1);
  return same ? &place->second : nullptr;
}

std::vector<std::span<const Int8Panels>> Int8Weights::find(at::TensorList weights) const {
  for (const at::Tensor& weight : weights) {
    if (place_of(weight) == nullptr) return {};
  }
  std::vector<std::span<const Int8Panels>> found;
  for (const at::Tensor& weight : weights) {
    const auto [entry, index] = *place_of(weight);
    require(entry->weight._version() == entry->version, "a weight ", entry->weight.sizes(),
            " was changed after its 8-bit form was made; make the Int8Weights again");
    entry->used = true;
    found.push_back(
        std::span(entry->panels).subspan(index, weight.dim() == 3 ? entry->panels.size() : 1));
  }
  return found;
}

Int8Guard::Int8Guard(const Int8Weights& weights) : before_(active()) { active() = &weights; }

Int8Guard::~Int8Guard() { active() = before_; }

std::vector<std::span<const Int8Panels>> Int8Guard::find(at::TensorList weights) {
  if (active() == nullptr) return {};
  return active()->find(weights);
}

at::Tensor linear_int8_reference(const at::Tensor& x, const at::Tensor& weight,
                                 const at::Tensor& bias, bool gelu) {
  const Quantized a = quantize(x), b = quantize(weight);
  at::Tensor y = a.numbers.matmul(b.numbers.t()).to(at::kFloat).mul(b.scale.t().squeeze(0));
  y = y.mul(a.scale);
  if (bias.defined()) y = y.add(bias);
  return gelu ? gelu_tanh_reference(y) : y;
}

at::Tensor grouped_mlp_int8_reference(const at::Tensor& x_TD, const at::Tensor& offsets,
                                      const at::Tensor& tokens_P, const at::Tensor& weights_P,
                                      const GroupedMlpWeights& mlp) {
  const at::Tensor x_PD = x_TD.index_select(0, tokens_P);
  const int64_t* offset = offsets.const_data_ptr<int64_t>();
  at::Tensor y_TD = at::zeros_like(x_TD);
  for (int64_t e = 0; e + 1 < offsets.numel(); ++e) {
    const int64_t begin = offset[e], count = offset[e + 1] - begin;
    const at::Tensor hidden = linear_int8_reference(
        x_PD.narrow(0, begin, count), mlp.w1_EHD.select(0, e), mlp.b1_EH.select(0, e), true);
    const at::Tensor y =
        linear_int8_reference(hidden, mlp.w2_EDH.select(0, e), mlp.b2_ED.select(0, e), false);
    y_TD = y_TD.index_add(0, tokens_P.narrow(0, begin, count),
                          y.mul(weights_P.narrow(0, begin, count).unsqueeze(1)));
  }
  return y_TD;
}

}  // namespace gallop::ops
