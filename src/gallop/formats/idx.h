#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "gallop/base/file.h"

namespace gallop::formats {

/// An array of unsigned bytes from an IDX file, the format of MNIST.
struct IdxArray {
  std::vector<int64_t> shape;
  std::vector<uint8_t> data;
};

/// Reads an IDX file, plain or gzip, of unsigned bytes with `rank` dimensions (1 labels, 3 grey
/// images [count, height, width]). Errors begin with `what` (a file name): another magic number,
/// a dimension of 0, and data that are shorter or longer than the dimensions say.
IdxArray decode_idx(std::span<const std::byte> bytes, size_t rank, const std::string& what);
IdxArray read_idx(const fs::path& path, size_t rank);

}  // namespace gallop::formats
