#include "gallop/formats/npy.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <optional>
#include <string_view>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/base/text.h"
#include "gallop/formats/bytes.h"

// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html: a magic text, two bytes
// of version, the length of the header (2 bytes in version 1, 4 later), and a Python dict as text:
// {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }

namespace gallop::formats {
namespace {

static_assert(std::endian::native == std::endian::little,
              "arrays are read and written as they lie");

using namespace std::literals;

constexpr std::string_view magic = "\x93NUMPY";
constexpr size_t before_1 = 10, before_2 = 12;  // magic, version and length
constexpr size_t max_header = 65'536;  // of arrays without records; far above what is needed
constexpr size_t max_rank = 8;

struct NumpyType {
  DType dtype;
  std::string_view descr;
};
constexpr std::array numpy_types{
    NumpyType{DType::BOOL, "|b1"}, NumpyType{DType::U8, "|u1"},  NumpyType{DType::I8, "|i1"},
    NumpyType{DType::I16, "<i2"},  NumpyType{DType::U16, "<u2"}, NumpyType{DType::F16, "<f2"},
    NumpyType{DType::I32, "<i4"},  NumpyType{DType::U32, "<u4"}, NumpyType{DType::F32, "<f4"},
    NumpyType{DType::F64, "<f8"},  NumpyType{DType::I64, "<i8"}, NumpyType{DType::U64, "<u8"}};

/// Reads the few forms of Python that numpy writes into a header.
class HeaderText {
 public:
  explicit HeaderText(std::string_view rest) : rest_(rest) {}

