#include "gallop/base/streamed_rank.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "gallop/base/error.h"

namespace gallop {
namespace {

constexpr int key_bits = 32, digit_bits = 11;

// Ordered like the numbers; both zeros are one.
uint32_t key_of(float number) {
  const auto bits = std::bit_cast<uint32_t>(number + 0.0F);
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000U;
}

float number_of(uint32_t key) {
  return std::bit_cast<float>(key >> 31 != 0 ? key & 0x7fffffffU : ~key);
}

// Bits of the next digit behind those that are known.
int next_bits(int known) { return std::min(digit_bits, key_bits - known); }

}  // namespace

StreamedRank::StreamedRank(double share, size_t capacity)
    : share_(share),
      capacity_(std::max<size_t>(capacity, 64)),
      low_(-std::numeric_limits<float>::infinity()),
      high_(std::numeric_limits<float>::infinity()) {}

void StreamedRank::add(std::span<const float> numbers) {
  for (const float number : numbers) require(!std::isnan(number), "a NaN has no rank");
  if (digits_) return count_digits(numbers);
  for (const float number : numbers) keep(number);
}

void StreamedRank::keep(float number) {
  ++count_;
  if (number > low_ && number < high_) {
    kept_.push_back(number);
    if (kept_.size() >= capacity_) narrow();
  } else if (number < low_) {
    ++below_;
  } else if (number == low_) {
    ++at_low_;
  } else if (number == high_) {
    ++at_high_;
  }
}

// To three quarters of the capacity around the place where the rank is expected now.
void StreamedRank::narrow() {
  const auto size = static_cast<int64_t>(kept_.size()), reach = size * 3 / 8;
  const auto expected = std::llround(share_ * static_cast<double>(count_));
  const int64_t place = std::clamp<int64_t>(expected - below_ - at_low_, 0, size);
  const int64_t first = place - reach, last = place + reach;
  if (first > 0) {
    std::nth_element(kept_.begin(), kept_.begin() + first, kept_.end());
    below_ += at_low_;
    at_low_ = 0;
    low_ = kept_[first];
  }
  if (last < size) {
    std::nth_element(kept_.begin() + std::max<int64_t>(first, 0), kept_.begin() + last,
                     kept_.end());
    at_high_ = 0;
    high_ = kept_[last];
  }
  std::vector<float> before;
  before.swap(kept_);
  kept_.reserve(capacity_);
  for (const float number : before) {
    --count_;
    keep(number);
  }
}

bool StreamedRank::end_pass(int64_t rank) {
  require(rank >= 1 && rank <= count_, "there is no number of rank ", rank, " among ", count_);
  return digits_ ? end_digit() : end_first_pass(rank);
}

bool StreamedRank::end_first_pass(int64_t rank) {
  total_ = count_;
  const auto kept = static_cast<int64_t>(kept_.size());
  const int64_t place = rank - below_ - at_low_;  // among the kept ones, from 1
  bool known = true;
  if (place > -at_low_ && place <= 0) {
    value_ = low_;
  } else if (place > 0 && place <= kept) {
    std::nth_element(kept_.begin(), kept_.begin() + (place - 1), kept_.end());
    value_ = kept_[place - 1];
  } else if (place > kept && place <= kept + at_high_) {
    value_ = high_;
  } else {
    known = false;
    digits_ = true;
    rank_ = rank;
    count_ = 0;
    counts_.assign(size_t{1} << next_bits(0), 0);
  }
  std::vector<float>().swap(kept_);
  return known;
}

void StreamedRank::count_digits(std::span<const float> numbers) {
  const int bits = next_bits(known_bits_), shift = key_bits - known_bits_ - bits;
  count_ += static_cast<int64_t>(numbers.size());
  for (const float number : numbers) {
    const uint32_t digits = key_of(number) >> shift;
    if (digits >> bits == prefix_) ++counts_[digits & ((1U << bits) - 1)];
  }
}

bool StreamedRank::end_digit() {
  require(count_ == total_, "a pass over ", count_, " numbers after one over ", total_);
  const int bits = next_bits(known_bits_);
  uint32_t digit = 0;
  while (digit + 1 < counts_.size() && rank_ > counts_[digit]) rank_ -= counts_[digit++];
  require(rank_ <= counts_[digit], "another pass had other numbers");
  prefix_ = prefix_ << bits | digit;
  known_bits_ += bits;
  count_ = 0;
  if (known_bits_ == key_bits) {
    std::vector<int64_t>().swap(counts_);
    value_ = number_of(prefix_);
    return true;
  }
  counts_.assign(size_t{1} << next_bits(known_bits_), 0);
  return false;
}

}  // namespace gallop
