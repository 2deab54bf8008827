#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "gallop/base/file.h"

namespace gallop::data {

/// Counts by kind what lies in a folder and is not read, so that a person is told.
class PassedOver {
 public:
  /// `kind` follows the count in the text: ".gif", "empty files".
  void add(const std::string& kind);
  /// A file, by its ending: ".gif", "hidden", "without an ending".
  void add_file(const fs::path& path);
  bool empty() const { return counts_.empty(); }
  /// "not read in 'photos': 120 .gif, 50 .bmp and 3 hidden", the most frequent first; of many kinds
  /// the rest is summed.
  std::string text(const fs::path& where) const;

 private:
  std::map<std::string, int64_t> counts_;
};

/// A notice (in a list of one, else of none) that names files which one could expect to be read.
std::vector<std::string> unread_files(const fs::path& folder, const std::vector<std::string>& names,
                                      const std::string& why);

}  // namespace gallop::data
