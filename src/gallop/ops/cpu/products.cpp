#include "gallop/ops/cpu/products.h"

#include <algorithm>
#include <bit>

#include "gallop/ops/cpu/elementwise.h"

namespace gallop::ops {

namespace {

// The product of a group is cut in all three directions. Rows: a chunk of about a thousand costs
// its part of the sum little, and cutting in powers of two shares it among 2, 4, 8 threads evenly.
constexpr int64_t chunk_rows = 1024;
// Columns: what a task packs stays in the second-level cache.
constexpr int64_t most_n = 384, most_k = 256;

int64_t chunks_of(int64_t rows) {
  const auto parts = static_cast<uint64_t>((rows + chunk_rows - 1) / chunk_rows);
  return static_cast<int64_t>(std::bit_ceil(std::max<uint64_t>(parts, 1)));
}

Parts equal_parts(int64_t size, int64_t most) {
  const int64_t parts = std::max<int64_t>((size + most - 1) / most, 1);
  return {size, (size + parts - 1) / parts};
}

// Where there are few tasks, threads would wait for the last one; smaller ones pack more often,
// which costs less as long as they are not too small.
Parts n_parts_of(int64_t N, int64_t others) {
  constexpr int64_t least = 64;
  const int64_t parts = others < 4 ? 4 : others < 16 ? 2 : 1;
  return equal_parts(N, std::min(most_n, std::max(least, (N + parts - 1) / parts)));
}

struct Chunk {
  int64_t begin, count;
  float* sum;  // [N, K]
};

}  // namespace

void weight_gradients(std::span<const float* const> a, int64_t N, std::span<const float* const> b,
                      int64_t K, std::span<const int64_t> offsets, float* c, const Bf16Tile* bf16) {
  const int64_t groups = static_cast<int64_t>(offsets.size()) - 1;
  std::vector<Chunk> chunks;
  std::vector<int64_t> first(groups + 1);  // chunk of each group
  int64_t extra = 0;
  for (int64_t g = 0; g < groups; ++g) {
    first[g] = static_cast<int64_t>(chunks.size());
    const int64_t rows = offsets[g + 1] - offsets[g];
    const int64_t parts = chunks_of(rows), part = (rows + parts - 1) / parts;
    for (int64_t begin = 0; begin < rows || begin == 0; begin += part) {
      chunks.push_back({offsets[g] + begin, std::min(part, rows - begin), nullptr});
      if (begin > 0) ++extra;
      if (part == 0) break;
    }
  }
  first[groups] = static_cast<int64_t>(chunks.size());

  // The first chunk of a group sums into the result, the others beside it.
  Buffer buffer;
  float* beside = buffer.at_least(extra * N * K);
  for (int64_t g = 0; g < groups; ++g) {
    chunks[first[g]].sum = c + g * N * K;
    for (int64_t i = first[g] + 1; i < first[g + 1]; ++i, beside += N * K) chunks[i].sum = beside;
  }

  const auto count = static_cast<int64_t>(chunks.size());
  const Parts k_parts = equal_parts(K, most_k), n_parts = n_parts_of(N, count * k_parts.count());
  const int64_t tiles = n_parts.count() * k_parts.count();
  parallel_each(count * tiles, offsets.back() * N * K, [&](int64_t task) {
    const Chunk& chunk = chunks[task / tiles];
    const int64_t i = task % tiles / k_parts.count(), j = task % k_parts.count();
    const int64_t n = n_parts.begin(i), k = k_parts.begin(j);
    std::vector<const float*> a_part(chunk.count), b_part(chunk.count);
    for (int64_t r = 0; r < chunk.count; ++r) {
      a_part[r] = a[chunk.begin + r] + n;
      b_part[r] = b[chunk.begin + r] + k;
    }
    multiply_transposed(a_part.data(), n_parts.length(i), b_part.data(), k_parts.length(j),
                        chunk.count, chunk.sum + n * K + k, K, bf16);
  });

  if (extra == 0) return;
  parallel_each(groups * N, groups * N * K * work_of_a_number, [&](int64_t task) {
    const int64_t g = task / N, n = task % N;
    for (int64_t i = first[g] + 1; i < first[g + 1]; ++i) {
      accumulate(chunks[first[g]].sum + n * K, chunks[i].sum + n * K, K);
    }
  });
}

void sum_blocks(const float* parts, std::span<const RowBlock> blocks, int64_t width, int64_t groups,
                float* sums) {
  std::fill(sums, sums + groups * width, 0.0F);
  for (size_t i = 0; i < blocks.size(); ++i) {
    accumulate(sums + blocks[i].group * width, parts + static_cast<int64_t>(i) * width, width);
  }
}

}  // namespace gallop::ops
