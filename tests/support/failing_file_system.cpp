#include "tests/support/failing_file_system.h"

#include <fstream>

#include "gallop/base/error.h"

namespace gallop::test {
namespace {

void append_bytes(const fs::path& path, std::span<const std::byte> bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::app);
  out.write(reinterpret_cast<const char*>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
  out.flush();
  require(out.good(), "the test could not write ", path.string());
}

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

}  // namespace

class FailingFileSystem::File : public OutputFile {
 public:
  File(FailingFileSystem& system, fs::path path) : system_(system), path_(std::move(path)) {}

  using OutputFile::write;
  void write(std::span<const std::byte> bytes) override {
    const std::scoped_lock lock(system_.mutex_);
    if (!system_.enter("write", path_, true)) return append_bytes(path_, bytes);
    append_bytes(path_, bytes.first(bytes.size() / 2));
    fail("cannot write '", path_.string(), "': No space left on device (made up)");
  }
  void sync() override {
    const std::scoped_lock lock(system_.mutex_);
    system_.enter("sync", path_, true);
    system_.durable_[path_] = fs::file_size(path_);
  }
  void close() override {
    const std::scoped_lock lock(system_.mutex_);
    system_.enter("close", path_);
  }

 private:
  FailingFileSystem& system_;
  fs::path path_;
};

bool FailingFileSystem::enter(const std::string& what, const fs::path& path, bool uses_space) {
  const size_t call = log_.size();
  log_.push_back(what + " " + path.filename().string());
  const bool now = fault_ != Fault::none && call == n_;
  const bool after =
      call > n_ && (fault_ == Fault::power_cut || (fault_ == Fault::stay_full && uses_space));
  if (now) faulted();
  if (now && what == "write" && (fault_ == Fault::shorten || fault_ == Fault::stay_full))
    return true;
  if (now || after)
    fail("cannot ", what, " '", path.string(),
         "': ", fault_ == Fault::power_cut ? "Input/output error" : "No space left on device",
         " (made up)");
  return false;
}

std::unique_ptr<OutputFile> FailingFileSystem::open(const fs::path& path, bool truncate) {
  std::error_code error;  // what cannot be looked at is told by who works on it
  if (!fs::exists(path, error)) {
    changes_.push_back({{}, path, std::nullopt});
    durable_[path] = 0;
  } else if (truncate) {
    durable_[path] = 0;
  } else if (!durable_.contains(path)) {
    durable_[path] = fs::file_size(path);
  }
  std::ofstream out(path, truncate ? std::ios::trunc : std::ios::app);
  require(out.good(), "cannot write '", path.string(), "': the test could not open it");
  return std::make_unique<File>(*this, path);
}

std::unique_ptr<OutputFile> FailingFileSystem::create(const fs::path& path) {
  const std::scoped_lock lock(mutex_);
  enter("create", path);
  return open(path, true);
}

std::unique_ptr<OutputFile> FailingFileSystem::append(const fs::path& path) {
  const std::scoped_lock lock(mutex_);
  enter("append", path);
  return open(path, false);
}

void FailingFileSystem::rename(const fs::path& from, const fs::path& to) {
  const std::scoped_lock lock(mutex_);
  enter("rename", to);
  Change change{from, to, std::nullopt};
  if (fs::is_regular_file(to)) change.replaced = read_file(to);
  fs::rename(from, to);
  changes_.push_back(std::move(change));
  // What was written under `from`, or below it if it is a folder, now lies under `to`.
  std::map<fs::path, uintmax_t> moved;
  for (const auto& [path, size] : durable_) {
    const fs::path relative = path.lexically_relative(from);
    if (relative == ".")
      moved[to] = size;
    else if (!relative.empty() && *relative.begin() != "..")
      moved[to / relative] = size;
    else if (path != to)
      moved[path] = size;
  }
  durable_ = std::move(moved);
}

void FailingFileSystem::remove_all(const fs::path& path) {
  const std::scoped_lock lock(mutex_);
  enter("remove_all", path);
  fs::remove_all(path);
}

void FailingFileSystem::make_directories(const fs::path& path) {
  const std::scoped_lock lock(mutex_);
  enter("make_directories", path);
  fs::create_directories(path);
}

void FailingFileSystem::sync_directory(const fs::path& path) {
  const std::scoped_lock lock(mutex_);
  enter("sync_directory", path);
  const fs::path folder = path.empty() ? fs::path(".") : path;
  std::erase_if(changes_, [&](const Change& c) { return folder_of(c.to) == folder; });
}

void FailingFileSystem::settle(Lost lost) {
  if (lost == Lost::nothing) return;
  for (const auto& [path, size] : durable_)
    if (fs::is_regular_file(path) && fs::file_size(path) > size) fs::resize_file(path, size);
  if (lost == Lost::data) return;
  for (auto change = changes_.rbegin(); change != changes_.rend(); ++change) {
    if (!fs::exists(change->to)) continue;
    if (change->from.empty()) {
      fs::remove(change->to);
      continue;
    }
    fs::rename(change->to, change->from);
    if (change->replaced) std::ofstream(change->to, std::ios::binary) << *change->replaced;
  }
}

}  // namespace gallop::test
