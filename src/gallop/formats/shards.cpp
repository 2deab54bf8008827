#include "gallop/formats/shards.h"

#include <algorithm>
#include <set>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/base/format.h"
#include "gallop/base/json.h"
#include "gallop/formats/file_kind.h"

// The index: {"metadata": {"total_size": bytes}, "weight_map": {tensor: file name}}.
// https://huggingface.co/docs/safetensors/index, and transformers' modeling_utils.
// total_size is not checked: files in circulation count tied tensors in different ways.

namespace gallop::formats {
namespace {

constexpr std::string_view extension = ".safetensors";
constexpr std::string_view index_ending = ".safetensors.index.json";
constexpr size_t max_index = 100'000'000;

bool is_index(const fs::path& path) { return path.filename().string().ends_with(index_ending); }

using WeightMap = std::map<std::string, std::string>;

/// Which file holds which tensor, checked as far as the index alone allows.
WeightMap read_index(const fs::path& path) {
  const MappedFile file(path);
  const auto bytes = file.bytes();
  require(bytes.size() <= max_index, "it has ", bytes.size(), " bytes, more than the ", max_index,
          " allowed");
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const Json json = Json::parse(text, "index");
  WeightMap map;
  for (const auto& [name, shard] : json.at("weight_map").as_object()) {
    const fs::path file_name = shard.as_string();
    // A shard beside the index, so that an index cannot reach into other folders.
    require(file_name.filename() == file_name && file_name.extension() == extension, "tensor ",
            Json(name).dump(), " would be in ", shard.dump(),
            ", which is no name of a safetensors file in the same folder");
    map.emplace(name, shard.as_string());
  }
  require(!map.empty(), "it lists no tensors");
  return map;
}

std::string shard_name(const std::string& stem, size_t i, size_t count) {
  return stem + format("-%05zu-of-%05zu", i + 1, count) + std::string(extension);
}

std::vector<std::vector<TensorView>> split(const std::vector<TensorView>& tensors,
                                           uint64_t shard_size) {
  std::vector<std::vector<TensorView>> shards(1);
  uint64_t size = 0;
  for (const TensorView& t : tensors) {
    if (!shards.back().empty() && t.data.size() > shard_size - std::min(size, shard_size)) {
      shards.emplace_back();
      size = 0;
    }
    shards.back().push_back(t);
    size += t.data.size();
  }
  return shards;
}

}  // namespace

fs::path index_in_folder(const fs::path& path) {
  if (!is_folder(path)) return path;
  fs::path found;
  for (const fs::path& entry : list_folder(path)) {
    if (!is_index(entry)) continue;
    require(found.empty(), "'", path.string(), "' holds several sets of weights, ",
            found.filename().string(), " and ", entry.filename().string(), ": name one of them");
    found = entry;
  }
  return found.empty() ? path : found;
}

WeightsReader::WeightsReader(const fs::path& path) {
  const fs::path file = index_in_folder(path);
  if (!is_index(file)) {
    require_kind(file, {FileKind::safetensors});
    add(SafetensorsReader(file));
    return;
  }
  try {
    read_shards(file);
  } catch (const Error& error) {
    fail("'", file.string(), "' is no valid index of weights: ", error.what());
  }
}

void WeightsReader::add(SafetensorsReader shard) {
  for (const TensorView& t : shard.tensors()) {
    index_.emplace(t.name, tensors_.size());
    tensors_.push_back(t);
  }
  shards_.push_back(std::move(shard));
}

void WeightsReader::read_shards(const fs::path& index) {
  require_kind(index, {FileKind::json});
  const WeightMap map = read_index(index);
  std::set<std::string> files;
  for (const auto& [name, file] : map) files.insert(file);
  for (const std::string& file : files) {
    require_kind(index.parent_path() / file, {FileKind::safetensors});
    SafetensorsReader shard(index.parent_path() / file);
    for (const TensorView& t : shard.tensors()) {
      const auto listed = map.find(t.name);
      require(listed != map.end(), "'", file, "' holds tensor ", Json(t.name).dump(),
              ", which it does not list");
      require(listed->second == file, "'", file, "' holds tensor ", Json(t.name).dump(),
              ", which should be in '", listed->second, "'");
    }
    add(std::move(shard));
  }
  for (const auto& [name, file] : map)
    require(find(name) != nullptr, "tensor ", Json(name).dump(), " is not in '", file, "'");
}

const TensorView* WeightsReader::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

fs::path write_shards(const fs::path& path, const std::vector<TensorView>& tensors,
                      const Metadata& metadata, uint64_t shard_size) {
  require(path.extension() == extension, "'", path.string(),
          "': the name of a weights file must end in ", extension);
  require(shard_size > 0, "a shard must have room for at least 1 byte");
  std::set<std::string_view> names;
  for (const TensorView& t : tensors)
    require(names.insert(t.name).second, "cannot write '", path.string(), "': tensor ",
            Json(t.name).dump(), " is there twice");
  const std::string stem = path.stem().string();
  const fs::path folder = path.parent_path();
  const fs::path index = folder / (stem + std::string(index_ending));
  const auto shards = split(tensors, shard_size);
  file_system().remove_all(index);
  if (shards.size() == 1) {
    write_safetensors(path, tensors, metadata);
    return path;
  }
  uint64_t total = 0;
  Json::Object map;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shard_name(stem, i, shards.size());
    write_safetensors(folder / name, shards[i], metadata);
    for (const TensorView& t : shards[i]) {
      map.emplace_back(t.name, name);
      total += t.data.size();
    }
  }
  Json json = Json::object();
  json["metadata"]["total_size"] = total;
  json["weight_map"] = std::move(map);
  write_file_atomically(index, json.dump(2) + "\n");
  return index;
}

}  // namespace gallop::formats
