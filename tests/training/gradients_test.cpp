#include "gallop/training/gradients.h"

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/rows.h"
#include "tests/training/tensors_module.h"

namespace gallop::training {
namespace {

using ::testing::HasSubstr;
using testing::message_of;
using testing::rows_gradient;
using testing::TensorsModule;

REFERENCE_TEST(GradientCases, AreClippedAsByThePublishedFunction, "diffusion/clip_grad_norm") {
  const std::vector<std::string> names = fixture.names_with_prefix("in.param.");
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const std::string& name : names) tensors.emplace_back(name, fixture.in("param." + name));
  TensorsModule model(tensors);
  const auto parameters = model.parameters();
  const int64_t steps = fixture.in("grad." + names.at(0)).size(0);
  for (const auto& [run, clip] : fixture.config().at("max_norm").as_object()) {
    const at::Tensor norms = at::zeros({steps});
    std::vector<at::Tensor> clipped;
    for (const std::string& name : names) clipped.push_back(fixture.in("grad." + name).clone());
    for (int64_t step = 0; step < steps; ++step) {
      for (size_t i = 0; i < names.size(); ++i) {
        (**parameters[i]).mutable_grad() = clipped[i].select(0, step).clone();
      }
      const double norm = global_norm(parameters);
      norms[step].fill_(norm);
      for (size_t i = 0; i < names.size(); ++i)
        clipped[i].select(0, step).mul_(clip_factor(norm, clip.as_double()));
    }
    fixture.expect_close(norms, "out." + run + ".norm");
    for (size_t i = 0; i < names.size(); ++i) {
      fixture.expect_close(clipped[i], "out." + run + ".grad." + names[i]);
    }
  }
  fixture.expect_all_checked();
}

TEST(Gradients, NoClippingAtZero) {
  EXPECT_EQ(clip_factor(1e9, 0), 1);
  EXPECT_EQ(clip_factor(0.5, 1), 1);
  EXPECT_NEAR(clip_factor(4, 1), 0.25, 1e-6);
}

// 3 million elements of 0.1: sums in float32 would be off in the fifth digit, and these by n/8 half
// units at most.
TEST(Gradients, TheNormIsSummedInDouble) {
  TensorsModule model({{"table", at::zeros({3'000'001})}, {"idle", at::zeros({2})}});
  (**model.find_parameter("table")).mutable_grad() = at::full({3'000'001}, 0.1);
  EXPECT_NEAR(global_norm(model.parameters()) / (double{0.1F} * std::sqrt(3'000'001.0)), 1, 1e-10);
}

TEST(Gradients, OtherTypesAndLayoutsCountToo) {
  TensorsModule model({{"double", at::zeros({2}, at::kDouble)},
                       {"half", at::zeros({2}, at::kBFloat16)},
                       {"strided", at::zeros({4, 4})}});
  (**model.find_parameter("double")).mutable_grad() = at::full({2}, 2.0, at::kDouble);
  (**model.find_parameter("half")).mutable_grad() = at::full({2}, 1.0, at::kBFloat16);
  (**model.find_parameter("strided")).mutable_grad() = at::full({4, 8}, 1.0).slice(1, 0, 8, 2);
  EXPECT_NEAR(global_norm(model.parameters()), std::sqrt(2 * 4 + 2 * 1 + 16 * 1), 1e-12);
}

TEST(Gradients, NonFiniteOnesAreSeenAndNamed) {
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
        -std::numeric_limits<double>::infinity()}) {
    for (int64_t at = 0; at < 11; ++at) {
      TensorsModule model({{"good", at::zeros({11})}, {"bad", at::zeros({11})}});
      for (auto* p : model.parameters()) (**p).mutable_grad() = at::full({11}, 0.5);
      EXPECT_EQ(first_non_finite_gradient(model.parameters()), "");
      EXPECT_TRUE(std::isfinite(global_norm(model.parameters())));
      (**model.find_parameter("bad")).mutable_grad()[at].fill_(bad);
      EXPECT_EQ(first_non_finite_gradient(model.parameters()), "bad");
      EXPECT_FALSE(std::isfinite(global_norm(model.parameters()))) << bad << " at " << at;
    }
  }
}

