#include "gallop/formats/jpeg.h"

// jpeglib.h uses FILE and size_t without including what declares them.
#include <cstdio>

#include <jpeglib.h>

#include <jerror.h>

#include <algorithm>
#include <csetjmp>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/formats/exif.h"

// libjpeg reports an error through a callback that must not return. It goes back by longjmp, so
// each block of calls is a `guarded` step whose locals have no destructors.

namespace gallop::formats {
namespace {

/// Pixels that a byte of file can stand for: a block of 64 takes a bit or more in the usual coding.
constexpr int64_t most_pixels_a_byte = 4096;

/// Each scan of a progressive JPEG passes over the whole picture and may take a few bytes; encoders
/// write about ten.
constexpr int most_scans = 500;

/// Of the segment APP1, which holds EXIF data among others.
constexpr int exif_marker = JPEG_APP0 + 1;
constexpr unsigned longest_segment = 0xffff;

struct JpegError {
  jpeg_error_mgr base;  // first, so that a pointer to it is one to the whole
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX] = "";
};

[[noreturn]] void on_error(j_common_ptr info) {
  auto* error = reinterpret_cast<JpegError*>(info->err);
  error->base.format_message(info, error->message);
  std::longjmp(error->jump, 1);
}

/// Level -1 is a warning: data that ended too early are filled up with grey, which is an error
/// here; the rest (stray bytes, odd markers) is common in photographs and harmless.
void on_message(j_common_ptr info, int level) {
  const int code = info->err->msg_code;
  if (level < 0 && (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER)) on_error(info);
}

/// Called while the scans of a progressive JPEG are read.
void on_progress(j_common_ptr info) {
  const int scan = reinterpret_cast<j_decompress_ptr>(info)->input_scan_number;
  if (scan <= most_scans) return;
  auto* error = reinterpret_cast<JpegError*>(info->err);
  std::snprintf(error->message, sizeof error->message, "it has more than %d scans", most_scans);
  std::longjmp(error->jump, 1);
}

class JpegReader {
 public:
  JpegReader() {
    progress_.progress_monitor = on_progress;
    info_.err = jpeg_std_error(&error_.base);
    error_.base.error_exit = on_error;
    error_.base.emit_message = on_message;
  }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;
  // Does nothing to an object that was never created, since it is all zero.
  ~JpegReader() { jpeg_destroy_decompress(&info_); }

  Decoded decode(std::span<const std::byte> bytes, const std::string& what) {
    const auto check = [&](bool ok) { require(ok, what, " is no valid JPEG: ", error_.message); };
    check(guarded([&] {
      jpeg_create_decompress(&info_);
      info_.progress = &progress_;
      jpeg_save_markers(&info_, exif_marker, longest_segment);
      jpeg_mem_src(&info_, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
      jpeg_read_header(&info_, TRUE);
    }));
    const int turn = orientation();  // the end of decoding forgets the segments
    const int64_t width = info_.image_width, height = info_.image_height;
    require(height <= most_pixels / width, what, " has ", width, " x ", height,
            " pixels, more than the ", most_pixels, " allowed");
    require(width * height / most_pixels_a_byte <= static_cast<int64_t>(bytes.size()), what,
            " is no valid JPEG: ", width, " x ", height, " pixels cannot be in ", bytes.size(),
            " bytes; is it cut short?");

    const bool four = info_.jpeg_color_space == JCS_CMYK || info_.jpeg_color_space == JCS_YCCK;
    const bool grey = info_.jpeg_color_space == JCS_GRAYSCALE;
    info_.out_color_space = four ? JCS_CMYK : grey ? JCS_GRAYSCALE : JCS_RGB;
    check(guarded([&] { jpeg_start_decompress(&info_); }));
    Image image{width, height, grey ? 1 : 3, {}};
    const size_t row = static_cast<size_t>(width * image.channels);
    image.pixels.resize(row * static_cast<size_t>(height));
    std::vector<uint8_t> four_row(four ? static_cast<size_t>(width) * 4 : 0);

    uint8_t* const pixels = image.pixels.data();
    uint8_t* const buffer = four_row.data();
    check(guarded([&] {
      for (JSAMPROW out = pixels; info_.output_scanline < info_.output_height; out += row) {
        JSAMPROW target = four ? buffer : out;
        jpeg_read_scanlines(&info_, &target, 1);
        if (four) to_rgb(buffer, out, info_.saw_Adobe_marker != FALSE);
      }
      jpeg_finish_decompress(&info_);
    }));
    return {std::move(image), turn};
  }

 private:
  /// Of the first segment that says one; others of its number hold XMP or what a program liked.
  int orientation() const {
    for (const auto* m = info_.marker_list; m; m = m->next) {
      const int found = exif_orientation(std::as_bytes(std::span(m->data, m->data_length)));
      if (found != 1) return found;
    }
    return 1;
  }

  template <class Step>
  bool guarded(Step step) {
    if (setjmp(error_.jump) != 0) return false;
    step();
    return true;
  }

  /// Files of Adobe store the complement: 255 is no ink.
  void to_rgb(const uint8_t* cmyk, uint8_t* rgb, bool complement) const {
    for (JDIMENSION x = 0; x < info_.output_width; ++x, cmyk += 4, rgb += 3) {
      const int flip = complement ? 0 : 255;
      const int white = cmyk[3] ^ flip;
      for (int c = 0; c < 3; ++c)
        rgb[c] = static_cast<uint8_t>(((cmyk[c] ^ flip) * white + 127) / 255);
    }
  }

  JpegError error_;
  jpeg_progress_mgr progress_{};
  jpeg_decompress_struct info_{};
};

}  // namespace

Decoded decode_jpeg(std::span<const std::byte> bytes, const std::string& what) {
  return JpegReader().decode(bytes, what);
}

}  // namespace gallop::formats
