#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "gallop/formats/image.h"

namespace gallop::data {

/// One sample [channels, height, width] of floats in [-1, 1] (clamped) as a picture. Channels other
/// than 1 or 3 (latents) show their first channel scaled from its own minimum to its maximum.
formats::Image to_image(std::span<const float> sample, int64_t channels, int64_t height,
                        int64_t width);

/// Pictures of one size in rows of `columns` with a thin gap; the last row may be short. Each
/// picture is enlarged by the whole number `scale` without smoothing.
formats::Image make_sheet(const std::vector<formats::Image>& images, int64_t columns,
                          int64_t scale = 1);

/// The whole number that brings a picture of `side` pixels to about 64, at least 1.
int64_t sheet_scale(int64_t side);

}  // namespace gallop::data