  bool take(std::string_view word) {
    skip_spaces();
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  void expect(std::string_view word) {
    require(take(word), "its header has ", in_quotes(rest_.substr(0, 20)), " where ",
            in_quotes(word), " should be");
  }
  /// In single or double quotes, without escapes.
  std::string_view text() {
    const char quote = take("'") ? '\'' : '"';
    if (quote == '"') expect("\"");
    const size_t end = rest_.find(quote);
    require(end != rest_.npos, "its header ends inside of a text");
    const std::string_view value = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return value;
  }
  bool boolean() {
    if (take("True")) return true;
    expect("False");
    return false;
  }
  /// (), (3,), (3, 4); Python 2 wrote an L behind large numbers.
  std::vector<int64_t> tuple() {
    std::vector<int64_t> values;
    expect("(");
    while (!take(")")) {
      require(values.size() < max_rank, "it has more than ", max_rank, " dimensions");
      values.push_back(number());
      take("L");
      if (!take(",")) {
        expect(")");
        break;
      }
    }
    return values;
  }
  void expect_end() {
    skip_spaces();
    require(rest_.empty(), "its header goes on with ", in_quotes(rest_.substr(0, 20)));
  }

 private:
  int64_t number() {
    skip_spaces();
    int64_t value = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    require(error == std::errc() && value >= 0, "its shape has ", in_quotes(rest_.substr(0, 20)),
            " for a dimension");
    rest_.remove_prefix(static_cast<size_t>(end - rest_.data()));
    return value;
  }
  void skip_spaces() {
    rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t\n\r"), rest_.size()));
  }
  std::string_view rest_;
};

struct Header {
  std::optional<std::string_view> descr;
  std::optional<bool> by_columns;
  std::optional<std::vector<int64_t>> shape;
};

template <class T>
void set_once(std::optional<T>& member, T value, std::string_view key) {
  require(!member.has_value(), "its header has '", key, "' twice");
  member = std::move(value);
}

Header parse_header(std::string_view text) {
  HeaderText rest(text);
  Header header;
  rest.expect("{");
  while (!rest.take("}")) {
    const std::string_view key = rest.text();
    rest.expect(":");
    if (key == "descr") {
      require(!rest.take("["), "its elements are records of several fields: save each field apart");
      set_once(header.descr, rest.text(), key);
    } else if (key == "fortran_order") {
      set_once(header.by_columns, rest.boolean(), key);
    } else if (key == "shape") {
      set_once(header.shape, rest.tuple(), key);
    } else {
      fail("its header has the unknown key ", in_quotes(key));
    }
    if (!rest.take(",")) {
      rest.expect("}");
      break;
    }
  }
  rest.expect_end();
  require(header.descr && header.by_columns && header.shape,
          "its header lacks 'descr', 'fortran_order' or 'shape'");
  return header;
}

/// Header and elements of a file.
std::pair<std::string_view, std::span<const std::byte>> split(std::span<const std::byte> file) {
  const std::string_view bytes(reinterpret_cast<const char*>(file.data()), file.size());
  require(bytes.starts_with(magic) && bytes.size() >= before_2,
          "it does not begin as .npy files do; is it another format?");
  const auto byte = [&](size_t i) { return size_t{static_cast<uint8_t>(bytes[i])}; };
  const size_t version = byte(6);
  require(version >= 1 && version <= 3, "it is of version ", version, ".", byte(7),
          " of the format; 1 to 3 are known");
  const size_t before = version == 1 ? before_1 : before_2;
  const size_t length =
      version == 1 ? read_little<uint16_t>(&file[8]) : read_little<uint32_t>(&file[8]);
  require(length <= max_header && length <= bytes.size() - before, "its header of ", length,
          " bytes does not fit; is it cut short?");
  return {bytes.substr(before, length), file.subspan(before + length)};
}

}  // namespace

DType dtype_of_numpy(std::string_view descr) {
  const auto* type = std::find_if(numpy_types.begin(), numpy_types.end(),
                                  [&](const NumpyType& t) { return t.descr == descr; });
  if (type != numpy_types.end()) return type->dtype;
  const bool objects = descr.find('O') != descr.npos;
  fail("its elements are of the type ", in_quotes(descr),
       objects ? ", Python objects, which are never loaded"
       : descr.starts_with('>')
           ? ", of the other byte order: save x.astype(x.dtype.newbyteorder('<'))"
           : ", which is none of numbers and truth values that safetensors has");
}

std::string npy_header(const TensorView& array) {
  const auto* type = std::find_if(numpy_types.begin(), numpy_types.end(),
                                  [&](const NumpyType& t) { return t.dtype == array.dtype; });
  require(type != numpy_types.end(), "array '", array.name, "' is ", name_of(array.dtype),
          ", which numpy does not have: convert it to F32 first");
  std::string shape;
  for (const int64_t n : array.shape) shape += std::to_string(n) + ", ";
  if (array.shape.size() > 1) shape.resize(shape.size() - 2);
  std::string text = "{'descr': '" + std::string(type->descr) +
                     "', 'fortran_order': False, 'shape': (" + shape + "), }";
  text.resize((before_1 + text.size() + 1 + 63) / 64 * 64 - before_1 - 1, ' ');
  text += '\n';
  std::string bytes(magic);
  bytes += "\1\0"sv;
  append_little<uint16_t>(bytes, static_cast<uint16_t>(text.size()));
  return bytes + text;
}

TensorView read_npy(std::string name, std::span<const std::byte> file) {
  const auto [text, data] = split(file);
  Header header = parse_header(text);
  TensorView array{std::move(name), dtype_of_numpy(*header.descr), std::move(*header.shape), data};
  const auto size = byte_size(array.shape, array.dtype);
  require(size && *size == data.size(), "its shape ", shape_text(array.shape), " of ",
          name_of(array.dtype), " does not fit its ", data.size(), " bytes of elements");
  const auto is_long = [](int64_t n) { return n > 1; };
  require(!*header.by_columns || *size == 0 ||
              std::count_if(array.shape.begin(), array.shape.end(), is_long) < 2,
          "it is stored by columns: save numpy.ascontiguousarray(x)");
  return array;
}

}  // namespace gallop::formats