TEST(Gradients, AreClearedForTheNextStep) {
  TensorsModule model({{"w", at::zeros({2})}});
  (**model.find_parameter("w")).mutable_grad() = at::full({2}, 1.0);
  clear_gradients(model.parameters());
  EXPECT_FALSE((**model.find_parameter("w")).grad().defined());
  EXPECT_EQ(global_norm(model.parameters()), 0);
}

// A matrix with a dense gradient, and a table of which lookups touched rows 2 (twice) and 0.
struct Mixed {
  Mixed() {
    model.add("w", at::zeros({3}));
    model.add("table", at::zeros({4, 2}), {.gradient = nn::Gradient::rows});
    (*w()).mutable_grad() = at::full({3}, 2.0);
    (*table()).mutable_grad() = rows_gradient({2, 0, 2}, at::full({3, 2}, 1.0), 4);
  }
  nn::Parameter& w() { return *model.find_parameter("w"); }
  nn::Parameter& table() { return *model.find_parameter("table"); }
  TensorsModule model{{}};
};

// Rows that were looked up several times count with their sum, whether coalesced before or not.
TEST(Gradients, NormOfBothForms) {
  Mixed mixed;
  const double expected = std::sqrt(3 * 4 + 2 * 4 + 2 * 1);
  EXPECT_NEAR(global_norm(mixed.model.parameters()), expected, 1e-12);
  coalesce_gradients(mixed.model.parameters());
  EXPECT_TRUE((*mixed.table()).grad().is_coalesced());
  EXPECT_NEAR(global_norm(mixed.model.parameters()), expected, 1e-12);
  const auto [rows, values] = row_gradient(mixed.table());
  EXPECT_EQ(rows[0].item<int64_t>(), 0);
  EXPECT_EQ(rows[1].item<int64_t>(), 2);
  EXPECT_TRUE(values[1].eq(2).all().item<bool>());
  EXPECT_TRUE(dense_gradient(mixed.w()).is_same((*mixed.w()).grad()));
  clear_gradients(mixed.model.parameters());
  EXPECT_EQ(global_norm(mixed.model.parameters()), 0);
  EXPECT_FALSE(row_gradient(mixed.table()).rows_U.defined());
}

TEST(Gradients, NonFiniteRowsAreSeenAndNamed) {
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(), 3e38}) {
    Mixed mixed;
    EXPECT_EQ(first_non_finite_gradient(mixed.model.parameters()), "");
    at::Tensor values = at::full({3, 2}, 1.0);
    values[0].fill_(bad);
    values[2].fill_(bad);  // 3e38 is finite, but not twice
    (*mixed.table()).mutable_grad() = rows_gradient({2, 0, 2}, values, 4);
    coalesce_gradients(mixed.model.parameters());
    EXPECT_EQ(first_non_finite_gradient(mixed.model.parameters()), "table");
    EXPECT_FALSE(std::isfinite(global_norm(mixed.model.parameters())));
  }
}

TEST(Gradients, HaveTheFormThatTheirParameterSays) {
  Mixed mixed;
  (*mixed.table()).mutable_grad() = at::full({4, 2}, 1.0);
  EXPECT_THAT(message_of([&] { coalesce_gradients(mixed.model.parameters()); }),
              HasSubstr("the gradient of table is dense"));
  EXPECT_THAT(message_of([&] { row_gradient(mixed.w()); }), HasSubstr("w has a dense gradient"));
  // A lookup in a parameter that is dense for other reasons.
  (*mixed.table()).mutable_grad().reset();
  (*mixed.w()).mutable_grad() = rows_gradient({1}, at::full({1}, 5.0), 3);
  coalesce_gradients(mixed.model.parameters());
  EXPECT_FALSE((*mixed.w()).grad().is_sparse());
  EXPECT_EQ((*mixed.w()).grad()[1].item<double>(), 5);
}

}  // namespace
}  // namespace gallop::training
