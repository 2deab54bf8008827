#include <array>
#include <cstring>

#include "gallop/ops/lanes.h"
#include "gallop/ops/select.h"

namespace gallop::ops {

GALLOP_CLONES
void ordered_keys(const float* score, int64_t count, uint32_t* key) {
  constexpr uint32_t sign = 0x80000000U, infinity = 0x7f800000U;
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits = 0;
    std::memcpy(&bits, score + i, sizeof bits);
    bits = (bits & ~sign) > infinity ? sign | infinity : bits;
    bits = bits == sign ? 0 : bits;
    // Negative numbers count downwards.
    key[i] = (bits & sign) != 0 ? ~bits : bits | sign;
  }
}

void count_digits(const uint32_t* key, int64_t count, int shift, int64_t* counts) {
  // Two tables: a digit that comes twice in a row does not wait for its own sum.
  static thread_local std::array<std::array<uint32_t, digits>, 2> sums;
  for (auto& table : sums) table.fill(0);
  int64_t i = 0;
  for (; i + 1 < count; i += 2) {
    ++sums[0][key[i] >> shift & (digits - 1)];
    ++sums[1][key[i + 1] >> shift & (digits - 1)];
  }
  if (i < count) ++sums[0][key[i] >> shift & (digits - 1)];
  for (int64_t d = 0; d < digits; ++d) counts[d] += int64_t{sums[0][d]} + sums[1][d];
}

GALLOP_CLONES
void mark_above(const uint32_t* key, int64_t count, int shift, uint32_t digit, bool* above) {
  for (int64_t i = 0; i < count; ++i) above[i] = key[i] >> shift > digit;
}

GALLOP_CLONES
void collect(const uint32_t* key, int64_t count, int shift, uint32_t digit, int64_t first,
             Candidate* to) {
  typedef uint32_t KeyLanes __attribute__((vector_size(32)));
  const auto check = [&](int64_t i) {
    if (key[i] >> shift == digit) *to++ = {key[i], first + i};
  };
  int64_t i = 0;
  for (; i + lane_count <= count; i += lane_count) {
    KeyLanes keys;
    std::memcpy(&keys, key + i, sizeof keys);
    const IntLanes same = (keys >> shift) == digit;
    std::array<uint64_t, 4> any;  // most groups hold none: found out without a branch a key
    std::memcpy(any.data(), &same, sizeof any);
    if ((any[0] | any[1] | any[2] | any[3]) == 0) continue;
    for (int64_t j = 0; j < lane_count; ++j) check(i + j);
  }
  for (; i < count; ++i) check(i);
}

}  // namespace gallop::ops
