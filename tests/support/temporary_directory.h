#pragma once

#include <filesystem>

namespace gallop::test {

/// A new empty folder under the system's folder for temporary files, removed with all it holds when
/// this object dies, folders without write permission included.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline std::filesystem::path operator/(const TemporaryDirectory& directory,
                                       const std::filesystem::path& name) {
  return directory.path() / name;
}

}  // namespace gallop::test
