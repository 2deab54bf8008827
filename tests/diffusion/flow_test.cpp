#include "gallop/diffusion/flow.h"

#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "tests/diffusion/flow_case.h"
#include "tests/support/errors.h"

namespace gallop::diffusion {
namespace {

using ::testing::HasSubstr;
using testing::message_of;

REFERENCE_TEST(FlowPathCases, CoefficientsAndConversionsAreThoseOfTheReference,
               "diffusion/flow_path") {
  const FlowPath path = parse_flow_path(testing::path_of(fixture));
  if (path == FlowPath::vp) {
    fixture.expect_constant("vp_sigma_min", 0.1);
    fixture.expect_constant("vp_sigma_max", 20.0);
  }
  const at::Tensor t = fixture.in("t"), x = fixture.in("x"), velocity = fixture.in("velocity");
  const auto at_times = [&](const std::function<double(double)>& f) {
    std::vector<double> values;
    for (int64_t i = 0; i < t.size(0); ++i) values.push_back(f(t[i].item<double>()));
    return at::tensor(values, at::kDouble);
  };
  const auto coefficient = [&](double PathPoint::* member) {
    return at_times([&](double time) { return path_point(path, time).*member; });
  };
  fixture.expect_close(coefficient(&PathPoint::alpha), "out.alpha");
  fixture.expect_close(coefficient(&PathPoint::sigma), "out.sigma");
  fixture.expect_close(coefficient(&PathPoint::d_alpha), "out.d_alpha");
  fixture.expect_close(coefficient(&PathPoint::d_sigma), "out.d_sigma");
  fixture.expect_close(coefficient(&PathPoint::drift_variance), "out.drift_var");
  const at::Tensor ratio = coefficient(&PathPoint::alpha_ratio).to(at::kFloat).view({-1, 1, 1, 1});
  fixture.expect_close(ratio.mul(x).neg(), "out.drift_mean");

  const double norm = fixture.config().at("diffusion_norm").as_double();
  for (const std::string& form : fixture.names_with_prefix("out.diffusion."))
    fixture.expect_close(at_times([&](double time) {
                           return diffusion_coefficient(path, testing::diffusion_form(form), norm,
                                                        time);
                         }),
                         "out.diffusion." + form);

  const Flow flow(path, FlowPrediction::velocity);
  const at::Tensor noise = fixture.in("x0"), data = fixture.in("x1");
  fixture.expect_close(flow.interpolate(data, noise, t), "out.x_t");
  fixture.expect_close(flow.target(data, noise, t), "out.u_t");
  fixture.expect_close(flow.score_from_velocity(velocity, x, t), "out.score_from_velocity");
  fixture.expect_close(flow.noise_from_velocity(velocity, x, t), "out.noise_from_velocity");
  fixture.expect_close(flow.velocity_from_score(velocity, x, t), "out.velocity_from_score");
  fixture.expect_all_checked();
}

REFERENCE_TEST(FlowLossCases, AndTheirGradientsAreThoseOfTheReference, "diffusion/flow_loss") {
  for (const std::string& loss : fixture.names_with_prefix("out.")) {
    if (!loss.ends_with(".loss")) continue;
    const std::string name = loss.substr(0, loss.rfind('.'));  // <prediction>_<weight>
    const size_t bar = name.find('_');
    const Flow flow(parse_flow_path(testing::path_of(fixture)),
                    parse_flow_prediction(name.substr(0, bar)));
    const at::Tensor output = fixture.in("model_output").clone().requires_grad_(true);
    const at::Tensor loss_B = flow.loss(output, fixture.in("x1"), fixture.in("x0"), fixture.in("t"),
                                        parse_flow_weight(name.substr(bar + 1)));
    fixture.expect_close(loss_B, "out." + loss);
    fixture.expect_close(loss_B.mean(), "out." + name + ".loss_mean");
    loss_B.mean().backward();
    fixture.expect_close(output.grad(), "grad." + name + ".model_output");
  }
  fixture.expect_all_checked();
}

REFERENCE_TEST(FlowIntervalCases, AreThoseOfTheReference, "diffusion/flow_intervals") {
  const double last_step = fixture.config().at("last_step_size").as_double();
  const Json::Array& columns = fixture.config().at("columns").as_array();
  std::vector<double> rows;
  for (const Json& row : fixture.config().at("rows").as_array()) {
    const std::string& name = row.as_string();
    const size_t slash = name.find('/');
    const FlowPath path = parse_flow_path(name.substr(0, slash));
    const FlowPrediction prediction = parse_flow_prediction(name.substr(slash + 1));
    // Columns: "train t0", "ode t1" and such; those of sde with w = sigma and with w = drift
    // variance do not differ.
    for (const Json& column : columns) {
      const std::string& text = column.as_string();
      const TimeInterval interval = text.starts_with("train") ? training_interval(path, prediction)
                                    : text.starts_with("ode")
                                        ? ode_interval(path, prediction)
                                        : sde_interval(path, prediction, last_step);
      EXPECT_TRUE(text.starts_with("train") || text.starts_with("ode") || text.starts_with("sde"))
          << text;
      rows.push_back(text.ends_with("t0") ? interval.first : interval.last);
    }
  }
  fixture.expect_close(
      at::tensor(rows, at::kDouble).view({-1, static_cast<int64_t>(columns.size())}),
      "out.intervals");
  fixture.expect_all_checked();
}

// d alpha and d sigma against central differences of alpha and sigma: O(h^2).
TEST(FlowPaths, DerivativesAreThoseOfTheCoefficients) {
  constexpr double h = 1e-5;
  for (const char* name : {"linear", "gvp", "vp"}) {
    const FlowPath path = parse_flow_path(name);
    for (const double t : {0.1, 0.35, 0.6, 0.9}) {
      const PathPoint low = path_point(path, t - h), high = path_point(path, t + h);
      const PathPoint p = path_point(path, t);
      EXPECT_NEAR(p.d_alpha, (high.alpha - low.alpha) / (2 * h), 1e-6) << name << " " << t;
      EXPECT_NEAR(p.d_sigma, (high.sigma - low.sigma) / (2 * h), 1e-6) << name << " " << t;
    }
  }
}

TEST(NormalQuantile, InvertsTheDistributionFunction) {
  EXPECT_NEAR(normal_quantile(0.5), 0, 1e-15);
  // Abramowitz & Stegun, table 26.1.
  EXPECT_NEAR(normal_quantile(0.975), 1.959963984540054, 1e-13);
  EXPECT_NEAR(normal_quantile(0.0013498980316300946), -3, 1e-12);
  for (const double u : {1e-12, 1e-3, 0.3, 0.7, 0.999})
    EXPECT_NEAR(0.5 * std::erfc(-normal_quantile(u) / std::sqrt(2.0)), u, 1e-14 + 1e-12 * u) << u;
  EXPECT_TRUE(std::isfinite(normal_quantile(0)));
  EXPECT_TRUE(std::isfinite(normal_quantile(1)));
}

TEST(Flow, SaysWhatIsWrong) {
  EXPECT_THAT(message_of([] { parse_flow_path("cubic"); }), HasSubstr("linear, gvp and vp"));
  EXPECT_THAT(message_of([] { parse_flow_prediction("x0"); }), HasSubstr("velocity, noise"));
  EXPECT_THAT(message_of([] { parse_flow_weight("snr"); }), HasSubstr("likelihood"));
  EXPECT_THAT(message_of([] { path_point(FlowPath::linear, 1.5); }), HasSubstr("1.5"));
  EXPECT_THAT(message_of([] { diffusion_coefficient(FlowPath::linear, "brown", 1, 0.5); }),
              HasSubstr("'brown'"));
  EXPECT_THAT(message_of([] { diffusion_coefficient(FlowPath::linear, "sbdm", 1, 0); }),
              HasSubstr("infinite at t = 0"));
}

}  // namespace
}  // namespace gallop::diffusion
