#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace gallop {

/// Names one stream of random numbers. Numbers are a pure function of the key and the position in
/// the stream (Philox4x32-10), so a sample keeps its noise whatever its neighbours in the batch,
/// the threads or a resume do.
struct NoiseKey {
  uint64_t seed = 0;
  std::string_view purpose;  ///< what the numbers are for, "init", "noise", "order", ...; hashed
  uint64_t sample = 0;       ///< sample index, or the hash of a name
  uint64_t step = 0;         ///< training step, epoch or sampler step

  NoiseKey with_purpose(std::string_view p) const { return {seed, p, sample, step}; }
  NoiseKey with_sample(uint64_t s) const { return {seed, purpose, s, step}; }
  NoiseKey with_step(uint64_t s) const { return {seed, purpose, sample, s}; }
};

/// Four random words: Philox4x32-10 of the given 128-bit counter and 64-bit key (Salmon et al.,
/// 2011).
struct Philox4 {
  uint32_t word[4];
};
Philox4 philox(uint64_t key, uint64_t counter_low, uint64_t counter_high);

/// Standard normal numbers (Box-Muller, computed in double without the C library, the same bits on
/// every machine; the floats are the rounded doubles), out[i] depends on the key and i only.
void fill_normal(std::span<float> out, const NoiseKey& key);
void fill_normal(std::span<double> out, const NoiseKey& key);
/// Uniform numbers in [0, 1), out[i] depends on the key and i only.
void fill_uniform(std::span<float> out, const NoiseKey& key);
void fill_uniform(std::span<double> out, const NoiseKey& key);
/// The first number of fill_uniform / fill_normal.
double uniform(const NoiseKey& key);
double normal(const NoiseKey& key);
/// An integer in [0, n) without modulo bias; n > 0.
uint64_t uniform_below(uint64_t n, const NoiseKey& key);
/// A permutation of 0..n-1 (Fisher-Yates).
std::vector<int64_t> permutation(int64_t n, const NoiseKey& key);
/// 64-bit hash of a name (XXH3) for NoiseKey::sample.
uint64_t hash_name(std::string_view name);

}  // namespace gallop
