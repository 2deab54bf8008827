#include "gallop/ops/cpu/right_matrices.h"

#include <algorithm>

#include "gallop/ops/cpu/parallel.h"
#include "gallop/ops/inference/packed_weights.h"

namespace gallop::ops {

namespace {

// Enough to fill the rows of a tile again and again, and few enough for the second-level cache.
constexpr int64_t panels_at_a_time = 4;

// Panel p of `panels` from the columns that begin at column `begin` of a [K, N] matrix.
void fill(Panels& panels, int64_t p, const float* weight, Side side, int64_t begin, int64_t N) {
  if (side == Side::transposed) {
    panels.fill_transposed(p, weight + begin * panels.K(), panels.K());
  } else {
    panels.fill(p, weight + begin, N);
  }
}

void cut(std::span<Panels> panels, std::span<const int64_t> groups, const float* weight, Side side,
         int64_t K, int64_t N) {
  if (groups.empty()) return;
  const int64_t count = panels[groups[0]].count();
  const auto all = static_cast<int64_t>(groups.size());
  parallel_each(all * count, all * K * N * work_of_a_number, [&](int64_t task) {
    const int64_t g = groups[task / count];
    fill(panels[g], task % count, weight + g * K * N, side, 0, N);
  });
}

// More than a thread has at a time. There is room for them before, since a destructor that gives
// them back must not need memory.
constexpr size_t most_spare = 64;

// Panels whose memory the next RightMatrices of this thread takes over: a step cuts the same sizes
// again and again.
std::vector<std::vector<Panels>>& spare() {
  static thread_local std::vector<std::vector<Panels>> spare;
  return spare;
}

std::vector<Panels> take_spare(int64_t groups) {
  std::vector<Panels> taken;
  spare().reserve(most_spare);
  if (!spare().empty()) {
    taken = std::move(spare().back());
    spare().pop_back();
  }
  taken.resize(groups);
  for (Panels& panels : taken) panels.reshape(0, 0);
  return taken;
}

}  // namespace

std::vector<RowBlock> row_blocks(std::span<const int64_t> offsets) {
  std::vector<RowBlock> blocks;
  for (size_t g = 0; g + 1 < offsets.size(); ++g) {
    const int64_t rows = offsets[g + 1] - offsets[g];
    const int64_t parts = (rows + block_rows() - 1) / block_rows();
    for (int64_t i = 0; i < parts; ++i) {
      const int64_t begin = rows * i / parts, end = rows * (i + 1) / parts;
      blocks.push_back({static_cast<int64_t>(g), offsets[g] + begin, end - begin});
    }
  }
  return blocks;
}

std::vector<Panels> cut(const at::Tensor& weight, Side side, const Bf16Tile* bf16) {
  const int64_t count = weight.dim() == 3 ? weight.size(0) : 1;
  const bool transposed = side == Side::transposed;
  const int64_t K = weight.size(transposed ? -1 : -2), N = weight.size(transposed ? -2 : -1);
  std::vector<Panels> panels;
  std::vector<int64_t> groups(count);
  for (int64_t g = 0; g < count; ++g) {
    panels.emplace_back(K, N, bf16);
    groups[g] = g;
  }
  cut(panels, groups, weight.const_data_ptr<float>(), side, K, N);
  return panels;
}

RightMatrices::RightMatrices(const at::Tensor& weight, Side side, std::span<const RowBlock> blocks,
                             const Bf16Tile* bf16)
    : weight_(weight.const_data_ptr<float>()),
      side_(side),
      K_(weight.size(side == Side::transposed ? -1 : -2)),
      N_(weight.size(side == Side::transposed ? -2 : -1)),
      columns_(panel_columns(bf16)),
      bf16_(bf16) {
  if (side == Side::transposed && PackedGuard::active() != nullptr) {
    panels_ = PackedGuard::active()->panels_of(weight, bf16);
    if (!panels_.empty()) return;
  }
  std::vector<int64_t> shared;
  for (size_t i = 0; i + 1 < blocks.size(); ++i) {
    const int64_t g = blocks[i].group;
    if (g == blocks[i + 1].group && (shared.empty() || shared.back() != g)) shared.push_back(g);
  }
  own_ = take_spare(weight.dim() == 3 ? weight.size(0) : 1);
  for (const int64_t g : shared) own_[g].reshape(K_, N_, bf16);
  cut(own_, shared, weight_, side, K_, N_);
  panels_ = own_;
}

RightMatrices::~RightMatrices() {
  if (!own_.empty() && spare().size() < spare().capacity()) spare().push_back(std::move(own_));
}

void RightMatrices::multiply(std::span<const float* const> rows, int64_t group, int64_t first,
                             int64_t last, float* c, int64_t ldc) const {
  const Rows a{rows.data(), static_cast<int64_t>(rows.size())};
  const Panels& whole = panels_[group];
  if (whole.count() > 0) return ops::multiply(a, whole, first, last, c, ldc);
  static thread_local Panels few;
  for (int64_t p = first; p < last; p += panels_at_a_time) {
    const int64_t begin = column(p), end = column(std::min(p + panels_at_a_time, last));
    few.reshape(K_, end - begin, bf16_);
    for (int64_t i = 0; i < few.count(); ++i) {
      fill(few, i, weight_ + group * K_ * N_, side_, begin, N_);
    }
    ops::multiply(a, few, 0, few.count(), c + begin, ldc);
  }
}

}  // namespace gallop::ops
