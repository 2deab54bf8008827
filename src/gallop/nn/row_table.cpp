#include "gallop/nn/row_table.h"

#include <ATen/ops/aminmax.h>
#include <ATen/ops/embedding.h>

#include <tuple>
#include <utility>
#include <vector>

#include "gallop/base/error.h"

namespace gallop::nn {
namespace {

std::vector<int64_t> checked_shape(const std::string& name, int64_t rows, int64_t D) {
  require(rows > 0 && D > 0, "the table ", name, " of ", rows, " rows of ", D,
          " numbers: both must be positive");
  return {rows, D};
}

Attributes attributes_of(const RowTable::Options& options, int64_t rows) {
  return {.decay = options.decay,
          .lr_scale = options.lr_scale,
          .per_sample = options.per_sample,
          .share_used = options.lookups / static_cast<double>(rows),
          .role = Role::table,
          .gradient = Gradient::rows};
}

}  // namespace

RowTable::RowTable(Module& parent, std::string name, int64_t rows, int64_t D)
    : RowTable(parent, std::move(name), rows, D, Options()) {}

RowTable::RowTable(Module& parent, std::string name, int64_t rows, int64_t D,
                   const Options& options)
    : Module(parent, std::move(name)),
      lookups_(options.lookups),
      weight_(*this, "weight", checked_shape(Module::name(), rows, D), options.init,
              attributes_of(options, rows)) {}

at::Tensor RowTable::lookup(const at::Tensor& index) const {
  require(index.defined() && index.scalar_type() == at::kLong, name(),
          ": rows are looked up by int64, not by ",
          index.defined() ? c10::toString(index.scalar_type()) : "nothing");
  if (index.numel() > 0) {
    const auto [least, most] = at::aminmax(index);
    const auto low = least.item<int64_t>(), high = most.item<int64_t>();
    require(low >= 0 && high < rows(), name(), ": row ", low < 0 ? low : high,
            " is out of range: the table has rows 0 to ", rows() - 1);
  }
  return at::embedding(*weight_, index, /*padding_idx=*/-1, /*scale_grad_by_freq=*/false,
                       /*sparse=*/true);
}

Activations RowTable::activations(double tokens) const {
  const Attributes& attributes = weight_.attributes();
  const auto D = static_cast<double>(weight_.shape()[1]);
  const double rows = lookups_ * attributes.uses * (attributes.per_sample ? 1 : tokens);
  constexpr double index = 2;  // takes the room of two numbers
  return {.kept = rows * (D + index), .passing = rows * (2 * D + index)};
}

}  // namespace gallop::nn
