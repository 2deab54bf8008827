// What a step costs that touches some rows of a table, by the size of the table.
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <limits>

#include "gallop/base/cpu.h"
#include "gallop/config/registry.h"
#include "gallop/nn/row_table.h"
#include "gallop/training/gradients.h"
#include "gallop/training/optimizer.h"
#include "tests/support/rows.h"
#include "tests/support/weights.h"

namespace gallop::training {
namespace {

struct Root : nn::Module {
  explicit Root(int64_t rows) : table(*this, "table", rows, 32) {}
  nn::RowTable table;
};

struct Cost {
  double seconds = std::numeric_limits<double>::infinity();  // the fastest of some steps
  double bytes = 0;                                          // that all of them took and kept
};

Cost cost_of_steps(int64_t rows) {
  constexpr int64_t touched = 10000, steps = 6;
  Root model(rows), average(rows);
  model.materialize(1);
  average.materialize(1, {}, false);
  const auto parameters = trainable_parameters(model), averages = trainable_parameters(average);
  const auto optimizer = config::make<Optimizer>(
      testing::component("optimizer", "kind = \"adamw\"\nlr = 0.001"), {parameters});
  // Memory that was never written to comes with the first touch.
  for (const auto& [name, tensor] : optimizer->state()) tensor.fill_(0);
  Cost cost;
  double held = 0;
  for (int64_t step = 1; step <= steps; ++step) {
    const at::Tensor index = at::tensor(testing::some_rows(touched, rows, step), at::kLong);
    const auto began = std::chrono::steady_clock::now();
    model.table.lookup(index).square().sum().backward();
    coalesce_gradients(parameters);
    const double norm = global_norm(parameters);
    EXPECT_EQ(
        optimizer->take({.applied = step, .gradient_norm = norm, .averages = {averages, 0.9}}), "");
    clear_gradients(parameters);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    if (step == 1) {  // reads the whole table once, to know its bounds
      held = static_cast<double>(resident_memory());
      continue;
    }
    cost.seconds = std::min(cost.seconds, took.count());
  }
  cost.bytes = static_cast<double>(resident_memory()) - held;
  return cost;
}

// In proportion to the table it would be a hundred times as much; rows that lie far apart cost some
// misses of the cache. A dense gradient would be 122 MiB.
TEST(RowTableCost, DoesNotGrowWithTheTable) {
  const Cost small = cost_of_steps(10'000), large = cost_of_steps(1'000'000);
  RecordProperty("small_ms", std::to_string(1e3 * small.seconds));
  RecordProperty("large_ms", std::to_string(1e3 * large.seconds));
  EXPECT_LT(large.seconds, 20 * small.seconds) << small.seconds << " s for 10,000 rows";
  EXPECT_LT(large.bytes, 40e6);
}

}  // namespace
}  // namespace gallop::training
