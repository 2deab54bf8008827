#include "gallop/formats/npz.h"

#include <zlib.h>

#include <set>
#include <string>

#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/base/text.h"
#include "gallop/formats/bytes.h"
#include "gallop/formats/npy.h"

// https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT; every entry is written as
// zip64, so that there is one case instead of two.

namespace gallop::formats {
namespace {

constexpr std::string_view suffix = ".npy";
constexpr uint16_t version_zip64 = 45;
constexpr uint16_t first_day = 1 << 5 | 1;  // 1 January 1980: the same arrays give the same file
constexpr uint32_t see_zip64 = 0xffffffff;

/// Collects little-endian numbers.
class Record {
 public:
  Record& u16(uint64_t v) { return put<uint16_t>(v); }
  Record& u32(uint64_t v) { return put<uint32_t>(v); }
  Record& u64(uint64_t v) { return put<uint64_t>(v); }
  Record& text(std::string_view v) {
    bytes_ += v;
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  template <class T>
  Record& put(uint64_t v) {
    append_little<T>(bytes_, static_cast<T>(v));
    return *this;
  }
  std::string bytes_;
};

uint32_t checksum(std::string_view header, std::span<const std::byte> data) {
  uLong crc = crc32_z(0, reinterpret_cast<const Bytef*>(header.data()), header.size());
  if (!data.empty()) crc = crc32_z(crc, reinterpret_cast<const Bytef*>(data.data()), data.size());
  return static_cast<uint32_t>(crc);
}

void check(const TensorView& array) {
  const bool named = !array.name.empty() && array.name.size() < 1024;
  require(named && byte_size(array.shape, array.dtype) == array.data.size(), "cannot write array '",
          array.name, "': shape ", shape_text(array.shape), " of ", name_of(array.dtype),
          " does not fit its ", array.data.size(), " bytes of data");
}

}  // namespace

NpzReader::NpzReader(const fs::path& path, Unread unread) : file_(path) {
  read(file_->bytes(), "'" + path.string() + "'", unread);
}

NpzReader::NpzReader(std::span<const std::byte> bytes, const std::string& what, Unread unread) {
  read(bytes, what, unread);
}

void NpzReader::read(std::span<const std::byte> bytes, const std::string& what, Unread unread) {
  const ZipArchive archive(bytes, what);
  for (const ZipEntry& entry : archive.entries()) {
    const std::string_view name = entry.name;
    const std::string where = what + ", " + in_quotes(entry.name) + ": ";
    require(name.ends_with(suffix) && name.size() > suffix.size(), where,
            "only NAME.npy belongs into an .npz file");
    const std::string array = entry.name.substr(0, name.size() - suffix.size());
    if (unread == Unread::is_listed && !entry.refused.empty()) {
      unread_.emplace_back(array, entry.refused);
      continue;
    }
    const std::span<const std::byte> file = archive.checked(entry);
    try {
      tensors_.push_back(read_npy(array, file));
    } catch (const Error& error) {
      require(unread == Unread::is_listed, where, error.what());
      unread_.emplace_back(array, error.what());
    }
  }
}

void write_npz(const fs::path& path, const std::vector<TensorView>& arrays) {
  std::set<std::string_view> names;
  for (const TensorView& array : arrays) {
    check(array);
    require(names.insert(array.name).second, "cannot write '", path.string(), "': array '",
            array.name, "' is there twice");
  }
  write_file_atomically(path, [&](OutputFile& file) {
    uint64_t position = 0;
    const auto write = [&](auto bytes) {
      position += bytes.size();
      file.write(bytes);
    };
    Record directory;
    for (const TensorView& array : arrays) {
      const std::string name = array.name + std::string(suffix);
      const std::string header = npy_header(array);
      const uint32_t crc = checksum(header, array.data);
      const uint64_t size = header.size() + array.data.size(), offset = position;

      Record local;
      local.u32(0x04034b50).u16(version_zip64).u16(0).u16(0).u16(0).u16(first_day);
      local.u32(crc).u32(see_zip64).u32(see_zip64).u16(name.size()).u16(20);
      local.text(name).u16(1).u16(16).u64(size).u64(size);
      write(std::string_view(local.bytes()));
      write(std::string_view(header));
      write(array.data);

      directory.u32(0x02014b50).u16(version_zip64).u16(version_zip64).u16(0).u16(0).u16(0);
      directory.u16(first_day).u32(crc).u32(see_zip64).u32(see_zip64).u16(name.size()).u16(28);
      directory.u16(0).u16(0).u16(0).u32(0).u32(see_zip64);
      directory.text(name).u16(1).u16(24).u64(size).u64(size).u64(offset);
    }
    const uint64_t directory_at = position;
    write(std::string_view(directory.bytes()));

    const uint64_t end_at = position;
    Record end;
    end.u32(0x06064b50).u64(44).u16(version_zip64).u16(version_zip64).u32(0).u32(0);
    end.u64(arrays.size()).u64(arrays.size()).u64(end_at - directory_at).u64(directory_at);
    end.u32(0x07064b50).u32(0).u64(end_at).u32(1);
    end.u32(0x06054b50).u16(0).u16(0).u16(0xffff).u16(0xffff).u32(see_zip64).u32(see_zip64).u16(0);
    write(std::string_view(end.bytes()));
  });
}

}  // namespace gallop::formats
