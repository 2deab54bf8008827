#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gallop/base/file.h"

namespace gallop::formats {

/// Element types of a safetensors file.
enum class DType { BOOL, U8, I8, I16, U16, F16, BF16, I32, U32, F32, F64, I64, U64 };
size_t size_of(DType dtype);
std::string_view name_of(DType dtype);
/// Bytes of a tensor; nothing if a dimension is negative or the product of the dimensions that are
/// not 0 overflows (so that strides never do).
std::optional<uint64_t> byte_size(const std::vector<int64_t>& shape, DType dtype);

/// One tensor of a file; `data` points into the memory map.
struct TensorView {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  std::span<const std::byte> data;
};

using Metadata = std::map<std::string, std::string>;

/// A memory-mapped safetensors file, checked on opening: header at most 100 MB and inside the file,
/// no keys twice or unknown, known types, sizes without overflow that equal the shape's, no holes,
/// no overlap, rank at most 8, names at most 1 kB, at most 1 M tensors. Throws Error with reason.
class SafetensorsReader {
 public:
  explicit SafetensorsReader(const fs::path& path);
  /// In the order of the data.
  const std::vector<TensorView>& tensors() const { return tensors_; }
  /// Null pointer if there is no such tensor.
  const TensorView* find(std::string_view name) const;
  const Metadata& metadata() const { return metadata_; }
  const fs::path& path() const { return file_.path(); }

 private:
  MappedFile file_;
  std::vector<TensorView> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
  Metadata metadata_;
};

/// Writes the tensors in the given order (durably and atomically, see write_file_atomically).
void write_safetensors(const fs::path& path, const std::vector<TensorView>& tensors,
                       const Metadata& metadata = {});
/// The same into an open file; `what` (its name) begins the text of errors.
void write_safetensors(OutputFile& file, const std::string& what,
                       const std::vector<TensorView>& tensors, const Metadata& metadata = {});

}  // namespace gallop::formats
