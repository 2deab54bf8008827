#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "gallop/formats/safetensors.h"

namespace gallop::formats {

/// What stands before the elements of an .npy file of numpy (version 1.0): its size is a multiple
/// of 64. BF16, which numpy does not have, is an Error.
std::string npy_header(const TensorView& array);

/// The array that an .npy file (versions 1.0 to 3.0) holds; its data lie in `file`, row by row and
/// little-endian. Throws Error for damage, and with the way out for what safetensors has no form
/// for: Python objects, records, text, complex numbers, other byte orders, storage by columns.
TensorView read_npy(std::string name, std::span<const std::byte> file);

/// The type of a description as numpy writes it: "<f4", "|u1". Throws Error with the way out for
/// what safetensors has no form for.
DType dtype_of_numpy(std::string_view descr);

}  // namespace gallop::formats
