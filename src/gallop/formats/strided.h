#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace gallop::formats {

/// Where the elements of a tensor lie in its storage, counted in elements.
struct Strided {
  std::vector<int64_t> shape, strides;  ///< of one length, none below 0
  int64_t offset = 0;
  int64_t elements = 1;  ///< the product of the shape

  /// Whether they lie one after the other, the last dimension fastest.
  bool row_by_row() const;
};

/// The elements row by row, of `size` bytes each; all of them must lie inside of `data`.
std::vector<std::byte> gather(const Strided& from, std::span<const std::byte> data, size_t size);

}  // namespace gallop::formats
