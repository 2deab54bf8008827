#include "gallop/models/dit/dit.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/silu.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <sstream>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "gallop/models/dit/patches.h"
#include "gallop/ops/adaln.h"
#include "gallop/ops/linear.h"

namespace gallop::models {

namespace {

// Modulations start at zero, so that every block is the identity at step 0 (adaLN-Zero).
nn::LinearOptions zero_per_sample() {
  return {.weight_init = nn::Init::zeros(), .attributes = {.per_sample = true}};
}

// What the taps of a block begin with.
std::string tap_of(int64_t block) { return "block." + std::to_string(block); }

void tap(const nn::ForwardContext& ctx, const std::string& name, const at::Tensor& value) {
  if (ctx.taps != nullptr) ctx.taps->add(name, value);
}

}  // namespace

PatchEmbedder::PatchEmbedder(nn::Module& parent, std::string name, int64_t patch, int64_t C,
                             int64_t D)
    : Module(parent, std::move(name)),
      patch_(patch),
      weight_(*this, "proj.weight", {D, C, patch, patch},
              nn::Init::xavier_uniform(C * patch * patch, D)),
      bias_(*this, "proj.bias", {D}, nn::Init::zeros(), {.decay = false}) {}

at::Tensor PatchEmbedder::forward(const at::Tensor& x_BCHW) const {
  const int64_t B = x_BCHW.size(0), C = x_BCHW.size(1), p = patch_;
  const int64_t h = x_BCHW.size(2) / p, w = x_BCHW.size(3) / p;
  const at::Tensor patches_BLX =
      x_BCHW.reshape({B, C, h, p, w, p}).permute({0, 2, 4, 1, 3, 5}).reshape({B, h * w, C * p * p});
  return ops::linear(patches_BLX, weight_->flatten(1), *bias_);
}

DitBlock::DitBlock(nn::Module& parent, int64_t index, const DitSizes& sizes,
                   const DitSettings& settings)
    : Module(parent, "blocks." + std::to_string(index)),
      index_(index),
      width_(sizes.width),
      attn_(config::make<blocks::Attention>(
          settings.attention,
          {.parent = this, .D = sizes.width, .heads = sizes.heads, .layers = sizes.depth})),
      mlp_(config::make<nn::FeedForward>(
          (index + 1) % settings.mlp_every == 0 ? settings.mlp : settings.other_mlp,
          {.parent = this,
           .D = sizes.width,
           .tokens = sizes.tokens(),
           .target_width = sizes.patch * sizes.patch * sizes.args.channels,
           .layers = sizes.depth / settings.mlp_every})),
      adaLN_modulation_(*this, "adaLN_modulation.1", sizes.width, 6 * sizes.width,
                        zero_per_sample()),
      routing_(config::make<blocks::BlockRouting>(settings.block_routing, {.parent = this,
                                                                           .D = sizes.width,
                                                                           .tokens = sizes.tokens(),
                                                                           .index = index,
                                                                           .blocks = sizes.depth})),
      sublayers_{{.branch = *attn_, .number = 2 * index, .tap = tap_of(index) + ".attn"},
                 {.branch = *mlp_,
                  .number = 2 * index + 1,
                  .tap = tap_of(index) + ".mlp",
                  .input_tap = tap_of(index) + ".mlp_input"}} {
  attn_->scale_uses(uses());
  mlp_->scale_uses(uses());
  if (!routing_->gives_all_tokens()) {
    nn::refuse_need(*this, nn::Given::all_tokens,
                    "the block routing '" + settings.block_routing.kind() + "'");
  }
  routing_->decides();
  is_block();
}

nn::Activations DitBlock::activations(double tokens) const {
  const double numbers = tokens * uses() * static_cast<double>(width_);
  return {.kept = 2 * numbers, .passing = 2 * numbers};
}

double DitBlock::multiply_adds(double tokens) const {
  double sum = 0;
  for (const double share : routing_->shares()) sum += Module::multiply_adds(share * tokens);
  return sum;
}

double DitBlock::uses() const {
  const std::vector<double> shares = routing_->shares();
  return std::accumulate(shares.begin(), shares.end(), 0.0);
}

at::Tensor DitBlock::forward(const at::Tensor& state, const at::Tensor& silu_c_BD,
                             const blocks::ResidualStream& stream,
                             const nn::ForwardContext& ctx) const {
  const at::Tensor modulation = adaLN_modulation_.forward(silu_c_BD);  // [B, 6D]
  const auto m = modulation.chunk(6, 1);                               // shift, scale, gate; twice

  const std::string block = tap_of(index_);
  tap(ctx, block + ".adaln", modulation);

  const auto run = [&](at::Tensor x, const at::Tensor&, const at::Tensor& mlp_scale_BK) {
    for (size_t i = 0; i < sublayers_.size(); ++i) {
      const blocks::Modulation own{m[3 * i], m[3 * i + 1], m[3 * i + 2]};
      const bool last = i + 1 == sublayers_.size();
      x = sublayers_[i].forward(x, own, last ? mlp_scale_BK : at::Tensor(), stream, ctx);
    }
    return x;
  };
  const at::Tensor after =
      routing_->forward(state, {.stream = stream, .first = sublayers_[0].number, .run = run}, ctx);
  if (ctx.taps != nullptr) tap(ctx, block, stream.leave(after, ctx));
  return after;
}

FinalLayer::FinalLayer(nn::Module& parent, int64_t D, int64_t patch, int64_t C_out)
    : Module(parent, "final_layer"),
      linear_(*this, "linear", D, patch * patch * C_out, {.weight_init = nn::Init::zeros()}),
      adaLN_modulation_(*this, "adaLN_modulation.1", D, 2 * D, zero_per_sample()) {}

at::Tensor FinalLayer::forward(const at::Tensor& x_BLD, const at::Tensor& silu_c_BD) const {
  const auto m = adaLN_modulation_.forward(silu_c_BD).chunk(2, 1);  // shift, scale
  return linear_.forward(ops::adaln_modulate(x_BLD, m[0], m[1]));
}

Dit::Dit(const DitSettings& settings, const Args& args)
    : sizes_(resolve(settings, args)),
      label_dropout_(settings.label_dropout),
      drop_sigma_(settings.drop_sigma),
      x_embedder_(*this, "x_embedder", sizes_.patch, sizes_.args.channels, sizes_.width),
      t_embedder_(*this, "t_embedder", sizes_.width),
      pos_embed_(
          *this, "pos_embed", {1, sizes_.tokens(), sizes_.width}, nn::Init::computed([s = sizes_] {
            return nn::position_table_2d(s.width, s.args.height / s.patch, s.args.width / s.patch);
          }),
          {.decay = false, .frozen = true}),
      stream_(config::make<blocks::ResidualStream>(
          settings.stream, {.parent = this, .D = sizes_.width, .sublayers = 2 * sizes_.depth})),
      final_layer_(*this, sizes_.width, sizes_.patch,
                   sizes_.args.channels * (sizes_.learn_sigma ? 2 : 1)) {
  if (sizes_.args.classes > 0) {
    y_embedder_.emplace(*this, "y_embedder", sizes_.args.classes, label_dropout_ > 0, sizes_.width);
  }
  for (int64_t i = 0; i < sizes_.depth; ++i) {
    blocks_.push_back(std::make_unique<DitBlock>(*this, i, sizes_, settings));
  }
}

at::Tensor Dit::forward(const at::Tensor& x_BCHW, const nn::ForwardContext& ctx) const {
  const Args& in = sizes_.args;
  require(x_BCHW.dim() == 4 && x_BCHW.size(1) == in.channels && x_BCHW.size(2) == in.height &&
              x_BCHW.size(3) == in.width,
          "the model takes x of [B, ", in.channels, ", ", in.height, ", ", in.width, "], got ",
          x_BCHW.sizes());

  const at::Tensor tokens_BLD = x_embedder_.forward(x_BCHW);
  tap(ctx, "x_embed", tokens_BLD);
  const at::Tensor t_BD = t_embedder_.forward(ctx.timestep_B);
  tap(ctx, "t_embed", t_BD);
  at::Tensor c_BD = t_BD;
  if (y_embedder_) {
    const at::Tensor label_BD = y_embedder_->forward(ctx.label_B);
    tap(ctx, "y_embed", label_BD);
    c_BD = c_BD.add(label_BD);
  }
  tap(ctx, "c", c_BD);
  const at::Tensor silu_c_BD = at::silu(c_BD);

  nn::ForwardContext in_blocks = ctx;
  in_blocks.time_embedding_BD = t_BD;
  const int64_t T = blocks_[0]->routing().time_table();
  if (T > 0 && ctx.training && ctx.routing != nullptr) {
    in_blocks.time_table_TD = t_embedder_.forward(at::arange(T, x_BCHW.options()));
  }
  if (has_null_label()) in_blocks.unconditional_B = ctx.label_B.eq(in.classes);
  at::Tensor state = stream_->enter(tokens_BLD.add(*pos_embed_), in_blocks);
  for (const auto& block : blocks_) state = block->forward(state, silu_c_BD, *stream_, in_blocks);

  const at::Tensor out_BLF =
      final_layer_.forward(stream_->leave(state, in_blocks), silu_c_BD);  // [B, L, p*p*C_out]
  tap(ctx, "final_tokens", out_BLF);
  const at::Tensor image = unpatchify(out_BLF, sizes_.patch, in.height, in.width);
  return drop_sigma_ && sizes_.learn_sigma ? image.narrow(1, 0, in.channels) : image;
}

int64_t Dit::output_channels() const {
  return sizes_.args.channels * (sizes_.learn_sigma && !drop_sigma_ ? 2 : 1);
}

at::Tensor Dit::to_tokens(const at::Tensor& image_BCHW) const {
  return patchify(image_BCHW, sizes_.patch);
}

std::vector<nn::Given> Dit::provides() const {
  std::vector<nn::Given> given{nn::Given::time, nn::Given::target, nn::Given::all_tokens};
  if (sizes_.args.classes > 0) given.push_back(nn::Given::label);
  if (has_null_label()) given.push_back(nn::Given::null_label);
  return given;
}

std::vector<const nn::Module*> Dit::stacked() const {
  std::vector<const nn::Module*> all;
  for (const auto& block : blocks_) all.push_back(block.get());
  return all;
}

// The images with noise, target and output, the ends of the network, and the stream between blocks.
Footprint Dit::around_stack() const {
  const auto& in = sizes_.args;
  const auto image = static_cast<double>(in.channels * in.height * in.width);
  const auto stream = static_cast<double>(tokens() * sizes_.width);
  return {
      .kept = 8 * image + 3 * stream, .passing = 2 * stream, .inference = 6 * image + 2 * stream};
}

bool Dit::is_table_of_other_sizes(const nn::Parameter& parameter, const at::Tensor& table) const {
  constexpr double rounding = 0.01;  // of values up to 1 in bf16, and no neighbour is as near
  constexpr int most = 64;           // forms that are tried, the squarest first
  if (&parameter != &pos_embed_ || table.dim() != 3 || table.size(0) != 1) return false;
  const int64_t L = table.size(1), D = table.size(2);
  if (L == 0 || D == 0 || D % 4 != 0) return false;
  const at::Tensor given = table.to(at::kDouble);
  int tried = 0;
  for (auto side = static_cast<int64_t>(std::sqrt(static_cast<double>(L))); side > 0; --side) {
    if (L % side != 0) continue;
    for (const auto& [height, width] : {std::pair(side, L / side), std::pair(L / side, side)})
      if (given.allclose(nn::position_table_2d(D, height, width), 0, rounding)) return true;
    if (++tried >= most) break;
  }
  return false;
}

std::string Dit::summary() const {
  std::ostringstream text;
  text << "DiT, " << sizes_.depth << " blocks, width " << sizes_.width << ", " << sizes_.heads
       << " heads, patch " << sizes_.patch << ", input " << sizes_.args.channels << "x"
       << sizes_.args.height << "x" << sizes_.args.width << ", " << tokens() << " tokens";
  if (sizes_.args.classes > 0) text << ", " << sizes_.args.classes << " classes";
  return text.str();
}

namespace {

const config::RegisterKind<Denoiser, Dit, DitSettings> registered{
    "dit", "diffusion transformer with adaLN-Zero; with a sparse mlp, Race-DiT and its rivals",
    "DiT, arXiv 2212.09748; Expert Race, arXiv 2503.16057"};

}  // namespace
}  // namespace gallop::models
