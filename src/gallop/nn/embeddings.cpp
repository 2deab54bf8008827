#include "gallop/nn/embeddings.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/silu.h>

#include <cmath>

#include "gallop/base/error.h"

namespace gallop::nn {

namespace {

const at::TensorOptions kDouble = at::TensorOptions(at::kDouble);

LinearOptions embedder_options() {
  return {.weight_init = Init::normal(0.02), .attributes = {.per_sample = true}};
}

// [sin(u w_i), cos(u w_i)] with w_i = 10000^(-i / (D/4)), i < D/4; u [n] -> [n, D/2]
at::Tensor position_code_1d(const at::Tensor& u_n, int64_t D) {
  const int64_t count = D / 4;
  const at::Tensor omega =
      at::arange(count, kDouble).mul(-std::log(10000.0) / static_cast<double>(count)).exp();
  const at::Tensor angle = u_n.unsqueeze(1).mul(omega);
  return at::cat({angle.sin(), angle.cos()}, 1);
}

}  // namespace

at::Tensor timestep_code(const at::Tensor& t_B, int64_t width) {
  const int64_t half = width / 2;
  const at::Tensor frequencies = at::arange(half, kDouble.device(t_B.device()))
                                     .mul(-std::log(10000.0) / static_cast<double>(half))
                                     .exp();
  const at::Tensor angle = t_B.to(at::kDouble).unsqueeze(1).mul(frequencies);
  std::vector<at::Tensor> parts = {angle.cos(), angle.sin()};
  if (width % 2 != 0) parts.push_back(angle.narrow(1, 0, 1).mul(0));
  return at::cat(parts, 1);
}

at::Tensor position_table_2d(int64_t D, int64_t height, int64_t width) {
  require(D > 0 && D % 4 == 0, "2-D positions need a width divisible by 4, got ", D);
  const at::Tensor rows = at::arange(height, kDouble).unsqueeze(1).expand({height, width});
  const at::Tensor columns = at::arange(width, kDouble).unsqueeze(0).expand({height, width});
  return at::cat({position_code_1d(columns.reshape(-1), D), position_code_1d(rows.reshape(-1), D)},
                 1)
      .unsqueeze(0);
}

TimestepEmbedder::TimestepEmbedder(Module& parent, std::string name, int64_t D)
    : Module(parent, std::move(name)),
      mlp_0_(*this, "mlp.0", code_width, D, embedder_options()),
      mlp_2_(*this, "mlp.2", D, D, embedder_options()) {}

at::Tensor TimestepEmbedder::forward(const at::Tensor& t_B) const {
  const at::Tensor code = timestep_code(t_B, code_width).to(mlp_0_.weight()->scalar_type());
  return mlp_2_.forward(at::silu(mlp_0_.forward(code)));
}

LabelEmbedder::LabelEmbedder(Module& parent, std::string name, int64_t classes, bool null_label,
                             int64_t D)
    : Module(parent, std::move(name)),
      rows_(classes + (null_label ? 1 : 0)),
      table_(*this, "embedding_table.weight", {rows_, D}, Init::normal(0.02),
             {.decay = false, .per_sample = true, .role = Role::table}) {}

at::Tensor LabelEmbedder::forward(const at::Tensor& y_B) const {
  require(y_B.defined(), "this model is conditional: it needs labels (y), 0 to ", rows_ - 1);
  const int64_t low = y_B.min().item<int64_t>(), high = y_B.max().item<int64_t>();
  require(low >= 0 && high < rows_, "label ", low < 0 ? low : high,
          " is out of range: this model knows 0 to ", rows_ - 1);
  return at::embedding(*table_, y_B);
}

}  // namespace gallop::nn
