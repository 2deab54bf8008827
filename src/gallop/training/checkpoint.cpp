#include "gallop/training/checkpoint.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <memory>
#include <string_view>
#include <tuple>

#include "gallop/base/error.h"
#include "gallop/base/file.h"
#include "gallop/base/hash.h"
#include "gallop/base/log.h"
#include "gallop/formats/shards.h"
#include "gallop/nn/tensor_io.h"
#include "gallop/training/run_directory.h"

namespace gallop::training {
namespace {

constexpr int64_t format_version = 1;
constexpr const char* manifest_file = "manifest.json";
constexpr const char* model_file = "model.safetensors";
constexpr const char* ema_file = "ema.safetensors";
constexpr const char* optimizer_file = "optimizer.safetensors";
constexpr const char* state_file = "state.json";
constexpr const char* config_file = "config.toml";
constexpr std::array files_of_format_1 = {model_file, ema_file, optimizer_file, state_file,
                                          config_file};

constexpr std::string_view unfinished_suffix = ".tmp";
constexpr std::string_view replaced_suffix = ".old";

fs::path with_suffix(fs::path path, std::string_view suffix) { return path += suffix; }

// Without the exceptions of std::filesystem for what cannot be looked at.
bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

/// The step of "step-00001000" or "step-00001000.old".
std::optional<int64_t> step_of(std::string_view name) {
  constexpr std::string_view prefix = "step-";
  if (!name.starts_with(prefix)) return {};
  name.remove_prefix(prefix.size());
  if (name.ends_with(replaced_suffix)) name.remove_suffix(replaced_suffix.size());
  int64_t step = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), step);
  if (error != std::errc() || end != name.data() + name.size() || step < 0) return {};
  return step;
}

std::vector<fs::path> folders_in(const fs::path& directory) {
  std::vector<fs::path> folders;
  std::error_code error;
  fs::directory_iterator entries(directory, error);
  if (error == std::errc::no_such_file_or_directory) return folders;
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    if (is_folder(entries->path())) folders.push_back(entries->path());
  }
  require(!error, "cannot list '", directory.string(), "': ", error.message());
  return folders;
}

/// Hands on what is written and remembers its size and hash: the manifest must hold the hash of
/// what was meant, not of what a failing disk gave back.
class HashingFile : public OutputFile {
 public:
  explicit HashingFile(OutputFile& file) : file_(file) {}
  using OutputFile::write;
  void write(std::span<const std::byte> bytes) override {
    hasher_.add(bytes);
    size_ += bytes.size();
    file_.write(bytes);
  }
  void sync() override { file_.sync(); }
  void close() override { file_.close(); }
  Json entry() const {
    return Json::Object{{"size", static_cast<int64_t>(size_)}, {"xxh3_128", hasher_.hex()}};
  }

 private:
  OutputFile& file_;
  Hasher hasher_;
  uint64_t size_ = 0;
};

/// Writes a checkpoint into a new folder, the manifest last; every file and the folder are synced.
void write_files(const fs::path& folder, const Snapshot& snapshot, const std::string& recipe_toml) {
  file_system().make_directories(folder);
  Json entries = Json::object();
  const auto write = [&](const char* name, const std::function<void(OutputFile&)>& content) {
    write_file_atomically(folder / name, [&](OutputFile& file) {
      HashingFile hashing(file);
      content(hashing);
      entries[name] = hashing.entry();
    });
  };
  const auto write_tensors = [&](const char* name, const NamedTensors& tensors,
                                 const formats::Metadata& metadata) {
    write(name, [&](OutputFile& file) { nn::save_tensors(file, name, tensors, metadata); });
  };
  const auto write_text = [&](const char* name, const std::string& text) {
    write(name, [&](OutputFile& file) { file.write(text); });
  };
  write_tensors(model_file, snapshot.model, snapshot.model_metadata);
  write_tensors(ema_file, snapshot.ema, snapshot.ema_metadata);
  write_tensors(optimizer_file, snapshot.optimizer, {});
  const Json state = Json::Object{{"step", snapshot.step}, {"state", snapshot.state}};
  write_text(state_file, state.dump(2) + "\n");
  write_text(config_file, recipe_toml);
  const Json manifest = Json::Object{{"format", format_version}, {"files", entries}};
  write_file_atomically(folder / manifest_file, manifest.dump(2) + "\n");
}

