#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "gallop/base/file.h"

namespace gallop::test {

/// A file system that writes real files and misbehaves at the n-th call that changes something:
/// create, append, rename, remove_all, make_directories, sync_directory of the system, and write,
/// sync, close of its files all count, from 0. Put in place by `replace_file_system`. To try every
/// place where a run can break, count the calls of a good run and repeat it with n = 0, 1, ...,
/// calls - 1. Calls of several threads are taken one after the other.
class FailingFileSystem : public FileSystem {
 public:
  enum class Fault {
    none,       ///< only counts
    fail,       ///< call n throws Error and does nothing; later calls work (an I/O error)
    shorten,    ///< as fail, but a write puts half of its bytes there first (a disk that is full)
    stay_full,  ///< as shorten, and every later write and sync throws too; the rest works
    power_cut,  ///< call n does nothing, and it and all later ones throw; see settle()
  };
  /// What a power cut takes, beyond calls that never happened.
  enum class Lost {
    nothing,         ///< all data had reached the disk by luck
    data,            ///< files end where they were last synced
    data_and_names,  ///< also creations and renames are undone where the folder was not synced
                     ///< after
  };

  explicit FailingFileSystem(Fault fault = Fault::none, size_t n = 0) : fault_(fault), n_(n) {}

  /// Calls so far; a power cut counts those that came after it, too.
  size_t calls() const { return log_.size(); }
  /// What the calls were, for messages: "write model.safetensors", ...
  const std::vector<std::string>& log() const { return log_; }

  /// Makes the real files what the disk would hold after the power came back. Removals count as
  /// durable at once. Call once, after the code under test has ended.
  void settle(Lost lost);

  std::unique_ptr<OutputFile> create(const fs::path& path) override;
  std::unique_ptr<OutputFile> append(const fs::path& path) override;
  void rename(const fs::path& from, const fs::path& to) override;
  void remove_all(const fs::path& path) override;
  void make_directories(const fs::path& path) override;
  void sync_directory(const fs::path& path) override;

 protected:
  /// Called at call n, before it fails.
  virtual void faulted() {}

 private:
  class File;
  /// A change of a folder that has not been synced.
  struct Change {
    fs::path from;  // of a rename; empty: `to` was created
    fs::path to;
    std::optional<std::string> replaced;  // content of `to` before
  };

  /// Counts a call and throws if it is to fail; returns true if a write is to be cut in half.
  bool enter(const std::string& what, const fs::path& path, bool uses_space = false);
  std::unique_ptr<OutputFile> open(const fs::path& path, bool truncate);

  std::recursive_mutex mutex_;
  Fault fault_;
  size_t n_;
  std::vector<std::string> log_;
  std::map<fs::path, uintmax_t> durable_;  // bytes known to be on the disk of files we wrote
  std::vector<Change> changes_;
};

}  // namespace gallop::test
