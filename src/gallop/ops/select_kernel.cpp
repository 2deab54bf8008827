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

}  // namespace gallop::ops