struct ManifestEntry {
  const char* name;
  int64_t size;
  std::string hash;
};

std::vector<ManifestEntry> read_manifest(const fs::path& path) {
  const Json manifest = Json::parse(read_file(path), path.string());
  try {
    const int64_t format = manifest.at("format").as_int();
    require(format == format_version, "format version ", format, "; this program reads ",
            format_version);
    std::vector<ManifestEntry> entries;
    for (const char* name : files_of_format_1) {
      const Json& entry = manifest.at("files").at(name);
      entries.push_back({name, entry.at("size").as_int(), entry.at("xxh3_128").as_string()});
    }
    return entries;
  } catch (const Error& error) {
    fail("'", path.string(), "' is damaged or of another version: ", error.what());
  }
}

Json read_state(const fs::path& checkpoint) {
  const fs::path path = checkpoint / state_file;
  return Json::parse(read_file(path), path.string());
}

std::pair<NamedTensors, formats::Metadata> read_tensors(const fs::path& path) {
  const auto reader = std::make_shared<const formats::WeightsReader>(path);
  NamedTensors tensors;
  const auto mapped = nn::map_tensors(reader);
  for (const auto& view : reader->tensors()) tensors.emplace_back(view.name, mapped.at(view.name));
  return {std::move(tensors), reader->metadata()};
}

}  // namespace

CheckpointStore::CheckpointStore(fs::path run_directory, CheckpointConfig config)
    : directory_(std::move(run_directory) / "checkpoints"), config_(std::move(config)) {}

fs::path CheckpointStore::save(const Snapshot& snapshot, const std::string& recipe_toml) {
  FileSystem& files = file_system();
  const fs::path target = directory_ / step_name(snapshot.step);
  const fs::path unfinished = with_suffix(target, unfinished_suffix);
  try {
    files.make_directories(directory_);
    files.sync_directory(directory_.parent_path());
    sweep();
    write_files(unfinished, snapshot, recipe_toml);
    make_room(target);
    files.rename(unfinished, target);
    files.sync_directory(directory_);
    verify_checkpoint(target);
  } catch (const Error& error) {
    try {
      files.remove_all(unfinished);
    } catch (const Error&) {  // the first error is the one to tell; the next save sweeps
    }
    fail("the checkpoint of step ", snapshot.step, " could not be saved: ", error.what(),
         ". Earlier checkpoints can still be used.");
  }
  remove_older_than(snapshot.step);
  return target;
}

// What killed saves and removals left.
void CheckpointStore::sweep() const {
  for (const fs::path& folder : folders_in(directory_)) {
    if (folder.filename().string().ends_with(unfinished_suffix)) file_system().remove_all(folder);
  }
}

// A folder cannot be renamed onto another one. A whole checkpoint that is in the way stays beside
// the new one until that is verified, a damaged one goes.
void CheckpointStore::make_room(const fs::path& target) const {
  if (!is_there(target)) return;
  FileSystem& files = file_system();
  try {
    verify_checkpoint(target);
  } catch (const Error&) {
    files.remove_all(target);
    return;
  }
  const fs::path replaced = with_suffix(target, replaced_suffix);
  files.remove_all(replaced);
  files.rename(target, replaced);
}

