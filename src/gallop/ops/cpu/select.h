#pragma once

#include <cstdint>

namespace gallop::ops {

/// Whole-number keys in the order of the scores: more for more, +0 and -0 the same, NaN as -inf.
void ordered_keys(const float* score, int64_t count, uint32_t* key);

/// How many keys have each value of their digit (key >> shift) & (digits - 1), added to `counts`
/// [2][digits], whose two rows count for one.
constexpr int64_t digits = 4096;
void count_digits(const uint32_t* key, int64_t count, int shift, uint32_t* counts);
/// total[d] += what `counts` [2][digits] has for d.
void add_counts(const uint32_t* counts, int64_t* total);

/// above[i] = key[i] >> shift > digit.
void mark_above(const uint32_t* key, int64_t count, int shift, uint32_t digit, bool* above);

struct Candidate {
  uint32_t key;
  int64_t index;
};
/// Those with key >> shift = digit, in order; key[0] has the index `first`. `to` has room for them;
/// returns the end of them.
Candidate* collect(const uint32_t* key, int64_t count, int shift, uint32_t digit, int64_t first,
                   Candidate* to);

}  // namespace gallop::ops
