#include "gallop/formats/png.h"

#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <exception>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/formats/exif.h"

// libpng reports an error by longjmp out of its own frames. Each block of calls to it is therefore
// a `guarded` step whose locals have no destructors; what must be freed belongs to the object
// outside.

namespace gallop::formats {
namespace {

/// deflate turns one byte into at most so many.
constexpr uint64_t most_expansion = 1032;

/// What libpng said last, and where longjmp goes.
struct PngError {
  std::jmp_buf jump;
  char message[160] = "";
};

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  auto* error = static_cast<PngError*>(png_get_error_ptr(png));
  std::snprintf(error->message, sizeof error->message, "%s", message);
  std::longjmp(error->jump, 1);
}

void on_warning(png_structp, png_const_charp) {}

/// Runs `step`; false if libpng left it with an error.
template <class Step>
bool guarded(PngError& error, Step step) {
  if (setjmp(error.jump) != 0) return false;
  step();
  return true;
}

class PngReader {
 public:
  explicit PngReader(std::span<const std::byte> bytes) : rest_(bytes) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, &error_, on_error, on_warning);
    info_ = png_ ? png_create_info_struct(png_) : nullptr;
    if (!info_) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      throw std::bad_alloc();
    }
  }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }

  Decoded decode(const std::string& what) {
    const size_t file_size = rest_.size();
    uint64_t stored_row = 0;
    Image image;
    const auto check = [&](bool ok) { require(ok, what, " is no valid PNG: ", error_.message); };

    check(guarded(error_, [&] {
      png_set_read_fn(png_, this, on_read);
      png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // checked below
      png_read_info(png_, info_);
      stored_row = png_get_rowbytes(png_, info_);
    }));
    image.width = png_get_image_width(png_, info_);
    image.height = png_get_image_height(png_, info_);
    require(image.height <= most_pixels / image.width, what, " has ", image.width, " x ",
            image.height, " pixels, more than the ", most_pixels, " allowed");
    require(stored_row * static_cast<uint64_t>(image.height) / most_expansion <= file_size, what,
            " is no valid PNG: ", image.width, " x ", image.height, " pixels cannot be in ",
            file_size, " bytes; is it cut short?");

    check(guarded(error_, [&] {
      if (png_get_color_type(png_, info_) == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png_);
      png_set_expand_gray_1_2_4_to_8(png_);
      png_set_scale_16(png_);
      png_set_strip_alpha(png_);
      passes_ = png_set_interlace_handling(png_);
      png_read_update_info(png_, info_);
    }));
    image.channels = png_get_channels(png_, info_);
    const size_t row = png_get_rowbytes(png_, info_);
    require((image.channels == 1 || image.channels == 3) &&
                row == static_cast<size_t>(image.width * image.channels),
            what, " is a PNG of a kind that libpng cannot turn into 8-bit grey or colour");
    image.pixels.resize(row * static_cast<size_t>(image.height));

    uint8_t* const pixels = image.pixels.data();
    const int64_t height = image.height;
    check(guarded(error_, [&] {
      for (int pass = 0; pass < passes_; ++pass)
        for (int64_t y = 0; y < height; ++y)
          png_read_row(png_, pixels + row * static_cast<size_t>(y), nullptr);
      png_read_end(png_, info_);  // EXIF data may come last
    }));
    return {std::move(image), orientation()};
  }

 private:
  int orientation() const {
    png_bytep exif = nullptr;
    png_uint_32 size = 0;
    if (png_get_eXIf_1(png_, info_, &size, &exif) == 0 || !exif) return 1;
    return exif_orientation(std::as_bytes(std::span(exif, size)));
  }

  static void on_read(png_structp png, png_bytep out, size_t size) {
    auto& rest = static_cast<PngReader*>(png_get_io_ptr(png))->rest_;
    if (rest.size() < size) png_error(png, "it is cut short");
    std::memcpy(out, rest.data(), size);
    rest = rest.subspan(size);
  }

  std::span<const std::byte> rest_;
  PngError error_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  int passes_ = 1;
};

class PngWriter {
 public:
  PngWriter() {
    png_ = png_create_write_struct(PNG_LIBPNG_VER_STRING, &error_, on_error, on_warning);
    info_ = png_ ? png_create_info_struct(png_) : nullptr;
    if (!info_) {
      png_destroy_write_struct(&png_, nullptr);
      throw std::bad_alloc();
    }
  }
  PngWriter(const PngWriter&) = delete;
  PngWriter& operator=(const PngWriter&) = delete;
  ~PngWriter() { png_destroy_write_struct(&png_, &info_); }

  std::string encode(const Image& image) {
    const size_t row = static_cast<size_t>(image.width * image.channels);
    const bool ok = guarded(error_, [&] {
      png_set_write_fn(png_, this, on_write, nullptr);
      png_set_IHDR(png_, info_, static_cast<png_uint_32>(image.width),
                   static_cast<png_uint_32>(image.height), 8,
                   image.channels == 1 ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB,
                   PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
      png_write_info(png_, info_);
      for (int64_t y = 0; y < image.height; ++y)
        png_write_row(png_, image.pixels.data() + row * static_cast<size_t>(y));
      png_write_end(png_, nullptr);
    });
    if (exception_) std::rethrow_exception(exception_);
    require(ok, "cannot encode a PNG of ", image.width, " x ", image.height, ": ", error_.message);
    return std::move(file_);
  }

 private:
  static void on_write(png_structp png, png_bytep data, size_t size) {
    auto* writer = static_cast<PngWriter*>(png_get_io_ptr(png));
    if (!writer->append(data, size)) png_error(png, "out of memory");
  }
  bool append(const png_byte* data, size_t size) {
    try {
      file_.append(reinterpret_cast<const char*>(data), size);
      return true;
    } catch (...) {  // must not cross the frames of libpng
      exception_ = std::current_exception();
      return false;
    }
  }

  PngError error_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  std::string file_;
  std::exception_ptr exception_;
};

}  // namespace

Decoded decode_png(std::span<const std::byte> bytes, const std::string& what) {
  return PngReader(bytes).decode(what);
}

std::string encode_png(const Image& image) {
  require(
      image.width > 0 && image.height > 0 && image.height <= most_pixels / image.width &&
          (image.channels == 1 || image.channels == 3) &&
          image.pixels.size() == static_cast<size_t>(image.width * image.height * image.channels),
      "cannot encode a PNG of ", image.width, " x ", image.height, " pixels with ", image.channels,
      " channels from ", image.pixels.size(), " bytes");
  return PngWriter().encode(image);
}

}  // namespace gallop::formats
