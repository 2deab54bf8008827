#include "gallop/formats/zip.h"

#include <zlib.h>

#include <algorithm>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/base/text.h"
#include "gallop/formats/bytes.h"

// Numbers in parentheses are sections of
// https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT

namespace gallop::formats {
namespace {

using Bytes = std::span<const std::byte>;

constexpr uint32_t local_signature = 0x04034b50;        // 4.3.7
constexpr uint32_t directory_signature = 0x02014b50;    // 4.3.12
constexpr uint32_t end64_signature = 0x06064b50;        // 4.3.14
constexpr uint32_t end64_place_signature = 0x07064b50;  // 4.3.15
constexpr uint32_t end_signature = 0x06054b50;          // 4.3.16
constexpr size_t local_size = 30, directory_size = 46, end_size = 22, end64_size = 56,
                 end64_place_size = 20;
constexpr size_t max_comment = 0xffff;
constexpr uint32_t see_zip64 = 0xffffffff;
constexpr uint16_t zip64_field = 1;  // 4.5.3
constexpr uint64_t encrypted = 1;

/// Takes little-endian numbers from the front; throws Error where there are not enough bytes.
class Cursor {
 public:
  explicit Cursor(Bytes bytes) : rest_(bytes) {}
  uint64_t u16() { return number<uint16_t>(); }
  uint64_t u32() { return number<uint32_t>(); }
  uint64_t u64() { return number<uint64_t>(); }
  Bytes take(uint64_t n) {
    require(n <= rest_.size(), "a record is cut short");
    const Bytes taken = rest_.first(n);
    rest_ = rest_.subspan(n);
    return taken;
  }
  bool empty() const { return rest_.empty(); }

