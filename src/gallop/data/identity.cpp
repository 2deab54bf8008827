#include "gallop/data/identity.h"

#include <algorithm>
#include <string_view>
#include <system_error>

#include "gallop/base/human.h"
#include "gallop/base/text.h"

namespace gallop::data {
namespace {

constexpr size_t most_names = 100, most_rows = 10;

/// "3 classes: "a", "b", "c"", safe against whatever a name holds.
std::string class_list(const DatasetInfo& info) {
  if (info.classes == 0) return "no classes";
  std::string text = std::to_string(info.classes) + (info.classes == 1 ? " class" : " classes");
  const size_t shown = std::min(info.class_names.size(), most_names);
  for (size_t i = 0; i < shown; ++i)
    text += (i == 0 ? ": " : ", ") + in_quotes(info.class_names[i]);
  if (shown < info.class_names.size())
    text += " and " + std::to_string(info.class_names.size() - shown) + " more";
  return text;
}

/// "label 1 was "b" and is "c"" for the first labels that changed.
std::string moved_labels(const DatasetInfo& before, const DatasetInfo& now) {
  const auto& was = before.class_names;
  const auto& is = now.class_names;
  std::string text;
  size_t moved = 0;
  for (size_t i = 0; i < std::min(was.size(), is.size()); ++i) {
    if (was[i] == is[i] || ++moved > most_rows) continue;
    text += "; label " + std::to_string(i) + " was " + in_quotes(was[i]) + " and is " +
            in_quotes(is[i]);
  }
  if (moved > most_rows) text += "; and " + std::to_string(moved - most_rows) + " more labels";
  return text;
}

std::string shape_of(const DatasetInfo& info) {
  return shape_text({{info.channels, info.height, info.width}});
}

/// Count and content of a split: `samples` names it.
void compare_samples(const DatasetInfo& before, const DatasetInfo& now, const std::string& key,
                     const std::string& content_key, const std::string& samples,
                     std::vector<Change>& found) {
  if (before.count != 0 && before.count != now.count) {
    found.push_back({.key = key,
                     .text = key + ": " + std::to_string(before.count) + " -> " +
                             std::to_string(now.count) + " " + samples + " samples"});
  } else if (!before.content.empty() && !now.content.empty() && before.content != now.content) {
    found.push_back({.key = content_key,
                     .text = content_key + ": the " + std::to_string(now.count) + " " + samples +
                             " samples are not the same as before (names, sizes, order or "
                             "labels)"});
  }
}

}  // namespace

void add_file(Hasher& content, const std::filesystem::path& folder, const std::string& name) {
  std::error_code error;
  const auto size = std::filesystem::file_size(folder / name, error);
  content.add(name);
  content.add(std::string_view("\0", 1));
  content.add(error ? std::string("unknown\n") : std::to_string(size) + "\n");
}

std::string content_of_files(const std::filesystem::path& folder,
                             const std::vector<std::string>& names) {
  Hasher content;
  for (const std::string& name : names) add_file(content, folder, name);
  return content.hex();
}

std::vector<Change> changes(const DatasetInfo& before, const DatasetInfo& now) {
  std::vector<Change> found;
  const bool named = !before.class_names.empty() && !now.class_names.empty();
  if (before.classes != now.classes || (named && before.class_names != now.class_names)) {
    found.push_back({.key = "data.classes",
                     .text = "data.classes: " + class_list(before) + " -> " + class_list(now) +
                             moved_labels(before, now),
                     .means_other = true});
  }
  if (shape_of(before) != shape_of(now) || before.latent != now.latent) {
    found.push_back({.key = "data.shape",
                     .text = "data.shape: " + shape_of(before) + (before.latent ? " latents" : "") +
                             " -> " + shape_of(now) + (now.latent ? " latents" : ""),
                     .means_other = true});
  }
  compare_samples(before, now, "data.count", "data.content", "training", found);
  return found;
}

std::vector<Change> held_out_changes(const DatasetInfo& before, const DatasetInfo& now) {
  std::vector<Change> found;
  compare_samples(before, now, "data.held_out", "data.held_out", "held-out", found);
  return found;
}

bool same_content(const DatasetInfo& a, const DatasetInfo& b) {
  return !a.content.empty() && a.content == b.content && a.count == b.count &&
         changes(a, b).empty();
}

}  // namespace gallop::data
