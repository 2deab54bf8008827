#include "gallop/sparse/choice/inference_threshold.h"

#include <ATen/ops/bucketize.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>

#include "gallop/base/error.h"
#include "gallop/sparse/choice/settings_of_rows.h"

namespace gallop::sparse {

at::Tensor ThresholdLevels::range_of(const at::Tensor& time_B) const {
  const at::Tensor borders = at::tensor(edges, at::TensorOptions(at::kDouble)).to(time_B.device());
  return at::bucketize(time_B.to(at::kDouble), borders, /*out_int32=*/false, /*right=*/true);
}

RowThresholds thresholds_of_rows(const std::vector<const ThresholdSetting*>& wanted,
                                 at::Device device) {
  RowThresholds thresholds;
  thresholds.setting_B = settings_of_rows(wanted, device, thresholds.settings);
  return thresholds;
}

InferenceThreshold::InferenceThreshold(nn::Module& owner, std::vector<int64_t> shape,
                                       double initial)
    : nn::Parameter(owner, "threshold", std::move(shape), nn::Init::constant(initial),
                    {.decay = false, .buffer = true}) {}

at::Tensor InferenceThreshold::by_setting(const ThresholdSetting* setting,
                                          const nn::ForwardContext& ctx) const {
  if (setting == nullptr) return (**this).unsqueeze(0);
  const auto found = setting->find(name());
  require(found != setting->end(), name(),
          ": the setting of the compute dial has no threshold of this name; it has ",
          setting->empty() ? "none" : setting->begin()->first);
  const ThresholdLevels& levels = found->second;
  require_fit(levels);
  const at::Tensor values = levels.values.to((**this).options());
  if (levels.edges.empty()) return values;
  require(ctx.timestep_B.defined(), name(),
          ": there are thresholds for ranges of noise levels, and this forward has no times");
  return values.index_select(0, levels.range_of(ctx.timestep_B));
}

at::Tensor InferenceThreshold::of_samples(const nn::ForwardContext& ctx) const {
  if (ctx.thresholds == nullptr || ctx.thresholds->settings.empty())
    return by_setting(nullptr, ctx);
  const auto& [settings, setting_B] = *ctx.thresholds;
  at::Tensor all = by_setting(settings[0], ctx);
  if (!setting_B.defined()) return all;
  std::vector<int64_t> per_row(static_cast<size_t>(all.dim()), 1);
  per_row[0] = setting_B.size(0);
  for (size_t i = 1; i < settings.size(); ++i) {
    const at::Tensor here = setting_B.eq(static_cast<int64_t>(i)).view(per_row);
    all = at::where(here, by_setting(settings[i], ctx), all);
  }
  return all;
}

void InferenceThreshold::require_fit(const ThresholdLevels& levels) const {
  std::vector<int64_t> expected{static_cast<int64_t>(levels.edges.size()) + 1};
  expected.insert(expected.end(), shape().begin(), shape().end());
  require(levels.values.sizes() == at::IntArrayRef(expected), name(), ": thresholds of shape ",
          levels.values.sizes(), " for ", expected[0], " ranges of noise levels; expected is ",
          at::IntArrayRef(expected));
}

}  // namespace gallop::sparse
