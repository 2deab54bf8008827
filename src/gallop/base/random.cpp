#include "gallop/base/random.h"

#include <xxhash.h>

#include <bit>
#include <cmath>
#include <numbers>
#include <numeric>

#include "gallop/base/error.h"

// From a NoiseKey to Philox:
//   key   = first 64 bits of philox(seed; hash(purpose), 'derive')
//   start = philox(~key; sample, step), a 128-bit number
//   block b of the stream = philox(key; start + b)
// Philox is a bijection of the counter, so streams of one (seed, purpose) all start apart; that two
// of them overlap takes starts closer than a stream is long, in a space of 2^128.

namespace gallop {
namespace {

constexpr uint64_t derive_tag = 0x6465726976650000;  // "derive"

uint64_t low_half(const Philox4& r) { return r.word[0] | uint64_t{r.word[1]} << 32; }
uint64_t high_half(const Philox4& r) { return r.word[2] | uint64_t{r.word[3]} << 32; }

/// The blocks of one stream, each 128 random bits.
class Blocks {
 public:
  explicit Blocks(const NoiseKey& k) {
    key_ = low_half(philox(k.seed, hash_name(k.purpose), derive_tag));
    const Philox4 start = philox(~key_, k.sample, k.step);
    low_ = low_half(start);
    high_ = high_half(start);
  }
  Philox4 operator[](uint64_t b) const {
    const uint64_t low = low_ + b;
    return philox(key_, low, high_ + (low < b));
  }

 private:
  uint64_t key_, low_, high_;
};

/// The same stream as 64-bit words, one after the other.
class Words {
 public:
  explicit Words(const NoiseKey& key) : blocks_(key) {}
  uint64_t next() {
    if (position_ % 2 == 0) block_ = blocks_[position_ / 2];
    return position_++ % 2 == 0 ? low_half(block_) : high_half(block_);
  }
  /// In [0, n): words at and above the largest multiple of n are passed over.
  uint64_t below(uint64_t n) {
    const uint64_t excess = (UINT64_MAX % n + 1) % n;  // 2^64 mod n
    for (;;) {
      const uint64_t word = next();
      if (word <= UINT64_MAX - excess) return word % n;
    }
  }

