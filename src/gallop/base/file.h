#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gallop {

namespace fs = std::filesystem;

/// The whole file; throws Error with the path and the system's reason.
std::string read_file(const fs::path& path);

/// Whether there is something at `path`, and whether that is a folder (or a link to one). False for
/// what cannot be looked at, where std::filesystem throws.
bool is_there(const fs::path& path);
bool is_folder(const fs::path& path);

/// Hands the file over piece by piece, in order, so that memory stays small; throws Error as
/// read_file does.
void read_in_pieces(const fs::path& path,
                    const std::function<void(std::span<const std::byte>)>& visit);

/// What a folder holds, sorted by name (of bytes, whatever the locale); throws Error with the path
/// and the system's reason.
std::vector<fs::path> list_folder(const fs::path& path);

/// Read-only memory map of a file; shared by copies, unmapped with the last one.
class MappedFile {
 public:
  explicit MappedFile(const fs::path& path);
  std::span<const std::byte> bytes() const { return bytes_; }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
  std::shared_ptr<const void> mapping_;
  std::span<const std::byte> bytes_;
};

/// Gives the memory behind a part of a MappedFile back; it is read again when it is used again.
void release_pages(std::span<const std::byte> mapped);

/// An open file that is being written. All writing of the project goes through this interface, so
/// that a test can make it fail, shorten or lose writes at call n.
class OutputFile {
 public:
  virtual ~OutputFile() = default;
  /// Writes all bytes or throws Error (path, reason, e.g. "No space left on device").
  virtual void write(std::span<const std::byte> bytes) = 0;
  /// Makes what was written durable (fsync).
  virtual void sync() = 0;
  /// Closes and reports errors of closing; the destructor closes silently.
  virtual void close() = 0;
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
};

/// The operations on the file system that change it.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual std::unique_ptr<OutputFile> create(const fs::path& path) = 0;  ///< truncates
  virtual std::unique_ptr<OutputFile> append(const fs::path& path) = 0;
  virtual void rename(const fs::path& from, const fs::path& to) = 0;
  virtual void remove_all(const fs::path& path) = 0;
  virtual void make_directories(const fs::path& path) = 0;
  virtual void sync_directory(const fs::path& path) = 0;
};

/// The real one, unless a test has put its own there.
FileSystem& file_system();
/// Replaces it until the returned guard dies; tests only.
std::shared_ptr<void> replace_file_system(FileSystem& replacement);

/// Writes `path` so that it is either the old or the new content: temporary file in the same
/// folder, fsync, rename, fsync of the folder.
void write_file_atomically(const fs::path& path, const std::function<void(OutputFile&)>& write);
void write_file_atomically(const fs::path& path, std::string_view content);

}  // namespace gallop
