#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace gallop {

/// The number of a rank among numbers that come in pieces: exactly, and in memory that does not
/// grow with their count.
///
/// The first pass keeps the numbers around the place where the rank is expected and counts the
/// others (Munro and Paterson, Selection and sorting with limited storage, 1980): enough where the
/// numbers come in no particular order. Where they drift so far that the wanted one was not kept,
/// three more passes over the same numbers find it digit by digit.
class StreamedRank {
 public:
  /// `share`: the wanted rank among n numbers is about share * n. At most `capacity` numbers are
  /// kept at a time, and at least 64.
  StreamedRank(double share, size_t capacity);

  /// Throws Error for a NaN, which has no rank.
  void add(std::span<const float> numbers);
  /// Numbers of this pass so far.
  int64_t count() const { return count_; }
  /// After all numbers: whether the one of rank `rank` (1 is the smallest) is known. If not, add
  /// all of them again. Throws Error unless 1 <= rank <= count(), and where a pass has other
  /// numbers than the first.
  bool end_pass(int64_t rank);
  /// Once end_pass() was true.
  float value() const { return value_; }

  /// Memory of the passes after the first.
  static constexpr size_t bytes_of_a_digit = sizeof(int64_t) << 11;

 private:
  void keep(float number);
  void narrow();
  bool end_first_pass(int64_t rank);
  void count_digits(std::span<const float> numbers);
  bool end_digit();

  double share_;
  size_t capacity_;
  int64_t count_ = 0, total_ = 0;
  float value_ = 0;

  // The first pass: numbers in the open interval between low and high are kept.
  float low_, high_;
  int64_t below_ = 0, at_low_ = 0, at_high_ = 0;
  std::vector<float> kept_;

  // The others: the highest bits of the wanted number, and how many numbers have which bits next.
  bool digits_ = false;
  int known_bits_ = 0;
  uint32_t prefix_ = 0;
  int64_t rank_ = 0;  // among the numbers with this prefix
  std::vector<int64_t> counts_;
};

}  // namespace gallop
