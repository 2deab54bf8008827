#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gallop::formats {

/// One file of a zip archive.
struct ZipEntry {
  std::string name;
  uint32_t crc = 0;
  std::span<const std::byte> data;  ///< as it lies in the archive; not compared with `crc` yet
  std::string refused;              ///< why it cannot be read: it is compressed; empty: it can
};

/// A zip archive (zip64 too) that lies in memory. Of its files, those are read that are stored, not
/// compressed: what torch.save and write_npz write. All sizes and places are checked: files lie
/// between the start and the directory and share no byte, names are there once. Nothing is
/// unpacked, so there is nothing that could grow. Errors begin with `what` (a file name).
class ZipArchive {
 public:
  ZipArchive(std::span<const std::byte> bytes, std::string what);
  /// In the order of the directory.
  const std::vector<ZipEntry>& entries() const { return entries_; }
  /// Null pointer if there is no such file.
  const ZipEntry* find(std::string_view name) const;
  /// The bytes of a file; throws Error if it is compressed or encrypted, or its checksum is not
  /// that of the directory.
  std::span<const std::byte> checked(const ZipEntry& entry) const;

 private:
  std::string what_;
  std::vector<ZipEntry> entries_;
  std::map<std::string, size_t, std::less<>> index_;
};

}  // namespace gallop::formats
