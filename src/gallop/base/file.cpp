#include "gallop/base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>

#include "gallop/base/error.h"

namespace gallop {
namespace {

/// Message of an errno value; thread-safe, unlike strerror.
std::string reason(int error) { return std::generic_category().message(error); }

/// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

int open_retrying(const fs::path& path, int flags, mode_t mode = 0) {
  for (;;) {
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
    if (fd >= 0 || errno != EINTR) return fd;
  }
}

Descriptor open_for_reading(const fs::path& path) {
  const int fd = open_retrying(path, O_RDONLY);
  if (fd < 0) fail("cannot open '", path.string(), "': ", reason(errno));
  return Descriptor(fd);
}

struct stat status_of(const Descriptor& file, const fs::path& path) {
  struct stat status;
  if (::fstat(file.get(), &status) != 0) fail("cannot read '", path.string(), "': ", reason(errno));
  if (S_ISDIR(status.st_mode)) fail("cannot read '", path.string(), "': it is a folder");
  return status;
}

class PosixFile : public OutputFile {
 public:
  PosixFile(fs::path path, int flags)
      : path_(std::move(path)), fd_(open_retrying(path_, flags, 0666)) {
    if (fd_.get() < 0) fail("cannot write '", path_.string(), "': ", reason(errno));
  }

  using OutputFile::write;
  void write(std::span<const std::byte> bytes) override {
    check_open();
    while (!bytes.empty()) {
      // Linux writes at most 2 GiB at once; smaller pieces also keep Ctrl-C responsive.
      const size_t piece = std::min<size_t>(bytes.size(), size_t{256} << 20);
      const ssize_t n = ::write(fd_.get(), bytes.data(), piece);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail("cannot write '", path_.string(), "': ", reason(errno));
      bytes = bytes.subspan(static_cast<size_t>(n));
    }
  }

  void sync() override {
    check_open();
    while (::fsync(fd_.get()) != 0) {
      if (errno == EINTR) continue;
      if (errno == EINVAL || errno == ENOTSUP) return;  // a pipe or device: nothing to make durable
      fail("cannot make '", path_.string(), "' durable: ", reason(errno));
    }
  }

  void close() override {
    check_open();
    // On EINTR Linux has closed the descriptor all the same.
    if (::close(fd_.release()) != 0 && errno != EINTR)
      fail("cannot close '", path_.string(), "': ", reason(errno));
  }

 private:
  void check_open() const { require(fd_.get() >= 0, "'", path_.string(), "' is already closed"); }

