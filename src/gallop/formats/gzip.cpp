#include "gallop/formats/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <new>
#include <utility>

#include "gallop/base/error.h"

namespace gallop::formats {

bool is_gzip(std::span<const std::byte> bytes) {
  return bytes.size() >= 2 && bytes[0] == std::byte{0x1f} && bytes[1] == std::byte{0x8b};
}

struct GzipReader::State {
  z_stream stream{};
  std::span<const std::byte> rest;
  std::string what;
  bool ended = false;
};

GzipReader::GzipReader(std::span<const std::byte> bytes, std::string what)
    : state_(std::make_unique<State>()) {
  state_->rest = bytes;
  state_->what = std::move(what);
  constexpr int gzip_only = 16;
  if (inflateInit2(&state_->stream, MAX_WBITS + gzip_only) != Z_OK) throw std::bad_alloc();
}

GzipReader::~GzipReader() { inflateEnd(&state_->stream); }

size_t GzipReader::read(std::span<std::byte> out) {
  // zlib counts in 32 bits.
  constexpr size_t most_at_once = size_t{1} << 30;
  State& s = *state_;
  z_stream& z = s.stream;
  size_t done = 0;
  while (done < out.size() && !s.ended) {
    const size_t in = std::min(s.rest.size(), most_at_once);
    const size_t room = std::min(out.size() - done, most_at_once);
    z.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(s.rest.data()));
    z.avail_in = static_cast<uInt>(in);
    z.next_out = reinterpret_cast<Bytef*>(out.data() + done);
    z.avail_out = static_cast<uInt>(room);
    const int status = inflate(&z, Z_NO_FLUSH);
    s.rest = s.rest.subspan(in - z.avail_in);
    done += room - z.avail_out;
    require(status != Z_BUF_ERROR, s.what, " ends in the middle of its gzip data: it is cut short");
    require(status == Z_OK || status == Z_STREAM_END, s.what,
            " is no valid gzip file: ", z.msg ? z.msg : "it cannot be unpacked");
    s.ended = status == Z_STREAM_END;
  }
  require(!s.ended || s.rest.empty(), s.what, " goes on for ", s.rest.size(),
          " bytes after the end of its gzip data");
  return done;
}

}  // namespace gallop::formats
