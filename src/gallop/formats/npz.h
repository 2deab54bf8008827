#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gallop/formats/safetensors.h"
#include "gallop/formats/zip.h"

namespace gallop::formats {

/// The arrays of a file of numpy.savez, by name; those of numpy.savez_compressed are refused.
/// Memory-mapped. Throws Error with path, array and reason: another format, a wrong checksum, and,
/// unless that is listed, what read_npy refuses.
class NpzReader {
 public:
  /// What becomes of an array that has no form here, of Python objects for example.
  enum class Unread { is_an_error, is_listed };

  explicit NpzReader(const fs::path& path, Unread unread = Unread::is_an_error);
  /// The same for a file in memory, which must live as long as this object.
  NpzReader(std::span<const std::byte> bytes, const std::string& what,
            Unread unread = Unread::is_an_error);
  /// In the order of the file.
  const std::vector<TensorView>& tensors() const { return tensors_; }
  /// Name and reason of each array that was not read.
  const std::vector<std::pair<std::string, std::string>>& unread() const { return unread_; }

 private:
  void read(std::span<const std::byte> bytes, const std::string& what, Unread unread);

  std::optional<MappedFile> file_;
  std::vector<TensorView> tensors_;
  std::vector<std::pair<std::string, std::string>> unread_;
};

/// Writes arrays so that `numpy.load(path)[name]` gives them: a zip file, not compressed, of one
/// NAME.npy each, of any size (zip64). Atomic, see write_file_atomically. BF16, which numpy does
/// not have, is an Error.
void write_npz(const fs::path& path, const std::vector<TensorView>& arrays);

}  // namespace gallop::formats