 private:
  Blocks blocks_;
  Philox4 block_{};
  uint64_t position_ = 0;
};

// log and sincos are written out: those of the C library differ in the last bit between its
// versions and between processors with and without FMA, and noise must not. (So no FMA here either:
// the build keeps to ISO C++, where the compiler forms none by itself.) Series are unrolled, since
// a loop over n would divide or look up.

/// Natural logarithm of u in [2^-53, 1].
double log_unit(double u) {
  const uint64_t bits = std::bit_cast<uint64_t>(u);
  // Exponent and mantissa such that the mantissa lies in [0.707, 1.414): bits of sqrt(1/2) are
  // taken off before the exponent is cut out, without a branch.
  constexpr uint64_t root_half = 0x3fe6a09e667f3bcd;
  const int64_t exponent = static_cast<int64_t>(bits - root_half) >> 52;
  const double m = std::bit_cast<double>(bits - (static_cast<uint64_t>(exponent) << 52));
  const double s = (m - 1) / (m + 1);  // log m = 2 artanh s, |s| < 0.172
  const double z = s * s;
  double sum = 1.0 / 21;
  sum = sum * z + 1.0 / 19;
  sum = sum * z + 1.0 / 17;
  sum = sum * z + 1.0 / 15;
  sum = sum * z + 1.0 / 13;
  sum = sum * z + 1.0 / 11;
  sum = sum * z + 1.0 / 9;
  sum = sum * z + 1.0 / 7;
  sum = sum * z + 1.0 / 5;
  sum = sum * z + 1.0 / 3;
  sum = sum * z + 1.0;
  return 2 * s * sum + static_cast<double>(exponent) * 0.69314718055994530942;
}

/// sin and cos of 2 pi u, u in [0, 1): nearest quarter turn and Taylor series of the rest.
void sincos_turn(double u, double& sine, double& cosine) {
  const auto quarter = static_cast<uint64_t>(u * 4 + 0.5);  // 0..4
  const double x = (u - static_cast<double>(quarter) * 0.25) * (2 * std::numbers::pi);
  const double z = x * x;            // |x| <= pi/4
  double s = 1.0 / 355687428096000;  // 1/17!
  s = s * z - 1.0 / 1307674368000;   // 1/15!
  s = s * z + 1.0 / 6227020800;
  s = s * z - 1.0 / 39916800;
  s = s * z + 1.0 / 362880;
  s = s * z - 1.0 / 5040;
  s = s * z + 1.0 / 120;
  s = s * z - 1.0 / 6;
  s = s * z * x + x;
  double c = 1.0 / 20922789888000;  // 1/16!
  c = c * z - 1.0 / 87178291200;
  c = c * z + 1.0 / 479001600;
  c = c * z - 1.0 / 3628800;
  c = c * z + 1.0 / 40320;
  c = c * z - 1.0 / 720;
  c = c * z + 1.0 / 24;
  c = c * z - 1.0 / 2;
  c = c * z + 1.0;
  // Bit operations: the quarter is random, and a branch on it would be mispredicted half the time.
  const uint64_t swap = -(quarter & 1);
  const uint64_t sbits = std::bit_cast<uint64_t>(s), cbits = std::bit_cast<uint64_t>(c);
  const uint64_t sine_sign = (quarter & 2) << 62, cosine_sign = ((quarter + 1) & 2) << 62;
  sine = std::bit_cast<double>(((sbits & ~swap) | (cbits & swap)) ^ sine_sign);
  cosine = std::bit_cast<double>(((cbits & ~swap) | (sbits & swap)) ^ cosine_sign);
}

constexpr double two_to_minus_53 = 1.0 / (uint64_t{1} << 53);

template <class Real>
void fill_normal_as(std::span<Real> out, const NoiseKey& key) {
  const Blocks blocks(key);
  for (size_t i = 0; i < out.size(); i += 2) {
    const Philox4 block = blocks[i / 2];
    const double u = static_cast<double>((low_half(block) >> 11) + 1) * two_to_minus_53;  // (0, 1]
    const double turn = static_cast<double>(high_half(block) >> 11) * two_to_minus_53;    // [0, 1)
    const double radius = std::sqrt(-2 * log_unit(u));
    double sine, cosine;
    sincos_turn(turn, sine, cosine);
    out[i] = static_cast<Real>(radius * cosine);
    if (i + 1 < out.size()) out[i + 1] = static_cast<Real>(radius * sine);
  }
}

// A float keeps the first 24 bits of the double's 53: rounding could reach 1.
void from_word(uint64_t word, double& out) {
  out = static_cast<double>(word >> 11) * two_to_minus_53;
}
void from_word(uint64_t word, float& out) { out = static_cast<float>(word >> 40) * 0x1p-24f; }

template <class Real>
void fill_uniform_as(std::span<Real> out, const NoiseKey& key) {
  const Blocks blocks(key);
  for (size_t i = 0; i < out.size(); i += 2) {
    const Philox4 block = blocks[i / 2];
    from_word(low_half(block), out[i]);
    if (i + 1 < out.size()) from_word(high_half(block), out[i + 1]);
  }
}

}  // namespace

Philox4 philox(uint64_t key, uint64_t counter_low, uint64_t counter_high) {
  uint32_t c0 = static_cast<uint32_t>(counter_low), c1 = static_cast<uint32_t>(counter_low >> 32);
  uint32_t c2 = static_cast<uint32_t>(counter_high), c3 = static_cast<uint32_t>(counter_high >> 32);
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return {{c0, c1, c2, c3}};
}

void fill_normal(std::span<float> out, const NoiseKey& key) { fill_normal_as(out, key); }
void fill_normal(std::span<double> out, const NoiseKey& key) { fill_normal_as(out, key); }
void fill_uniform(std::span<float> out, const NoiseKey& key) { fill_uniform_as(out, key); }
void fill_uniform(std::span<double> out, const NoiseKey& key) { fill_uniform_as(out, key); }

double uniform(const NoiseKey& key) {
  double x;
  fill_uniform(std::span(&x, 1), key);
  return x;
}

double normal(const NoiseKey& key) {
  double x;
  fill_normal(std::span(&x, 1), key);
  return x;
}

uint64_t uniform_below(uint64_t n, const NoiseKey& key) {
  require(n > 0, "uniform_below: no integer is in [0, 0)");
  return Words(key).below(n);
}

std::vector<int64_t> permutation(int64_t n, const NoiseKey& key) {
  require(n >= 0, "permutation: negative length ", n);
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  Words words(key);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[words.below(i)]);
  return order;
}

uint64_t hash_name(std::string_view name) { return XXH3_64bits(name.data(), name.size()); }

}  // namespace gallop
