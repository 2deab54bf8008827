#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gallop/base/file.h"

namespace gallop::data {

/// The endings of files that are read, ".png, .jpg, ... or .webp", for messages.
std::string image_endings();

/// Whether a name ends like an image, in any case, and is not hidden.
bool is_image_name(const fs::path& path);

/// A sub-folder that may hold images: not hidden and none of those that programs leave behind.
bool is_folder_of_images(const fs::path& path);

/// Where the splits of a folder of images lie.
struct ImageSplits {
  fs::path train;
  fs::path test;  ///< empty: there is none, a part of `train` is held out
  /// What lies beside the splits and is not read, and names of splits that are taken for classes.
  std::vector<std::string> notices;
};

/// The sub-folder train is the train split, where it is there, and test, val, valid or validation
/// (the first of them) the test split; otherwise the folder itself is the train split. Names are
/// known in any case, exact ones first; Error where two differ in case only.
ImageSplits find_splits(const fs::path& folder);

/// The images of a split in file order: by class, then by name.
struct ImageList {
  std::vector<std::string> files;    ///< below the folder of the split
  std::vector<int32_t> labels;       ///< empty: no classes
  std::vector<std::string> notices;  ///< what is not read
};

/// The sub-folders, sorted, each a class; empty where the images lie in the folder itself. Error if
/// there are both.
std::vector<std::string> class_names_in(const fs::path& folder);

/// The images of a split whose classes are known. Files of 0 bytes, hidden ones and those with
/// other endings are counted and left out. Error if it holds no image, or a class that is not in
/// `classes`.
ImageList list_images(const fs::path& folder, const std::vector<std::string>& classes);

}  // namespace gallop::data
