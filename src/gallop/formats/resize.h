#pragma once

#include <cstdint>

#include "gallop/formats/image.h"

namespace gallop::formats {

/// How a pixel is made of those around it; both widen by the scale where a picture becomes smaller,
/// so that nothing aliases.
enum class Filter {
  box,      ///< the mean of the pixels that a new one covers
  bicubic,  ///< Keys' cubic with a = -1/2
};

/// The picture with other sides, to the bit what `resize` of Pillow 9 gives: first along the rows,
/// then along the columns, in fixed point and rounded to bytes after each. (Pillow 13 begins with
/// the columns where that is less work, which can move a byte by one.)
Image resize(const Image& image, int64_t width, int64_t height, Filter filter);

/// How a picture becomes a square.
enum class Crop {
  adm,      ///< box-halve while the shorter side is at least twice the wanted one, then as bicubic
  bicubic,  ///< bicubic until the shorter side is the wanted one, then the centre
};

/// The square of `side` pixels in the middle of the picture, resized before so that its shorter
/// side fits. Crop::adm is how ImageNet is prepared for diffusion models ("Diffusion Models Beat
/// GANs on Image Synthesis", arXiv 2105.05233, `center_crop_arr`).
Image crop_square(Image image, int64_t side, Crop crop);

}  // namespace gallop::formats
