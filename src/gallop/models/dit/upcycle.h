#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "gallop/models/denoiser.h"

namespace gallop::models {

/// How the experts of one sparse layer came out of a dense MLP.
struct UpcycledLayer {
  std::string name;      ///< "blocks.3.moe"
  int64_t parts = 1;     ///< pieces that the MLP was cut into; 1: whole copies
  int64_t copies = 1;    ///< of each piece
  double constant = 0;   ///< the score that all experts start near: the router's bias
  double out_scale = 1;  ///< of the experts' last layer, where the weights of a token sum to else
};

struct Upcycled {
  std::vector<UpcycledLayer> layers;
  std::vector<std::string> fresh;  ///< parameters of the sparse layers that keep first values
};

/// Fills a materialised sparse model from the weights of its dense twin (names `mlp.fc1`, `mlp.fc2`
/// of facebookresearch/DiT; Sparse Upcycling, arXiv 2212.05055). Expert c * parts + s is piece s of
/// the hidden units of copy c, so that an expert may be as wide as the MLP or a fraction of it. The
/// router starts near a constant at which the pieces that an average token gets add up to the dense
/// MLP: parts / K under an identity gate, anything under gates with fixed sums; where their sum is
/// not `parts`, the last layer is scaled. `router_noise` is the spread of the scores about it, in
/// units of the constant (of 1 where that is 0), for hidden values of size 1; all pieces of a copy
/// share it, so that token choice of K = parts experts takes one whole copy.
/// Throws Error for widths that do not divide, other kinds of experts, and tensors that the model
/// or the file lacks.
Upcycled upcycle(Denoiser& model, std::map<std::string, at::Tensor> dense, double router_noise);

}  // namespace gallop::models
