#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gallop/formats/safetensors.h"
#include "gallop/formats/zip.h"

namespace gallop::formats {

/// The arrays of a file of numpy.savez, by name; those of numpy.savez_compressed are refused.
/// Memory-mapped. Throws Error with path, array and reason: another format, a wrong checksum, and
/// what read_npy refuses.
class NpzReader {
 public:
  explicit NpzReader(const fs::path& path);
  /// The same for a file in memory, which must live as long as this object.
  NpzReader(std::span<const std::byte> bytes, const std::string& what);
  /// In the order of the file.
  const std::vector<TensorView>& tensors() const { return tensors_; }

 private:
  void read(std::span<const std::byte> bytes, const std::string& what);

  std::optional<MappedFile> file_;
  std::vector<TensorView> tensors_;
};

/// Writes arrays so that `numpy.load(path)[name]` gives them: a zip file, not compressed, of one
/// NAME.npy each, of any size (zip64). Atomic, see write_file_atomically. BF16, which numpy does
/// not have, is an Error.
void write_npz(const fs::path& path, const std::vector<TensorView>& arrays);

}  // namespace gallop::formats
