#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "gallop/formats/safetensors.h"

namespace gallop::formats {

/// The index file of a folder that holds one (NAME.safetensors.index.json, as Hugging Face names
/// it); any other path as it is. Throws Error if the folder holds several.
fs::path index_in_folder(const fs::path& path);

/// The tensors of a safetensors file, or of the shards that an index file or the folder with it
/// names: memory-mapped, each shard checked as SafetensorsReader does, and in agreement with the
/// index: shards lie beside it, hold what it says, and nothing else. Throws Error with path and
/// reason.
class WeightsReader {
 public:
  explicit WeightsReader(const fs::path& path);
  /// In the order of the shards' names, and of the data in each.
  const std::vector<TensorView>& tensors() const { return tensors_; }
  /// Null pointer if there is no such tensor.
  const TensorView* find(std::string_view name) const;
  /// Of the file, or of the first shard.
  const Metadata& metadata() const { return shards_.front().metadata(); }
  /// How many files hold the tensors.
  size_t files() const { return shards_.size(); }

 private:
  void add(SafetensorsReader shard);
  void read_shards(const fs::path& index);

  std::vector<SafetensorsReader> shards_;
  std::vector<TensorView> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
};

/// Writes STEM.safetensors as one file if its tensors take at most `shard_size` bytes, else as
/// shards STEM-00001-of-0000N.safetensors, filled in order up to that size, and
/// STEM.safetensors.index.json last. A tensor that is larger has a shard of its own. An index of
/// that name is removed first, so that one that is there always has all its shards. Returns the
/// file to open.
fs::path write_shards(const fs::path& path, const std::vector<TensorView>& tensors,
                      const Metadata& metadata, uint64_t shard_size);

}  // namespace gallop::formats
