// What a step that is not finite leaves to look at, where a gradient holds rows.
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "gallop/nn/tensor_io.h"
#include "gallop/training/non_finite.h"
#include "tests/support/rows.h"
#include "tests/support/temporary_directory.h"
#include "tests/training/tensors_module.h"

namespace gallop::training {
namespace {

TEST(NonFiniteRows, AreDumpedWithTheirNumbers) {
  testing::TensorsModule model({{"w", at::zeros({3})}, {"idle", at::zeros({3})}});
  const nn::Parameter& table =
      model.add("table", at::zeros({1000, 2}), {.gradient = nn::Gradient::rows});
  (**model.find_parameter("w")).mutable_grad() = at::full({3}, 2.0);
  (*table).mutable_grad() = testing::rows_gradient({700, 3, 700}, at::full({3, 2}, 1.0), 1000);
  const test::TemporaryDirectory folder;
  const std::map<std::string, double> values{{"loss", 1}, {"grad_norm", std::nan("")}};
  const std::vector<int64_t> samples{5, 6};
  NonFiniteStep{.step = 9, .values = values, .samples = samples, .gradient = "table", .update = {}}
      .dump(model, folder.path());
  const auto tensors = nn::load_tensors(folder / "step-00000009.safetensors");
  EXPECT_EQ(tensors.at("grad_rows.table")[0].item<int64_t>(), 3);
  EXPECT_EQ(tensors.at("grad_rows.table")[1].item<int64_t>(), 700);
  EXPECT_EQ(tensors.at("grad.table")[1][0].item<double>(), 2);
  EXPECT_EQ(tensors.at("weight.table").sizes(), at::IntArrayRef({1000, 2}));
  EXPECT_TRUE(tensors.contains("grad.w"));
  EXPECT_FALSE(tensors.contains("grad.idle"));
}

}  // namespace
}  // namespace gallop::training
