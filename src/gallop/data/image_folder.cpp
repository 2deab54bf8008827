#include "gallop/data/image_folder.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/base/printable.h"
#include "gallop/config/value.h"
#include "gallop/data/passed_over.h"

namespace gallop::data {
namespace {

constexpr int deepest = 16;
constexpr std::array endings{".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp"};
constexpr std::array train_names{"train"};
constexpr std::array test_names{"test", "val", "valid", "validation"};
constexpr std::array names_of_splits{"train", "training", "test",       "testing",
                                     "val",   "valid",    "validation", "eval"};

bool is_hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

/// ASCII: names of other letters have no case here.
std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

template <class Names>
bool contains(const Names& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::vector<std::string> all_in_quotes(std::vector<std::string> names) {
  for (std::string& name : names) name = printable_in_quotes(name);
  return names;
}

/// What an entry of a folder is to a data set of images.
enum class Entry { image, folder, neither };

/// Counts what is neither. Of an image the size is looked up, and nothing else: folders are large.
Entry look_at(const fs::path& path, PassedOver& passed_over) {
  if (is_image_name(path)) {
    std::error_code error;
    const auto bytes = fs::file_size(path, error);
    if (!error && bytes > 0) return Entry::image;
    if (error != std::errc::is_a_directory) {
      passed_over.add(error ? "that cannot be opened" : "empty");
      return Entry::neither;
    }
  }
  if (is_folder_of_images(path)) return Entry::folder;
  if (!is_hidden(path) && is_folder(path))
    passed_over.add(printable_in_quotes(path.filename().string() + "/"));
  else
    passed_over.add_file(path);
  return Entry::neither;
}

/// What lies in a folder, by name.
struct Level {
  std::vector<std::string> images, folders;
};

Level look_into(const fs::path& folder, PassedOver& passed_over) {
  Level level;
  for (const fs::path& path : list_folder(folder)) {
    const Entry entry = look_at(path, passed_over);
    if (entry == Entry::image) level.images.push_back(path.filename().string());
    if (entry == Entry::folder) level.folders.push_back(path.filename().string());
  }
  return level;
}

/// Those of a split.
Level look_into_split(const fs::path& folder, PassedOver& passed_over) {
  Level level = look_into(folder, passed_over);
  require(level.images.empty() || level.folders.empty(), "'", folder.string(),
          "' holds images and sub-folders: either give each class a sub-folder, or have none");
  return level;
}

void collect(const fs::path& root, const fs::path& below, int depth,
             std::vector<std::string>& files, PassedOver& passed_over) {
  require(depth < deepest, "'", (root / below).string(), "' lies more than ", deepest,
          " folders deep; does a link lead in a circle?");
  for (const fs::path& path : list_folder(root / below)) {
    const fs::path here = below / path.filename();
    switch (look_at(path, passed_over)) {
      case Entry::image:
        files.push_back(here.string());
        break;
      case Entry::folder:
        collect(root, here, depth + 1, files, passed_over);
        break;
      case Entry::neither:
        break;
    }
  }
}

/// The first of `names` that is one of the folders: as it stands, else in another case.
template <class Names>
std::string find_name(const fs::path& root, const std::vector<std::string>& folders,
                      const Names& names) {
  for (const std::string name : names) {
    if (contains(folders, name)) return name;
    std::vector<std::string> found;
    for (const std::string& folder : folders)
      if (lower(folder) == name) found.push_back(folder);
    require(found.size() < 2, "'", root.string(), "' has the folders ",
            join_list(all_in_quotes(found)), ": which one is the split? Call it '", name, "'");
    if (!found.empty()) return found.front();
  }
  return "";
}

}  // namespace

std::string image_endings() {
  return join_list(std::vector<std::string>(endings.begin(), endings.end()), "or");
}

bool is_image_name(const fs::path& path) {
  return contains(endings, lower(path.extension().string())) && !is_hidden(path);
}

bool is_folder_of_images(const fs::path& path) {
  return !is_hidden(path) && path.filename() != "__MACOSX" && is_folder(path);
}

ImageSplits find_splits(const fs::path& folder) {
  PassedOver beside;
  std::vector<std::string> folders;
  for (const fs::path& path : list_folder(folder)) {
    if (is_folder_of_images(path))
      folders.push_back(path.filename().string());
    else
      beside.add_file(path);
  }
  const std::string train = find_name(folder, folders, train_names);
  if (train.empty()) {
    std::vector<std::string> taken;
    for (const std::string& name : folders)
      if (contains(names_of_splits, lower(name))) taken.push_back(name);
    ImageSplits splits{.train = folder};
    if (!taken.empty())
      splits.notices.push_back(
          join_list(all_in_quotes(taken)) + " of " + printable_in_quotes(folder.string()) +
          (taken.size() == 1 ? " is taken for a class" : " are taken for classes") +
          ": they are splits only where there is a folder 'train' beside them");
    return splits;
  }
  const std::string test = find_name(folder, folders, test_names);
  ImageSplits splits{.train = folder / train, .test = test.empty() ? "" : folder / test};
  for (const std::string& name : folders)
    if (name != train && name != test) beside.add(printable_in_quotes(name + "/"));
  if (!beside.empty()) {
    splits.notices.push_back(beside.text(folder) + "; the splits are " +
                             printable_in_quotes(train) +
                             (test.empty() ? " and a part of it that is held out"
                                           : " and " + printable_in_quotes(test)));
  }
  return splits;
}

std::vector<std::string> class_names_in(const fs::path& folder) {
  PassedOver told_by_list_images;
  return look_into_split(folder, told_by_list_images).folders;
}

ImageList list_images(const fs::path& folder, const std::vector<std::string>& classes) {
  PassedOver passed_over;
  Level level = look_into_split(folder, passed_over);
  require(level.folders.empty() == classes.empty(), "'", folder.string(), "' has ",
          level.folders.empty() ? "no sub-folders" : "sub-folders for classes",
          ", and the train split has ", classes.empty() ? "none" : "some");
  ImageList list{.files = std::move(level.images)};
  for (const std::string& name : level.folders) {
    const auto known = std::lower_bound(classes.begin(), classes.end(), name);
    require(known != classes.end() && *known == name, "'", (folder / name).string(),
            "' is no class of the train split", config::did_you_mean(name, classes));
    collect(folder, name, 0, list.files, passed_over);
    list.labels.resize(list.files.size(), static_cast<int32_t>(known - classes.begin()));
  }
  if (!passed_over.empty()) list.notices.push_back(passed_over.text(folder));
  require(!list.files.empty(), "'", folder.string(), "' holds no images: no ", image_endings(),
          " file that is not empty, nor sub-folders of them",
          passed_over.empty() ? "" : "; " + passed_over.text(folder));
  return list;
}

}  // namespace gallop::data
