#include "gallop/diffusion/ddpm_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <string_view>

#include "gallop/base/error.h"
#include "gallop/base/number.h"

namespace gallop::diffusion {
namespace {

double cosine_alpha_bar(double t) {
  const double c = std::cos((t + 0.008) / 1.008 * std::numbers::pi / 2);
  return c * c;
}

int64_t parse_count(std::string_view text, const std::string& spacing) {
  const auto count = whole_number<int64_t>(text);
  require(count && *count > 0, "step spacing '", spacing, "': '", text,
          "' is not a positive number of steps; use \"N\", \"A,B,C\" or \"ddimN\"");
  return *count;
}

std::vector<int64_t> all_indices(int64_t steps) {
  std::vector<int64_t> kept(steps);
  std::iota(kept.begin(), kept.end(), int64_t{0});
  return kept;
}

/// `count` indices of [start, start + size), both ends included. The running sum and its rounding
/// are those of the DiT code, since a product would round some strides differently.
void keep_evenly(std::vector<int64_t>& kept, int64_t start, int64_t size, int64_t count) {
  const double stride = count <= 1 ? 1 : static_cast<double>(size - 1) / (count - 1);
  double current = 0;
  for (int64_t i = 0; i < count; ++i, current += stride)
    kept.push_back(start + static_cast<int64_t>(std::nearbyint(current)));
}

std::vector<int64_t> integer_stride(int64_t steps, int64_t count) {
  for (int64_t stride = 1; stride <= steps; ++stride) {
    if ((steps + stride - 1) / stride != count) continue;
    std::vector<int64_t> kept;
    for (int64_t i = 0; i < steps; i += stride) kept.push_back(i);
    return kept;
  }
  fail("no integer stride over ", steps, " steps keeps exactly ", count,
       "; choose another number of steps or the even spacing");
}

}  // namespace

std::vector<double> betas(const std::string& schedule, int64_t steps) {
  require(steps > 0, "a diffusion process needs at least one step, not ", steps);
  std::vector<double> result(steps);
  if (schedule == "linear") {
    const double scale = 1000.0 / steps, start = scale * 1e-4, end = scale * 0.02;
    require(
        end < 1, "the linear schedule needs more than 20 steps, not ", steps,
        ": with fewer its last beta reaches 1. Use the cosine schedule, or train with more steps "
        "and sample with fewer");
    for (int64_t i = 0; i < steps; ++i)
      result[i] = steps == 1 ? start : start + (end - start) * i / (steps - 1);
  } else if (schedule == "cosine" || schedule == "squaredcos_cap_v2") {
    for (int64_t i = 0; i < steps; ++i) {
      const double from = static_cast<double>(i) / steps, to = static_cast<double>(i + 1) / steps;
      result[i] = std::min(1 - cosine_alpha_bar(to) / cosine_alpha_bar(from), 0.999);
    }
  } else {
    fail("unknown noise schedule '", schedule, "'; there are linear and cosine");
  }
  return result;
}

std::vector<int64_t> space_timesteps(int64_t steps, const std::string& spacing) {
  require(steps > 0, "a diffusion process needs at least one step, not ", steps);
  if (spacing.empty()) return all_indices(steps);
  if (spacing.starts_with("ddim"))
    return integer_stride(steps, parse_count(std::string_view(spacing).substr(4), spacing));

  std::vector<int64_t> counts;
  for (std::string_view rest = spacing;;) {
    const size_t comma = rest.find(',');
    counts.push_back(parse_count(rest.substr(0, comma), spacing));
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  const int64_t sections = static_cast<int64_t>(counts.size());
  std::vector<int64_t> kept;
  for (int64_t i = 0, start = 0; i < sections; ++i) {
    const int64_t size = steps / sections + (i < steps % sections ? 1 : 0);
    require(counts[i] <= size, "step spacing '", spacing, "' asks for ", counts[i], " of ", size,
            " steps", sections > 1 ? " in one of its sections" : "",
            ": a sampling process cannot have more steps than the one trained on");
    keep_evenly(kept, start, size, counts[i]);
    start += size;
  }
  return kept;
}

DdpmSchedule::DdpmSchedule(std::vector<double> betas_in, std::vector<int64_t> map)
    : betas(std::move(betas_in)), timestep_map(std::move(map)) {
  const size_t n = betas.size();
  require(n > 0, "a diffusion process needs at least one step");
  for (size_t i = 0; i < n; ++i)
    require(betas[i] > 0 && betas[i] < 1, "beta of step ", i, " is ", betas[i],
            ", outside (0, 1): not a diffusion process");
  for (double product = 1; double beta : betas) {
    alphas_cumprod_prev.push_back(product);
    alphas_cumprod.push_back(product *= 1 - beta);
  }
  alphas_cumprod_next.assign(alphas_cumprod.begin() + 1, alphas_cumprod.end());
  alphas_cumprod_next.push_back(0);
  for (size_t i = 0; i < n; ++i) {
    const double bar = alphas_cumprod[i], prev = alphas_cumprod_prev[i], beta = betas[i];
    sqrt_alphas_cumprod.push_back(std::sqrt(bar));
    sqrt_one_minus_alphas_cumprod.push_back(std::sqrt(1 - bar));
    log_one_minus_alphas_cumprod.push_back(std::log(1 - bar));
    sqrt_recip_alphas_cumprod.push_back(std::sqrt(1 / bar));
    sqrt_recipm1_alphas_cumprod.push_back(std::sqrt(1 / bar - 1));
    posterior_variance.push_back(beta * (1 - prev) / (1 - bar));
    posterior_mean_coef1.push_back(beta * std::sqrt(prev) / (1 - bar));
    posterior_mean_coef2.push_back((1 - prev) * std::sqrt(1 - beta) / (1 - bar));
  }
  for (size_t i = 0; i < n; ++i)
    posterior_log_variance_clipped.push_back(
        std::log(n == 1 ? betas[0] : posterior_variance[std::max<size_t>(i, 1)]));
}

DdpmSchedule::DdpmSchedule(std::vector<double> betas_in)
    : DdpmSchedule(betas_in, all_indices(static_cast<int64_t>(betas_in.size()))) {}

DdpmSchedule::DdpmSchedule(const std::string& schedule, int64_t steps)
    : DdpmSchedule(diffusion::betas(schedule, steps)) {}

DdpmSchedule DdpmSchedule::respaced(const std::vector<int64_t>& kept) const {
  std::vector<double> new_betas;
  std::vector<int64_t> map;
  double last = 1;
  for (int64_t index : kept) {
    require(index >= 0 && index < steps(), "kept step ", index, " is outside 0..", steps() - 1);
    new_betas.push_back(1 - alphas_cumprod[index] / last);
    last = alphas_cumprod[index];
    map.push_back(timestep_map[index]);
  }
  return DdpmSchedule(std::move(new_betas), std::move(map));
}

DdpmSchedule DdpmSchedule::respaced(const std::string& spacing) const {
  return respaced(space_timesteps(steps(), spacing));
}

}  // namespace gallop::diffusion
