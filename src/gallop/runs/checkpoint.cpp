#include "gallop/runs/checkpoint.h"

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/base/file.h"
#include "gallop/base/hash.h"
#include "gallop/base/human.h"
#include "gallop/base/log.h"
#include "gallop/base/number.h"
#include "gallop/base/text.h"
#include "gallop/formats/shards.h"
#include "gallop/nn/tensor_io.h"
#include "gallop/runs/finite.h"
#include "gallop/runs/run_directory.h"

namespace gallop::runs {
namespace {

constexpr int64_t format_version = 1;
constexpr const char* model_file = "model.safetensors";
constexpr const char* ema_file = "ema.safetensors";
constexpr const char* optimizer_file = "optimizer.safetensors";
constexpr const char* state_file = "state.json";

/// The files of tensors, and what of a snapshot lies in each. Whatever else a manifest lists is
/// verified like them.
struct TensorFile {
  const char* name;
  NamedTensors Snapshot::* tensors;
  formats::Metadata Snapshot::* metadata = nullptr;
};
constexpr std::array tensor_files = {
    TensorFile{model_file, &Snapshot::model, &Snapshot::model_metadata},
    TensorFile{ema_file, &Snapshot::ema, &Snapshot::ema_metadata},
    TensorFile{optimizer_file, &Snapshot::optimizer}};

// In the manifest: which tensors are not finite; empty: none.
constexpr const char* not_finite_key = "not_finite";

constexpr std::string_view unfinished_suffix = ".tmp";
constexpr std::string_view replaced_suffix = ".old";

fs::path with_suffix(fs::path path, std::string_view suffix) { return path += suffix; }

/// The step of "step-00001000" or "step-00001000.old".
std::optional<int64_t> step_of(std::string_view name) {
  constexpr std::string_view prefix = "step-";
  if (!name.starts_with(prefix)) return {};
  name.remove_prefix(prefix.size());
  if (name.ends_with(replaced_suffix)) name.remove_suffix(replaced_suffix.size());
  const auto step = whole_number<int64_t>(name);
  return step && *step >= 0 ? step : std::nullopt;
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

// "model.safetensors: blocks.0.w (3 of 64)"; empty where all is finite.
std::string describe_non_finite(const char* file, const NamedTensors& tensors) {
  constexpr size_t shown = 3;
  std::vector<std::string> names = non_finite_tensors(tensors);
  if (names.empty()) return {};
  if (names.size() > shown + 1) {
    const size_t others = names.size() - shown;
    names.resize(shown);
    names.push_back(std::to_string(others) + " more tensors");
  }
  return std::string(file) + ": " + join_list(names);
}

std::string describe_non_finite(const Snapshot& snapshot) {
  std::string text;
  for (const TensorFile& file : tensor_files) {
    const std::string line = describe_non_finite(file.name, snapshot.*file.tensors);
    if (!line.empty()) text += (text.empty() ? "" : "; ") + line;
  }
  return text;
}

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
  const auto write_text = [&](const char* name, const std::string& text) {
    write(name, [&](OutputFile& file) { file.write(text); });
  };
  for (const TensorFile& of : tensor_files) {
    const formats::Metadata metadata =
        of.metadata != nullptr ? snapshot.*of.metadata : formats::Metadata();
    write(of.name, [&](OutputFile& file) {
      nn::save_tensors(file, of.name, snapshot.*of.tensors, metadata);
    });
  }
  const Json state = Json::Object{{"step", snapshot.step}, {"state", snapshot.state}};
  write_text(state_file, state.dump(2) + "\n");
  write_text(recipe_file, recipe_toml);
  const Json manifest = Json::Object{{"format", format_version},
                                     {"files", entries},
                                     {not_finite_key, describe_non_finite(snapshot)}};
  write_file_atomically(folder / manifest_file, manifest.dump(2) + "\n");
}

struct ManifestEntry {
  std::string name;
  int64_t size;
  std::string hash;
};

std::vector<ManifestEntry> read_manifest(const fs::path& path) {
  const Json manifest = Json::parse(read_file(path), path.string());
  try {
    const int64_t format = manifest.at("format").as_int();
    require(format == format_version, "format version ", format, "; this program reads ",
            format_version);
    for (const auto& [key, value] : manifest.as_object()) {
      require(key == "format" || key == "files" || key == not_finite_key, "unknown key ",
              in_quotes(key));
    }
    const Json& files = manifest.at("files");
    for (const TensorFile& file : tensor_files) files.at(file.name);
    for (const char* name : {state_file, recipe_file}) files.at(name);
    std::vector<ManifestEntry> entries;
    for (const auto& [name, entry] : files.as_object()) {
      require(name == fs::path(name).filename(), in_quotes(name), " is no name of a file in it");
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

// Whole, and all of it finite.
bool is_good(const fs::path& checkpoint) {
  if (!is_there(checkpoint)) return false;
  try {
    verify_checkpoint(checkpoint);
    return non_finite_values(checkpoint).empty();
  } catch (const Error&) {
    return false;
  }
}

// What cannot be read counts as finite, and so is kept where a finite one is.
bool is_finite(const fs::path& checkpoint) {
  try {
    return non_finite_values(checkpoint).empty();
  } catch (const Error&) {
    return true;
  }
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
         has_others(target) ? ". Earlier checkpoints can still be used."
                            : ". The run has no other checkpoint.");
  }
  const std::string not_finite = non_finite_values(target);
  if (!not_finite.empty()) {
    log_warning("the checkpoint of step ", snapshot.step, " holds NaN or infinite values (",
                not_finite, "): no finite one is removed for it");
  }
  remove_older_than(snapshot.step);
  return target;
}

bool CheckpointStore::has_others(const fs::path& target) const {
  try {
    const std::vector<SavedCheckpoint> saved = all();
    return std::any_of(saved.begin(), saved.end(),
                       [&](const SavedCheckpoint& s) { return s.path != target; });
  } catch (const Error&) {
    return false;
  }
}

// What killed saves and removals left.
void CheckpointStore::sweep() const {
  for (const fs::path& folder : folders_in(directory_)) {
    if (folder.filename().string().ends_with(unfinished_suffix)) file_system().remove_all(folder);
  }
}

// A folder cannot be renamed onto another one. A whole checkpoint that is in the way stays beside
// the new one until that is verified; a damaged one goes, and one that is not finite where a finite
// one already stays.
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
  if (!is_good(target) && is_good(replaced)) {
    files.remove_all(target);
    return;
  }
  files.remove_all(replaced);
  files.rename(target, replaced);
}

// Whether another one of its step is in its place; one that is not finite takes none.
bool CheckpointStore::is_replaced(const SavedCheckpoint& saved) const {
  const fs::path target = directory_ / step_name(saved.step);
  return saved.path != target && is_there(target) && is_finite(target);
}

// Among those that are newer than it: so many finite ones, so many others.
bool CheckpointStore::is_kept(const SavedCheckpoint& saved, int64_t& finite,
                              int64_t& others) const {
  if (finite < config_.keep_last) {
    int64_t& newer = is_finite(saved.path) ? finite : others;
    if (newer++ < config_.keep_last) return true;
  }
  return config_.keep_every > 0 && saved.step % config_.keep_every == 0;
}

// Those of later steps are left alone: they are damaged or not finite, or the run would have gone
// on from them. Finite ones and others are counted apart, so that none of the others takes the
// place of a finite one.
void CheckpointStore::remove_older_than(int64_t step) const {
  FileSystem& files = file_system();
  int64_t finite = 0, others = 0;
  for (const SavedCheckpoint& saved : all()) {
    if (saved.step > step || (!is_replaced(saved) && is_kept(saved, finite, others))) continue;
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
  std::optional<SavedCheckpoint> not_finite;
  for (const SavedCheckpoint& checkpoint : saved) {
    try {
      verify_checkpoint(checkpoint.path);
      const std::string values = non_finite_values(checkpoint.path);
      if (values.empty()) return checkpoint;
      log_warning("passing over ", checkpoint.path.string(),
                  ", which holds NaN or infinite values (", values, ")");
      if (!not_finite) not_finite = checkpoint;
    } catch (const Error& error) {
      log_warning("passing over a damaged checkpoint: ", error.what());
    }
  }
  if (not_finite) {
    log_warning("there is no finite checkpoint in '", directory_.string(), "': taking ",
                not_finite->path.filename().string(), " all the same");
    return not_finite;
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
  for (const TensorFile& file : tensor_files) {
    auto [tensors, metadata] = read_tensors(checkpoint / file.name);
    snapshot.*file.tensors = std::move(tensors);
    if (file.metadata != nullptr) snapshot.*file.metadata = std::move(metadata);
  }
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

std::string non_finite_values(const fs::path& checkpoint) {
  const fs::path path = checkpoint / manifest_file;
  const Json manifest = Json::parse(read_file(path), path.string());
  if (const Json* known = manifest.find(not_finite_key)) return known->as_string();
  // Of a checkpoint from before this was noted.
  return describe_non_finite(CheckpointStore::load(checkpoint));
}

fs::path find_weights(const fs::path& run_or_weights, bool ema) {
  // The recipe of a run or a checkpoint stands for its folder.
  const bool is_recipe = run_or_weights.filename() == recipe_file && is_there(run_or_weights);
  const fs::path folder =
      is_recipe && run_or_weights.has_parent_path() ? run_or_weights.parent_path() : fs::path(".");
  const fs::path path = is_recipe ? folder : formats::index_in_folder(run_or_weights);
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
  const fs::path path = folder_of(run_or_weights) / recipe_file;
  return is_there(path) ? read_file(path) : std::string();
}

}  // namespace gallop::runs