// Those of later steps are left alone: they are damaged, or the run would have gone on from them.
void CheckpointStore::remove_older_than(int64_t step) const {
  FileSystem& files = file_system();
  int64_t newer = 0, previous = -1;
  for (const SavedCheckpoint& saved : all()) {
    if (saved.step > step) continue;
    const bool replaced = std::exchange(previous, saved.step) == saved.step;
    const bool kept = config_.keep_every > 0 && saved.step % config_.keep_every == 0;
    if (!replaced && (newer++ < config_.keep_last || kept)) continue;
    try {
      // Under a name that is swept, since a folder does not vanish at once.
      const fs::path going = with_suffix(saved.path, unfinished_suffix);
      files.rename(saved.path, going);
      files.remove_all(going);
    } catch (const Error& error) {
      log_warning("an old checkpoint stays: ", error.what());
    }
  }
}

std::vector<SavedCheckpoint> CheckpointStore::all() const {
  std::vector<SavedCheckpoint> saved;
  for (const fs::path& folder : folders_in(directory_)) {
    if (const auto step = step_of(folder.filename().string())) saved.push_back({folder, *step});
  }
  std::sort(saved.begin(), saved.end(), [](const SavedCheckpoint& a, const SavedCheckpoint& b) {
    return a.step != b.step ? a.step > b.step : a.path < b.path;  // step-1 before step-1.old
  });
  return saved;
}

std::optional<SavedCheckpoint> CheckpointStore::newest() const {
  const std::vector<SavedCheckpoint> saved = all();
  for (const SavedCheckpoint& checkpoint : saved) {
    try {
      verify_checkpoint(checkpoint.path);
      return checkpoint;
    } catch (const Error& error) {
      log_warning("passing over a damaged checkpoint: ", error.what());
    }
  }
  require(saved.empty(), "none of the ", saved.size(), " checkpoints in '", directory_.string(),
          "' is whole. Bring one back from a copy, or remove the folder to start again.");
  return {};
}

Snapshot CheckpointStore::load(const fs::path& checkpoint) {
  const Json state = read_state(checkpoint);
  Snapshot snapshot;
  snapshot.step = state.at("step").as_int();
  snapshot.state = state.at("state");
  std::tie(snapshot.model, snapshot.model_metadata) = read_tensors(checkpoint / model_file);
  std::tie(snapshot.ema, snapshot.ema_metadata) = read_tensors(checkpoint / ema_file);
  snapshot.optimizer = read_tensors(checkpoint / optimizer_file).first;
  return snapshot;
}

void verify_checkpoint(const fs::path& checkpoint) {
  for (const ManifestEntry& expected : read_manifest(checkpoint / manifest_file)) {
    const fs::path path = checkpoint / expected.name;
    std::error_code error;
    const auto size = static_cast<int64_t>(fs::file_size(path, error));
    require(!error, "'", path.string(), "' cannot be read: ", error.message());
    require(size == expected.size, "'", path.string(), "' has ", size,
            " bytes where the manifest says ", expected.size);
    const std::string hash = hash_file_hex(path);
    require(hash == expected.hash, "'", path.string(), "' was changed or damaged: its XXH3-128 is ",
            hash, " where the manifest says ", expected.hash);
  }
}

fs::path find_weights(const fs::path& run_or_weights, bool ema) {
  const fs::path path = formats::index_in_folder(run_or_weights);
  require(is_there(path), "'", path.string(), "' does not exist");
  if (!is_folder(path)) return path;
  const char* file = ema ? ema_file : model_file;
  if (is_there(path / manifest_file)) {
    verify_checkpoint(path);
    return path / file;
  }
  const auto newest = CheckpointStore(path, {}).newest();
  require(newest.has_value(), "'", path.string(),
          "' holds no checkpoint: it must be a run directory, a checkpoint (a folder with ",
          manifest_file, ") or a safetensors file");
  return newest->path / file;
}

fs::path folder_of(const fs::path& run_or_weights) {
  return is_folder(run_or_weights) ? run_or_weights : run_or_weights.parent_path();
}

std::string find_recipe(const fs::path& run_or_weights) {
  const fs::path path = folder_of(run_or_weights) / config_file;
  return is_there(path) ? read_file(path) : std::string();
}

}  // namespace gallop::training
