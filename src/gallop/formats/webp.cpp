#include "gallop/formats/webp.h"

#include <webp/decode.h>
#include <webp/demux.h>

#include <cstdint>
#include <memory>

#include "gallop/base/error.h"
#include "gallop/formats/bytes.h"
#include "gallop/formats/exif.h"

namespace gallop::formats {
namespace {

/// A lossless WebP of one colour takes some thirty bytes whatever its size, so that no ratio of
/// pixels to bytes is impossible. Below this many pixels, each is taken; above, a picture of so few
/// bytes is a bomb sooner than a photograph.
constexpr int64_t pixels_of_any_file = int64_t{1} << 24;
constexpr int64_t most_pixels_a_byte = 4096;

constexpr size_t riff_header = 8;

/// Of the RIFF container: what follows its first 8 bytes.
uint64_t stated_size(std::span<const std::byte> bytes) { return read_little<uint32_t>(&bytes[4]); }

const char* reason(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_NOT_ENOUGH_DATA:
      return "it is cut short";
    case VP8_STATUS_BITSTREAM_ERROR:
      return "its data are damaged";
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      return "it uses something that libwebp does not read";
    default:
      return "libwebp cannot read it";
  }
}

int orientation_of(std::span<const std::byte> bytes) {
  const WebPData data{reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
  const std::unique_ptr<WebPDemuxer, void (*)(WebPDemuxer*)> demuxer(WebPDemux(&data),
                                                                     WebPDemuxDelete);
  WebPChunkIterator chunk{};
  if (!demuxer || !WebPDemuxGetChunk(demuxer.get(), "EXIF", 1, &chunk)) return 1;
  const int found = exif_orientation(std::as_bytes(std::span(chunk.chunk.bytes, chunk.chunk.size)));
  WebPDemuxReleaseChunkIterator(&chunk);
  return found;
}

}  // namespace

Decoded decode_webp(std::span<const std::byte> bytes, const std::string& what) {
  const auto check = [&](VP8StatusCode status) {
    if (status == VP8_STATUS_OUT_OF_MEMORY) throw std::bad_alloc();
    require(status == VP8_STATUS_OK, what, " is no valid WebP: ", reason(status));
  };
  require(bytes.size() >= riff_header && stated_size(bytes) <= bytes.size() - riff_header, what,
          " is no valid WebP: it is cut short");
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  WebPDecoderConfig config;
  require(WebPInitDecoderConfig(&config) != 0, "libwebp is of another version than its headers");
  check(WebPGetFeatures(data, bytes.size(), &config.input));
  require(config.input.has_animation == 0, what,
          " is an animated WebP; single pictures are read: extract its frames");
  const int64_t width = config.input.width, height = config.input.height;
  require(width > 0 && height > 0 && height <= most_pixels / width, what, " has ", width, " x ",
          height, " pixels, more than the ", most_pixels, " allowed");
  const int64_t pixels = width * height;
  require(pixels <= pixels_of_any_file ||
              pixels / most_pixels_a_byte <= static_cast<int64_t>(bytes.size()),
          what, " holds ", width, " x ", height, " pixels in ", bytes.size(),
          " bytes, which is no photograph: a WebP of more than ", pixels_of_any_file,
          " pixels is read where a byte stands for at most ", most_pixels_a_byte, " of them");

  Decoded result{{width, height, 3, {}}, orientation_of(bytes)};
  result.image.pixels.resize(static_cast<size_t>(pixels * 3));
  config.output.colorspace = MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA = {result.image.pixels.data(), static_cast<int>(width * 3),
                          result.image.pixels.size()};
  const VP8StatusCode status = WebPDecode(data, bytes.size(), &config);
  WebPFreeDecBuffer(&config.output);
  check(status);
  return result;
}

}  // namespace gallop::formats
