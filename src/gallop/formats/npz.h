#pragma once

#include <vector>

#include "gallop/formats/safetensors.h"

namespace gallop::formats {

/// Writes arrays so that `numpy.load(path)[name]` gives them: a zip file, not compressed, of one
/// NAME.npy each, of any size (zip64). Atomic, see write_file_atomically. BF16, which numpy does
/// not have, is an Error.
void write_npz(const fs::path& path, const std::vector<TensorView>& arrays);

}  // namespace gallop::formats