 private:
  template <class T>
  T number() {
    return read_little<T>(take(sizeof(T)).data());
  }
  Bytes rest_;
};

/// The bytes from `at` on; throws Error if that is behind the end.
Cursor cursor_at(Bytes bytes, uint64_t at) {
  require(at <= bytes.size(), "a record would begin at byte ", at, " of ", bytes.size());
  return Cursor(bytes.subspan(at));
}

struct Directory {
  uint64_t at = 0, size = 0, entries = 0;
};

/// The last record of the file, which a comment may follow. The one whose comment ends with the
/// file is taken, from the end on.
uint64_t find_end(Bytes bytes) {
  require(bytes.size() >= end_size, "it has ", bytes.size(), " bytes, a zip file at least ",
          end_size);
  const uint64_t last = bytes.size() - end_size;
  const uint64_t first = last - std::min<uint64_t>(last, max_comment);
  for (uint64_t at = last + 1; at-- > first;) {
    if (cursor_at(bytes, at).u32() == end_signature && cursor_at(bytes, at + 20).u16() == last - at)
      return at;
  }
  fail("the directory at its end is missing; is it cut short, or another format?");
}

Directory find_directory(Bytes bytes) {
  const uint64_t end_at = find_end(bytes);
  Cursor end = cursor_at(bytes, end_at);
  Directory directory;
  end.take(4);
  const uint64_t disk = end.u16(), first_disk = end.u16();
  end.u16();
  directory.entries = end.u16();
  directory.size = end.u32();
  directory.at = end.u32();
  uint64_t directory_end = end_at;
  const bool has_place = end_at >= end64_place_size &&
                         cursor_at(bytes, end_at - end64_place_size).u32() == end64_place_signature;
  if (has_place) {
    Cursor place = cursor_at(bytes, end_at - end64_place_size);
    place.take(8);
    directory_end = place.u64();
    Cursor end64 = cursor_at(bytes, directory_end);
    require(end64.u32() == end64_signature, "the zip64 record is not where it should be");
    end64.take(end64_size - 4 - 24);
    directory.entries = end64.u64();
    directory.size = end64.u64();
    directory.at = end64.u64();
  } else {
    require(disk == 0 && first_disk == 0, "it is one of several parts");
  }
  require(directory.at <= directory_end && directory.size == directory_end - directory.at,
          "the directory of ", directory.size, " bytes at ", directory.at,
          " does not end where its end is noted, ", directory_end);
  require(directory.entries <= directory.size / directory_size, "the directory has room for ",
          directory.size / directory_size, " files and claims ", directory.entries);
  return directory;
}

/// What a zip64 field holds, in this order, for each number that does not fit its usual place.
void read_zip64(Bytes extra, uint64_t& size, uint64_t& stored, uint64_t& offset) {
  Cursor fields(extra);
  while (!fields.empty()) {
    const uint64_t kind = fields.u16();
    Cursor field(fields.take(fields.u16()));
    if (kind != zip64_field) continue;
    for (uint64_t* value : {&size, &stored, &offset})
      if (*value == see_zip64) *value = field.u64();
  }
}

/// Where the data of a file begin, which only its local record says.
uint64_t data_begin(Bytes bytes, uint64_t offset, std::string_view name) {
  Cursor local = cursor_at(bytes, offset);
  require(local.u32() == local_signature, "there is no file at byte ", offset);
  local.take(22);
  const uint64_t name_size = local.u16(), extra_size = local.u16();
  const Bytes local_name = local.take(name_size);
  require(std::string_view(reinterpret_cast<const char*>(local_name.data()), name_size) == name,
          "the file at byte ", offset, " has another name");
  local.take(extra_size);
  return offset + local_size + name_size + extra_size;
}

struct Located {
  ZipEntry entry;
  uint64_t begin = 0, end = 0;  // with its local record
};

Located read_entry(Bytes bytes, uint64_t files_end, Cursor& directory) {
  require(directory.u32() == directory_signature, "a record of the directory is damaged");
  directory.take(4);
  const uint64_t flags = directory.u16(), method = directory.u16();
  directory.take(4);
  Located file;
  file.entry.crc = static_cast<uint32_t>(directory.u32());
  uint64_t stored = directory.u32(), size = directory.u32();
  const uint64_t name_size = directory.u16(), extra_size = directory.u16(),
                 comment_size = directory.u16();
  directory.take(8);
  uint64_t offset = directory.u32();
  const Bytes name = directory.take(name_size);
  file.entry.name.assign(reinterpret_cast<const char*>(name.data()), name.size());
  const std::string shown = "file " + in_quotes(file.entry.name) + ": ";
  try {
    read_zip64(directory.take(extra_size), size, stored, offset);
    directory.take(comment_size);
    if ((flags & encrypted) != 0) {
      file.entry.refused = "it is encrypted";
    } else if (method != 0) {
      file.entry.refused =
          "it is compressed (method " + std::to_string(method) + "); only stored files are read" +
          (method == 8 ? " (of numpy: those of savez, not of savez_compressed)" : "");
    } else {
      require(size == stored, "its size is ", size, " and ", stored);
    }
    file.begin = offset;
    const uint64_t begin = data_begin(bytes.first(files_end), offset, file.entry.name);
    require(stored <= files_end - begin, "its ", stored, " bytes would end behind the ", files_end,
            " bytes of files");
    file.end = begin + stored;
    file.entry.data = bytes.subspan(begin, stored);
  } catch (const Error& error) {
    fail(shown, error.what());
  }
  return file;
}

}  // namespace

ZipArchive::ZipArchive(Bytes bytes, std::string what) : what_(std::move(what)) {
  try {
    const Directory directory = find_directory(bytes);
    Cursor records(bytes.subspan(directory.at, directory.size));
    std::vector<std::pair<uint64_t, uint64_t>> places;
    for (uint64_t i = 0; i < directory.entries; ++i) {
      Located file = read_entry(bytes, directory.at, records);
      places.emplace_back(file.begin, file.end);
      require(index_.emplace(file.entry.name, entries_.size()).second, "file ",
              in_quotes(file.entry.name), " is there twice");
      entries_.push_back(std::move(file.entry));
    }
    require(records.empty(), "the directory goes on after its ", directory.entries, " files");
    std::sort(places.begin(), places.end());
    for (size_t i = 1; i < places.size(); ++i)
      require(places[i - 1].second <= places[i].first, "two files share the bytes from ",
              places[i].first, " on");
  } catch (const Error& error) {
    fail(what_, " is no valid zip file: ", error.what());
  }
}

const ZipEntry* ZipArchive::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &entries_[found->second];
}

Bytes ZipArchive::checked(const ZipEntry& entry) const {
  require(entry.refused.empty(), what_, ": file ", in_quotes(entry.name), ": ", entry.refused);
  uLong crc = crc32_z(0, nullptr, 0);
  if (!entry.data.empty())
    crc = crc32_z(crc, reinterpret_cast<const Bytef*>(entry.data.data()), entry.data.size());
  require(crc == entry.crc, what_, ": the checksum of ", in_quotes(entry.name),
          " is wrong; was the file changed or damaged?");
  return entry.data;
}

}  // namespace gallop::formats
