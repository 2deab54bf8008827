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
#include "gallop/formats/strided.h"
#include "gallop/formats/zip.h"

namespace gallop::formats {

/// A checkpoint of PyTorch (.pt, .pth: what torch.save writes since 1.6), read as data: a zip file
/// of a pickle and the bytes of each storage. Nothing of the file is ever executed; values of kinds
/// that are not known stand where they are, and matter only inside of what `tensors` is asked for.
/// Memory-mapped.
class TorchFile {
 public:
  /// Throws Error with path and reason: another format, damage.
  explicit TorchFile(const fs::path& path);
  /// The same for a file in memory, which must live as long as this object.
  TorchFile(std::span<const std::byte> bytes, const std::string& what);

  /// What stands at the top of the file.
  struct Part {
    std::string key;   ///< "" where the file is no dictionary, or is one of tensors itself
    std::string text;  ///< "24 tensors", "a dict of 2", ...
    /// A dictionary of tensors only, by name, numpy arrays among them or, where it is the whole
    /// file, alone.
    bool weights = false;
    /// Functions and classes that the part names and that are not known here, where they are first
    /// met: what they would make is not read.
    std::vector<std::string> unknown;
  };
  std::vector<Part> parts() const;

  /// The tensors of the dictionary with the given key of the file, or of the file itself (""), in
  /// its order; arrays and scalars of numpy are tensors, too. Each lies row by row: one that is a
  /// view with other strides is copied. Throws Error for what is no tensor, types that safetensors
  /// lacks, views that reach behind their storage, and a storage whose checksum is wrong.
  std::vector<TensorView> tensors(std::string_view key);

 private:
  struct Storage {
    DType dtype;
    std::span<const std::byte> data;
  };

  explicit TorchFile(MappedFile file);
  TensorView tensor(const std::string& name, const PickleValue& value);
  TensorView array(const std::string& name, const PickleValue& value);
  TensorView view(const std::string& name, const Storage& from, const Strided& layout);
  Storage storage(const PickleValue& value, const PickleValue* dtype);
  void count_copy(size_t bytes);

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
