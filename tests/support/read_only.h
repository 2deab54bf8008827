#pragma once

#include <sys/types.h>

#include <filesystem>

namespace gallop::test {

/// Takes away this thread's right to write into a folder until this object dies. Permissions alone
/// do not stop root, as which containers run tests: there the thread also gives up its identity for
/// files.
class ReadOnlyFolder {
 public:
  explicit ReadOnlyFolder(const std::filesystem::path& folder);
  ~ReadOnlyFolder();
  ReadOnlyFolder(const ReadOnlyFolder&) = delete;
  ReadOnlyFolder& operator=(const ReadOnlyFolder&) = delete;

 private:
  std::filesystem::path folder_;
  std::filesystem::perms before_;
  bool root_;
};

}  // namespace gallop::test
