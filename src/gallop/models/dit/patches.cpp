#include "gallop/models/dit/patches.h"

#include "gallop/base/error.h"

namespace gallop::models {

at::Tensor patchify(const at::Tensor& image_BCHW, int64_t patch) {
  const int64_t B = image_BCHW.size(0), C = image_BCHW.size(1);
  const int64_t H = image_BCHW.size(2), W = image_BCHW.size(3);
  require(H % patch == 0 && W % patch == 0, "patches of ", patch, " do not divide an image of ", H,
          "x", W);
  return image_BCHW.reshape({B, C, H / patch, patch, W / patch, patch})
      .permute({0, 2, 4, 3, 5, 1})
      .reshape({B, (H / patch) * (W / patch), patch * patch * C});
}

at::Tensor unpatchify(const at::Tensor& tokens_BLF, int64_t patch, int64_t height, int64_t width) {
  const int64_t B = tokens_BLF.size(0), rows = height / patch, columns = width / patch;
  const int64_t C = tokens_BLF.size(2) / (patch * patch);
  return tokens_BLF.reshape({B, rows, columns, patch, patch, C})
      .permute({0, 5, 1, 3, 2, 4})
      .reshape({B, C, height, width});
}

}  // namespace gallop::models
