#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gallop/formats/pickle.h"
#include "gallop/formats/safetensors.h"
#include "gallop/formats/zip.h"

namespace gallop::formats {

/// A checkpoint of PyTorch (.pt, .pth: what torch.save writes since 1.6), read as data: a zip file
/// of a pickle and the bytes of each storage. See Pickle for what is refused; nothing of the file
/// is ever executed. Memory-mapped.
class TorchFile {
 public:
  /// Throws Error with path and reason: another format, damage, a pickle that is refused.
  explicit TorchFile(const fs::path& path);
  /// The same for a file in memory, which must live as long as this object.
  TorchFile(std::span<const std::byte> bytes, const std::string& what);

  /// What stands at the top of the file.
  struct Part {
    std::string key;       ///< "" where the file is no dictionary, or is one of tensors itself
    std::string text;      ///< "24 tensors", "a dict of 2", ...
    bool weights = false;  ///< a dictionary of tensors only, by name
  };
  std::vector<Part> parts() const;

  /// The tensors of the dictionary with the given key of the file, or of the file itself (""), in
  /// its order. Each lies row by row: one that is a view with other strides is copied. Throws Error
  /// for what is no tensor, types that safetensors lacks, views that reach behind their storage,
  /// and a storage whose checksum is wrong.
  std::vector<TensorView> tensors(std::string_view key);

 private:
  struct Storage {
    DType dtype;
    std::span<const std::byte> data;
  };

  explicit TorchFile(MappedFile file);
  TensorView tensor(const std::string& name, const PickleValue& value);
  Storage storage(const PickleValue& value);

  std::optional<MappedFile> file_;
  std::string what_;
  size_t size_ = 0, copied_ = 0;  // bytes of the file, and of copies_
  std::optional<ZipArchive> archive_;
  std::string folder_;  // that of all files in the archive
  std::optional<Pickle> pickle_;
  std::map<std::string, std::span<const std::byte>, std::less<>> checked_;
  std::deque<std::vector<std::byte>> copies_;
};

}  // namespace gallop::formats
