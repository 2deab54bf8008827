#include "gallop/sparse/losses/diffusion_prior.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>

#include "gallop/base/error.h"
#include "gallop/ops/topk_mask.h"

namespace gallop::sparse {

namespace {

// Rows to columns of a square matrix of costs, the sum of the chosen ones least: shortest
// augmenting paths with potentials, O(A^3). Row and column 0 are a start that belongs to nobody.
std::vector<int64_t> assign(const std::vector<double>& cost, size_t A) {
  std::vector<double> of_row(A + 1), of_column(A + 1);
  std::vector<size_t> row_of(A + 1), before(A + 1);
  for (size_t row = 1; row <= A; ++row) {
    row_of[0] = row;
    size_t at = 0;
    std::vector<double> least(A + 1, std::numeric_limits<double>::infinity());
    std::vector<bool> reached(A + 1);
    while (row_of[at] != 0) {
      reached[at] = true;
      size_t next = 0;
      double step = std::numeric_limits<double>::infinity();
      for (size_t c = 1; c <= A; ++c) {
        if (reached[c]) continue;
        const double slack = cost[(row_of[at] - 1) * A + c - 1] - of_row[row_of[at]] - of_column[c];
        if (slack < least[c]) {
          least[c] = slack;
          before[c] = at;
        }
        if (least[c] < step) {
          step = least[c];
          next = c;
        }
      }
      for (size_t c = 0; c <= A; ++c) {
        if (reached[c]) {
          of_row[row_of[c]] += step;
          of_column[c] -= step;
        } else {
          least[c] -= step;
        }
      }
      at = next;
    }
    for (; at != 0; at = before[at]) row_of[at] = row_of[before[at]];
  }
  std::vector<int64_t> column_of(A);
  for (size_t c = 1; c <= A; ++c) column_of[row_of[c] - 1] = static_cast<int64_t>(c) - 1;
  return column_of;
}

}  // namespace

at::Tensor prior_table(int64_t T, int64_t blocks, int64_t experts, int64_t active) {
  const int64_t ones = blocks * active, last = blocks * experts - ones;
  at::Tensor table = at::zeros({T, blocks * experts});
  for (int64_t t = 0; t < T; ++t) {
    const double place = T == 1 ? 0 : static_cast<double>(t) / static_cast<double>(T - 1);
    const int64_t begin = std::llround(static_cast<double>(last) * std::pow(place, 4));
    table.select(0, t).narrow(0, begin, ones).fill_(1);
  }
  return table;
}

std::vector<int64_t> best_columns(const at::Tensor& used_TA, const at::Tensor& table_TA) {
  const at::Tensor used = used_TA.to(at::kDouble), table = table_TA.to(at::kDouble);
  require(used.dim() == 2 && used.sizes() == table.sizes(), "the experts used, ", used.sizes(),
          ", and the prior, ", table.sizes(), ", must be [noise levels, experts of all blocks]");
  // |q - Q| of zeros and ones is q + Q - 2 q Q.
  const at::Tensor cost_AA =
      used.sum(0).unsqueeze(1).add(table.sum(0)).sub(used.t().matmul(table), 2).contiguous();
  const double* cost = cost_AA.const_data_ptr<double>();
  return assign({cost, cost + cost_AA.numel()}, static_cast<size_t>(cost_AA.size(0)));
}

at::Tensor jensen_shannon(const at::Tensor& p_BA, const at::Tensor& q_BA) {
  constexpr double epsilon = 1e-6;
  const at::Tensor mean_BA = p_BA.add(q_BA).div(2).add(epsilon);
  const auto part = [&](const at::Tensor& x_BA) {
    return x_BA.mul(x_BA.add(epsilon).div(mean_BA).log()).sum(1);
  };
  return part(p_BA).add(part(q_BA)).div(2).mean();
}

at::Tensor DiffusionPrior::value(const RoutingRecord& record, const at::Tensor&) const {
  return joint_value({&record});
}

at::Tensor DiffusionPrior::joint_value(const std::vector<const RoutingRecord*>& records) const {
  const auto N = static_cast<int64_t>(records.size());
  std::vector<at::Tensor> parts, used;
  for (const RoutingRecord* record : records) {
    parts.push_back(record->extra("probabilities"));
    used.push_back(ops::topk_mask(parts.back().detach(), active_).mask_RN);
  }
  const int64_t T = parts[0].size(0), M = parts[0].size(1);
  const at::Tensor& timestep_B = records[0]->timestep_B;
  const at::Tensor t_B = timestep_B.to(at::kLong);
  require(
      t_B.eq(timestep_B).all().item<bool>() && t_B.ge(0).logical_and(t_B.lt(T)).all().item<bool>(),
      records[0]->layer, ": the diffusion prior needs noise levels that are whole numbers from 0 ",
      "to ", T - 1, ", as those of the objective \"ddpm\" with ", T, " steps");
  at::Tensor target_TA;
  {
    const at::NoGradGuard no_grad;
    const at::Tensor table_TA = prior_table(T, N, M, active_);
    const std::vector<int64_t> columns = best_columns(at::cat(used, 1).cpu(), table_TA);
    target_TA = table_TA.index_select(1, at::tensor(columns, at::kLong))
                    .div(static_cast<double>(N * active_))
                    .to(parts[0].options());
  }
  const at::Tensor p_BA = at::cat(parts, 1).div(static_cast<double>(N)).index_select(0, t_B);
  return jensen_shannon(p_BA, target_TA.index_select(0, t_B));
}

}  // namespace gallop::sparse
