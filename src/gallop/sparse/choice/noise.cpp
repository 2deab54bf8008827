#include "gallop/sparse/choice/noise.h"

#include <ATen/ops/empty.h>

#include <span>

#include "gallop/base/random.h"

namespace gallop::sparse {

namespace {

template <class Fill>
at::Tensor noise(const nn::ForwardContext& ctx, const std::string& stream, const at::Tensor& like,
                 Fill fill) {
  const int64_t B = like.size(0);
  at::Tensor drawn = at::empty(like.sizes(), at::TensorOptions(at::kFloat));
  const int64_t width = B == 0 ? 0 : drawn.numel() / B;
  const NoiseKey key = ctx.noise.with_step(ctx.noise.step + hash_name(stream));
  for (int64_t b = 0; b < B; ++b) {
    const std::span<float> row(drawn.mutable_data_ptr<float>() + b * width,
                               static_cast<size_t>(width));
    fill(row, key.with_sample(ctx.noise.sample + static_cast<uint64_t>(b)));
  }
  return drawn.to(like.options());
}

}  // namespace

at::Tensor normal_noise(const nn::ForwardContext& ctx, const std::string& stream,
                        const at::Tensor& like) {
  return noise(ctx, stream, like,
               [](std::span<float> row, const NoiseKey& key) { fill_normal(row, key); });
}

at::Tensor uniform_noise(const nn::ForwardContext& ctx, const std::string& stream,
                         const at::Tensor& like) {
  return noise(ctx, stream, like,
               [](std::span<float> row, const NoiseKey& key) { fill_uniform(row, key); });
}

}  // namespace gallop::sparse