  fs::path path_;
  Descriptor fd_;
};

class PosixFileSystem : public FileSystem {
 public:
  std::unique_ptr<OutputFile> create(const fs::path& path) override {
    return std::make_unique<PosixFile>(path, O_WRONLY | O_CREAT | O_TRUNC);
  }
  std::unique_ptr<OutputFile> append(const fs::path& path) override {
    return std::make_unique<PosixFile>(path, O_WRONLY | O_CREAT | O_APPEND);
  }
  void rename(const fs::path& from, const fs::path& to) override {
    std::error_code error;
    fs::rename(from, to, error);
    if (error)
      fail("cannot rename '", from.string(), "' to '", to.string(), "': ", error.message());
  }
  void remove_all(const fs::path& path) override {
    std::error_code error;
    fs::remove_all(path, error);
    if (error) fail("cannot remove '", path.string(), "': ", error.message());
  }
  void make_directories(const fs::path& path) override {
    std::error_code error;
    fs::create_directories(path, error);
    if (!error && !fs::is_directory(path, error) && !error)
      error = std::make_error_code(std::errc::not_a_directory);
    if (error) fail("cannot create the folder '", path.string(), "': ", error.message());
  }
  void sync_directory(const fs::path& path) override {
    const fs::path folder = path.empty() ? fs::path(".") : path;
    Descriptor file(open_retrying(folder, O_RDONLY | O_DIRECTORY));
    if (file.get() < 0) fail("cannot open the folder '", folder.string(), "': ", reason(errno));
    while (::fsync(file.get()) != 0) {
      if (errno == EINTR) continue;
      if (errno == EINVAL || errno == ENOTSUP) return;  // some file systems have no such thing
      fail("cannot make the folder '", folder.string(), "' durable: ", reason(errno));
    }
  }
};

std::atomic<FileSystem*> replacement_in_use{nullptr};

/// Name beside `path` that no other process or thread of ours uses.
fs::path temporary_beside(const fs::path& path) {
  static std::atomic<unsigned> counter{0};
  fs::path temporary = path;
  temporary.replace_filename("." + path.filename().string() + ".tmp-" + std::to_string(::getpid()) +
                             "-" + std::to_string(counter++));
  return temporary;
}

}  // namespace

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

std::string read_file(const fs::path& path) {
  const Descriptor file = open_for_reading(path);
  const struct stat status = status_of(file, path);
  std::string content;
  // The size is a hint only: files of /proc say 0 and a growing file is longer than it said.
  size_t room = std::max<size_t>(static_cast<size_t>(status.st_size) + 1, 4096);
  size_t used = 0;
  for (;;) {
    content.resize(room);
    const ssize_t n = ::read(file.get(), content.data() + used, room - used);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("cannot read '", path.string(), "': ", reason(errno));
    if (n == 0) break;
    used += static_cast<size_t>(n);
    if (used == room) room *= 2;
  }
  content.resize(used);
  return content;
}

void read_in_pieces(const fs::path& path,
                    const std::function<void(std::span<const std::byte>)>& visit) {
  const Descriptor file = open_for_reading(path);
  std::vector<std::byte> piece(size_t{1} << 20);
  for (;;) {
    const ssize_t n = ::read(file.get(), piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("cannot read '", path.string(), "': ", reason(errno));
    if (n == 0) return;
    visit(std::span(piece).first(static_cast<size_t>(n)));
  }
}

std::vector<fs::path> list_folder(const fs::path& path) {
  std::error_code error;
  std::vector<fs::path> entries;
  fs::directory_iterator entry(path, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error))
    entries.push_back(entry->path());
  if (error) fail("cannot read the folder '", path.string(), "': ", error.message());
  std::sort(entries.begin(), entries.end());
  return entries;
}

MappedFile::MappedFile(const fs::path& path) : path_(path) {
  const Descriptor file = open_for_reading(path);
  const struct stat status = status_of(file, path);
  require(S_ISREG(status.st_mode), "cannot map '", path.string(), "': it is not a regular file");
  const size_t size = static_cast<size_t>(status.st_size);
  if (size == 0) return;  // mmap refuses an empty range
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) fail("cannot map '", path.string(), "': ", reason(errno));
  mapping_ = std::shared_ptr<const void>(
      address, [size](const void* p) { ::munmap(const_cast<void*>(p), size); });
  bytes_ = {static_cast<const std::byte*>(address), size};
}

void release_pages(std::span<const std::byte> mapped) {
  // Whole pages only: those at the ends may hold something else, too.
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(mapped.data());
  const uintptr_t first = (begin + page - 1) / page * page;
  const uintptr_t last = (begin + mapped.size()) / page * page;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

FileSystem& file_system() {
  static PosixFileSystem posix;
  FileSystem* replaced = replacement_in_use.load();
  return replaced ? *replaced : posix;
}

std::shared_ptr<void> replace_file_system(FileSystem& replacement) {
  FileSystem* before = replacement_in_use.exchange(&replacement);
  return std::shared_ptr<void>(nullptr, [before](void*) { replacement_in_use = before; });
}

void write_file_atomically(const fs::path& path, const std::function<void(OutputFile&)>& write) {
  std::error_code error;
  // Through a link to the file it names; a device must not be replaced by a file.
  const fs::path target = fs::is_symlink(path, error) ? fs::weakly_canonical(path, error) : path;
  const auto kind = fs::status(target, error).type();
  require(kind == fs::file_type::not_found || kind == fs::file_type::regular ||
              kind == fs::file_type::none || kind == fs::file_type::unknown,
          "cannot write '", path.string(), "': it is ",
          kind == fs::file_type::directory ? "a folder" : "not a regular file");

  FileSystem& files = file_system();
  const fs::path temporary = temporary_beside(target);
  try {
    auto file = files.create(temporary);
    write(*file);
    file->sync();
    file->close();
    files.rename(temporary, target);
  } catch (...) {
    try {
      files.remove_all(temporary);
    } catch (const Error&) {  // the first error is the one to tell
    }
    throw;
  }
  files.sync_directory(target.parent_path());
}

void write_file_atomically(const fs::path& path, std::string_view content) {
  write_file_atomically(path, [content](OutputFile& file) { file.write(content); });
}

}  // namespace gallop
