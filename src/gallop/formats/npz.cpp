#include "gallop/formats/npz.h"

#include <zlib.h>

#include <bit>
#include <set>
#include <string>

#include "gallop/base/error.h"
#include "gallop/base/human.h"

// npy: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, version 1.0.
// zip: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT; every entry is written as
// zip64, so that there is one case instead of two.

namespace gallop::formats {
namespace {

static_assert(std::endian::native == std::endian::little, "arrays are written as they lie");

constexpr uint16_t version_zip64 = 45;
constexpr uint16_t first_day = 1 << 5 | 1;  // 1 January 1980: the same arrays give the same file
constexpr uint32_t see_zip64 = 0xffffffff;

/// Collects little-endian numbers.
class Record {
 public:
  Record& u16(uint64_t v) { return put(v, 2); }
  Record& u32(uint64_t v) { return put(v, 4); }
  Record& u64(uint64_t v) { return put(v, 8); }
  Record& text(std::string_view v) {
    bytes_ += v;
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  Record& put(uint64_t v, int n) {
    for (int i = 0; i < n; ++i) bytes_.push_back(static_cast<char>(v >> (8 * i) & 255));
    return *this;
  }
  std::string bytes_;
};

const char* numpy_type(const TensorView& array) {
  switch (array.dtype) {
    case DType::BOOL:
      return "|b1";
    case DType::U8:
      return "|u1";
    case DType::I8:
      return "|i1";
    case DType::I16:
      return "<i2";
    case DType::U16:
      return "<u2";
    case DType::F16:
      return "<f2";
    case DType::I32:
      return "<i4";
    case DType::U32:
      return "<u4";
    case DType::F32:
      return "<f4";
    case DType::F64:
      return "<f8";
    case DType::I64:
      return "<i8";
    case DType::U64:
      return "<u8";
    case DType::BF16:
      break;
  }
  fail("array '", array.name, "' is BF16, which numpy does not have: convert it to F32 first");
}

/// What stands before the elements of an .npy file: 64 bytes or a multiple.
std::string npy_header(const TensorView& array) {
  std::string shape;
  for (const int64_t n : array.shape) shape += std::to_string(n) + ", ";
  if (array.shape.size() > 1) shape.resize(shape.size() - 2);
  std::string text = "{'descr': '" + std::string(numpy_type(array)) +
                     "', 'fortran_order': False, 'shape': (" + shape + "), }";
  constexpr size_t before = 10;
  text.resize((before + text.size() + 1 + 63) / 64 * 64 - before - 1, ' ');
  text += '\n';
  return Record().text("\x93NUMPY").u16(1).u16(text.size()).text(text).bytes();
}

uint32_t checksum(std::string_view header, std::span<const std::byte> data) {
  uLong crc = crc32_z(0, reinterpret_cast<const Bytef*>(header.data()), header.size());
  if (!data.empty()) crc = crc32_z(crc, reinterpret_cast<const Bytef*>(data.data()), data.size());
  return static_cast<uint32_t>(crc);
}

void check(const TensorView& array) {
  size_t size = size_of(array.dtype);
  bool fits = !array.name.empty() && array.name.size() < 1024;
  for (const int64_t n : array.shape)
    fits = fits && n >= 0 && !__builtin_mul_overflow(size, static_cast<size_t>(n), &size);
  require(fits && size == array.data.size(), "cannot write array '", array.name, "': shape ",
          shape_text(array.shape), " of ", name_of(array.dtype), " does not fit its ",
          array.data.size(), " bytes of data");
}

}  // namespace

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
      const std::string name = array.name + ".npy";
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
