#include "gallop/formats/idx.h"

#include <algorithm>
#include <array>
#include <optional>

#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/formats/bytes.h"
#include "gallop/formats/gzip.h"

// The format: two zero bytes, the element type, the rank, the dimensions as big-endian 32-bit
// numbers, the elements. http://yann.lecun.com/exdb/mnist

namespace gallop::formats {
namespace {

constexpr auto unsigned_byte = std::byte{0x08};

/// The content of a file that may be packed.
class Content {
 public:
  Content(std::span<const std::byte> bytes, const std::string& what) : plain_(bytes) {
    if (is_gzip(bytes)) gzip_.emplace(bytes, what);
    // What comes out of gzip is known at its end only; this much can.
    most_ = gzip_ ? bytes.size() * GzipReader::most_expansion : bytes.size();
  }
  /// No more bytes than this can come.
  size_t most() const { return most_; }
  size_t read(std::span<std::byte> out) {
    if (gzip_) return gzip_->read(out);
    const size_t n = std::min(out.size(), plain_.size());
    std::copy_n(plain_.begin(), n, out.begin());
    plain_ = plain_.subspan(n);
    return n;
  }

 private:
  std::span<const std::byte> plain_;
  std::optional<GzipReader> gzip_;
  size_t most_ = 0;
};

}  // namespace

IdxArray decode_idx(std::span<const std::byte> bytes, size_t rank, const std::string& what) {
  Content content(bytes, what);
  std::array<std::byte, 4> word;
  require(content.read(word) == word.size(), what, " is no IDX file: it has not even 4 bytes");
  require(word[0] == std::byte{0} && word[1] == std::byte{0}, what,
          " is no IDX file: it does not begin with two zero bytes");
  require(word[2] == unsigned_byte, what, " holds elements of IDX type ",
          std::to_integer<int>(word[2]), "; only 8, unsigned bytes, is read");
  require(std::to_integer<size_t>(word[3]) == rank, what, " has ", std::to_integer<int>(word[3]),
          " dimensions instead of ", rank,
          rank == 1 ? " (labels)" : " (count, height and width of grey images)");

  IdxArray array;
  size_t size = 1;
  bool fits = true, empty = false;
  for (size_t i = 0; i < rank; ++i) {
    require(content.read(word) == word.size(), what, " ends within its dimensions");
    const auto n = read_big<uint32_t>(word.data());
    array.shape.push_back(n);
    empty = empty || n == 0;
    fits = fits && !__builtin_mul_overflow(size, size_t{n}, &size);
  }
  require(!empty, what, " is empty: its shape is ", shape_text(array.shape));
  require(fits && size <= content.most(), what, " should hold ", shape_text(array.shape),
          " bytes, which cannot be in ", bytes.size(), " bytes; is it cut short?");
  array.data.resize(size);
  const size_t found = content.read(std::as_writable_bytes(std::span(array.data)));
  require(found == size, what, " should hold ", shape_text(array.shape), " = ", size,
          " bytes, but has ", found, "; is it cut short?");
  require(content.read(std::span(word).first(1)) == 0, what, " goes on after the ", size,
          " bytes that its shape ", shape_text(array.shape), " says");
  return array;
}

IdxArray read_idx(const fs::path& path, size_t rank) {
  return decode_idx(MappedFile(path).bytes(), rank, "'" + path.string() + "'");
}

}  // namespace gallop::formats
