#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/temporary_directory.h"

namespace gallop::test {

/// A folder with a tiny data set and the recipe of a run that takes about a second as a program:
/// 20 steps, checkpoints every 5, one line of log a step.
class TinyProgram {
 public:
  TinyProgram();
  /// Arguments that train it into the folder `out`, with overrides KEY=VALUE.
  std::vector<std::string> train(const std::filesystem::path& out,
                                 const std::vector<std::string>& set = {}) const;
  const std::filesystem::path& path() const { return folder_.path(); }
  std::filesystem::path operator/(const std::string& name) const { return folder_ / name; }

 private:
  TemporaryDirectory folder_;
};

/// The last step in the log of a run that was written at `since` (unix seconds) or later, 0 if
/// there is none; a line that is cut short does not count.
int64_t last_logged_step(const std::filesystem::path& run, double since = 0);

}  // namespace gallop::test
