#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "gallop/base/hash.h"
#include "gallop/data/dataset.h"

namespace gallop::data {

/// Adds the name and the size of a file below `folder` to what a change is told by: cheap where
/// reading all files is not. A file without a size (it is gone, or may not be looked at) counts as
/// that.
void add_file(Hasher& content, const std::filesystem::path& folder, const std::string& name);
/// The hash of names and sizes of files in this order.
std::string content_of_files(const std::filesystem::path& folder,
                             const std::vector<std::string>& names);

/// A difference between two states of a data set.
struct Change {
  std::string key;   ///< as `--allow` names it: "data.classes", "data.shape", "data.count", ...
  std::string text;  ///< "data.count: 40 -> 44 training samples"
  bool means_other = false;  ///< labels or numbers mean something else now: not to be gone on with
};

/// What differs of the training split. Nothing that is unknown of either (no count, no names, no
/// content) counts as a difference.
std::vector<Change> changes(const DatasetInfo& before, const DatasetInfo& now);
/// The same of the held-out split; its classes are those of the training split.
std::vector<Change> held_out_changes(const DatasetInfo& before, const DatasetInfo& now);

/// Whether both are known to hold the same samples in the same order under the same labels,
/// wherever they lie.
bool same_content(const DatasetInfo& a, const DatasetInfo& b);

}  // namespace gallop::data
