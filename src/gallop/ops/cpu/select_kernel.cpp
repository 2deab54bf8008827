#include <array>
#include <bit>
#include <cstring>

#include "gallop/ops/cpu/lanes.h"
#include "gallop/ops/cpu/select.h"

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

void count_digits(const uint32_t* key, int64_t count, int shift, uint32_t* counts) {
  // Two tables: a digit that comes twice in a row does not wait for its own sum.
  uint32_t* odd = counts + digits;
  int64_t i = 0;
  for (; i + 1 < count; i += 2) {
    ++counts[key[i] >> shift & (digits - 1)];
    ++odd[key[i + 1] >> shift & (digits - 1)];
  }
  if (i < count) ++counts[key[i] >> shift & (digits - 1)];
}

GALLOP_CLONES
void add_counts(const uint32_t* counts, int64_t* total) {
  for (int64_t d = 0; d < digits; ++d) total[d] += int64_t{counts[d]} + counts[digits + d];
}

GALLOP_CLONES
void mark_above(const uint32_t* key, int64_t count, int shift, uint32_t digit, bool* above) {
  for (int64_t i = 0; i < count; ++i) above[i] = key[i] >> shift > digit;
}

GALLOP_CLONES
Candidate* collect(const uint32_t* key, int64_t count, int shift, uint32_t digit, int64_t first,
                   Candidate* to) {
  typedef uint32_t KeyLanes __attribute__((vector_size(32)));
  const KeyLanes bit = {1, 2, 4, 8, 16, 32, 64, 128};
  int64_t i = 0;
  for (; i + lane_count <= count; i += lane_count) {
    KeyLanes keys;
    std::memcpy(&keys, key + i, sizeof keys);
    const KeyLanes same = reinterpret_cast<KeyLanes>((keys >> shift) == digit) & bit;
    std::array<uint64_t, 4> words;
    std::memcpy(words.data(), &same, sizeof words);
    const uint64_t both = words[0] | words[1] | words[2] | words[3];
    // A bit for each key of the group: most groups hold none, and no key costs a branch.
    for (auto found = static_cast<uint32_t>(both | both >> 32); found != 0; found &= found - 1) {
      const int j = std::countr_zero(found);
      *to++ = {key[i + j], first + i + j};
    }
  }
  for (; i < count; ++i) {
    if (key[i] >> shift == digit) *to++ = {key[i], first + i};
  }
  return to;
}

}  // namespace gallop::ops
