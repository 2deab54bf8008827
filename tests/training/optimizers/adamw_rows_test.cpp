// AdamW on tables whose gradient holds rows: the rule written out, and what must not depend on how
// a run went.
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "gallop/config/parse.h"
#include "gallop/config/registry.h"
#include "gallop/models/weights.h"
#include "gallop/ops/kernel.h"
#include "gallop/runs/background_save.h"
#include "gallop/training/gradients.h"
#include "gallop/training/optimizer.h"
#include "tests/support/errors.h"
#include "tests/support/rows.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tensors.h"
#include "tests/support/threads.h"
#include "tests/training/tensors_module.h"

namespace gallop::training {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::message_of;
using testing::random_normal;
using testing::rows_gradient;
using testing::some_rows;
using testing::TensorsModule;

struct Choice : config::Fields<Choice> {
  config::Component optimizer{"optimizer", "adamw"};
  void fields(config::Visitor& v) override { v.component("optimizer", optimizer, "optimizer"); }
};

constexpr double lr = 0.02, beta1 = 0.8, beta2 = 0.9, eps = 1e-6, decay = 0.3;

// A matrix, a table that decays and one that does not, with their averages.
struct Trained {
  explicit Trained(int64_t rows, nn::Gradient gradient = nn::Gradient::rows) {
    for (TensorsModule* module : {&model, &average}) {
      module->add("w", random_normal({40, 3}, "w"));
      module->add("table", random_normal({rows, 4}, "table"), {.gradient = gradient});
      module->add("slow", random_normal({rows, 4}, "slow"),
                  {.decay = false, .lr_scale = 0.5, .gradient = gradient});
    }
    Choice choice;
    config::load_text(choice,
                      "optimizer = { kind = \"adamw\", lr = 0.02, beta1 = 0.8, beta2 = 0.9, eps = "
                      "1e-6, decay = 0.3 }",
                      "test");
    optimizer = config::make<Optimizer>(choice.optimizer, {trainable_parameters(model)});
  }

  void look_up(const std::vector<int64_t>& touched, int64_t step) {
    const std::string n = std::to_string(step);
    const auto count = static_cast<int64_t>(touched.size());
    (**model.find_parameter("w")).mutable_grad() = random_normal({40, 3}, "gw" + n);
    for (const char* name : {"table", "slow"}) {
      const nn::Parameter& table = *model.find_parameter(name);
      (*table).mutable_grad() =
          rows_gradient(touched, random_normal({count, 4}, name + n), table.shape()[0]);
    }
  }
  std::string take(int64_t step, double factor = 1) {
    const auto parameters = trainable_parameters(model);
    coalesce_gradients(parameters);
    const std::string refused = optimizer->take({.applied = step,
                                                 .factor = factor,
                                                 .gradient_scale = 0.5,
                                                 .gradient_norm = global_norm(parameters),
                                                 .averages = {averages(), decay_at(step)}});
    clear_gradients(parameters);
    return refused;
  }
  std::vector<nn::Parameter*> averages() { return trainable_parameters(average); }
  void settle() { optimizer->settle(averages()); }
  // Warm-up: no two steps have the same.
  static double decay_at(int64_t step) {
    return static_cast<double>(step) / static_cast<double>(9 + step);
  }
  std::vector<at::Tensor> all() const {
    std::vector<at::Tensor> tensors;
    for (const TensorsModule* module : {&model, &average}) {
      for (const auto* p : module->parameters()) tensors.push_back((**p).detach().clone());
    }
    for (const auto& [name, tensor] : optimizer->state()) tensors.push_back(tensor.clone());
    return tensors;
  }

  TensorsModule model{{}}, average{{}};
  std::unique_ptr<Optimizer> optimizer;
};

void expect_equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(a[i].equal(b[i])) << i;
}

// Each step touches other rows, some several times, some never; step 4 touches none.
std::vector<int64_t> touched_by(int64_t step, int64_t rows) {
  if (step == 4) return {};
  return some_rows(rows / 3 + step % 3, rows - 2, step);
}

// The rule for one table, an element at a time, in double; its average by the dense formula.
struct PlainTable {
  PlainTable(const nn::Parameter& table, double scale, bool decays)
      : value((*table).detach().to(at::kDouble)),
        mean(at::zeros_like(value)),
        square(at::zeros_like(value)),
        average(value.clone()),
        rate(lr * scale),
        kept(decays ? decay : 0) {}
  void step(const at::Tensor& gradient, double factor, int64_t n) {
    const at::Tensor sums = gradient.to(at::kDouble).to_dense().mul(0.5);
    std::set<int64_t> rows;
    for (int64_t i = 0; i < gradient._nnz(); ++i) {
      rows.insert(gradient._indices()[0][i].item<int64_t>());
    }
    for (const int64_t row : rows) {
      for (int64_t d = 0; d < value.size(1); ++d) {
        const auto at = [&](const at::Tensor& x) -> double& {
          return x.mutable_data_ptr<double>()[row * value.size(1) + d];
        };
        const double g = at(sums);
        at(mean) = beta1 * at(mean) + (1 - beta1) * g;
        at(square) = beta2 * at(square) + (1 - beta2) * g * g;
        const double m = at(mean) / (1 - std::pow(beta1, n)),
                     v = at(square) / (1 - std::pow(beta2, n));
        at(value) -= factor * rate * (kept * at(value) + m / (std::sqrt(v) + eps));
      }
    }
    const double d = Trained::decay_at(n);
    average = average.mul(d).add(value.mul(1 - d));
  }
  at::Tensor value, mean, square, average;
  double rate, kept;
};

class AdamWOfRows : public ::testing::TestWithParam<bool> {
 protected:
  AdamWOfRows() {
    if (GetParam()) reference_.emplace();
  }
  std::optional<ops::ReferenceGuard> reference_;
};

TEST_P(AdamWOfRows, FollowsThePlainRule) {
  constexpr int64_t rows = 12;
  Trained trained(rows);
  const auto find = [&](TensorsModule& m, const char* name) -> nn::Parameter& {
    return *m.find_parameter(name);
  };
  std::map<std::string, PlainTable> plain;
  plain.emplace("table", PlainTable(find(trained.model, "table"), 1, true));
  plain.emplace("slow", PlainTable(find(trained.model, "slow"), 0.5, false));
  for (int64_t step = 1; step <= 20; ++step) {
    const double factor = step % 2 == 0 ? 1 : 0.5;
    trained.look_up(touched_by(step, rows), step);
    for (auto& [name, table] : plain) {
      table.step((*find(trained.model, name.c_str())).grad(), factor, step);
    }
    ASSERT_EQ(trained.take(step, factor), "");
    trained.settle();
    for (const auto& [name, table] : plain) {
      const auto close = [&](const at::Tensor& got, const at::Tensor& want) {
        return got.detach().to(at::kDouble).allclose(want, 1e-5, 2e-6);
      };
      EXPECT_TRUE(close(*find(trained.model, name.c_str()), table.value)) << name << " at " << step;
      EXPECT_TRUE(close(*find(trained.average, name.c_str()), table.average))
          << "average of " << name << " at " << step;
    }
  }
}

// Where every step touches every row, a table is a matrix that takes dense steps.
TEST_P(AdamWOfRows, IsDenseAdamWWhereEveryRowIsTouched) {
  constexpr int64_t rows = 30;
  Trained table(rows), dense(rows, nn::Gradient::dense);
  std::vector<int64_t> all;
  for (int64_t row = 0; row < 2 * rows; ++row) all.push_back(row * 7 % rows);
  for (int64_t step = 1; step <= 15; ++step) {
    for (Trained* trained : {&table, &dense}) {
      trained->look_up(all, step);
      ASSERT_EQ(trained->take(step), "");
    }
  }
  table.settle();
  dense.settle();
  for (const auto& [module, other] :
       {std::pair{&table.model, &dense.model}, std::pair{&table.average, &dense.average}}) {
    for (const nn::Parameter* p : module->parameters()) {
      EXPECT_TRUE((**p).allclose(**other->find_parameter(p->name()), 1e-5, 1e-6)) << p->name();
    }
    EXPECT_TRUE((**module->find_parameter("w")).equal(**other->find_parameter("w")))
        << "a table beside it changes no bit";
  }
}

TEST_P(AdamWOfRows, RefusedStepsChangeNothing) {
  const double huge = std::numeric_limits<float>::max();
  Trained trained(12);
  for (int64_t step = 1; step <= 6; ++step) {
    const auto before = trained.all();
    // A rate that overflows, then a gradient of one row alone: the matrix would be fine.
    trained.look_up({1, 5, 1}, step);
    EXPECT_NE(trained.take(step, 1e42), "");
    expect_equal(trained.all(), before);
    trained.look_up({1, 5, 1}, step);
    (**trained.model.find_parameter("slow")).mutable_grad() =
        rows_gradient({3}, at::full({1, 4}, huge / 4), 12);
    EXPECT_EQ(trained.take(step), "slow");
    expect_equal(trained.all(), before);
    trained.look_up(touched_by(step, 12), step);
    EXPECT_EQ(trained.take(step), "");
    // The norm is not known: the step is tried on its rows.
    const auto after = trained.all();
    trained.look_up({2}, step);
    (**trained.model.find_parameter("table")).mutable_grad() =
        rows_gradient({3}, at::full({1, 4}, huge / 4), 12);
    EXPECT_EQ(trained.optimizer->take({.applied = step}), "table");
    expect_equal(trained.all(), after);
  }
}

INSTANTIATE_TEST_SUITE_P(KernelAndReference, AdamWOfRows, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "reference" : "kernel"; });

std::map<std::string, at::Tensor> by_name(const runs::NamedTensors& tensors) {
  return {tensors.begin(), tensors.end()};
}

// A save at a step where another run has none, written beside the steps that follow it, and a look
// at the average in every step: neither that run nor one that goes on from it differs in a bit.
TEST(AdamWOfRowsResumed, IsTheUninterruptedRunToTheBit) {
  constexpr int64_t rows = 50, saved = 7, last = 15;
  Trained whole(rows), interrupted(rows), resumed(rows);
  const auto advance = [&](Trained& trained, int64_t from, int64_t to) {
    for (int64_t step = from; step <= to; ++step) {
      trained.look_up(touched_by(step, rows), step);
      ASSERT_EQ(trained.take(step), "");
    }
  };
  advance(whole, 1, last);

  const test::TemporaryDirectory folder;
  runs::CheckpointStore store(folder.path(), {});
  runs::BackgroundSaver saver(store);
  for (int64_t step = 1; step <= saved; ++step) {
    advance(interrupted, step, step);
    interrupted.settle();
  }
  runs::Snapshot snapshot{.step = saved,
                          .model = models::named_tensors(interrupted.model),
                          .ema = models::named_tensors(interrupted.average),
                          .optimizer = interrupted.optimizer->state(),
                          .state = Json::object()};
  saver.start(snapshot, "", [] {});
  advance(interrupted, saved + 1, last);
  ASSERT_EQ(saver.wait()->error, "");

  const auto newest = store.newest();
  const runs::Snapshot loaded = runs::CheckpointStore::load(newest->path);
  EXPECT_EQ(runs::non_finite_values(newest->path), "");
  for (const auto& [module, tensors] :
       {std::pair{&resumed.model, &loaded.model}, std::pair{&resumed.average, &loaded.ema}}) {
    for (const auto& [name, tensor] : *tensors) {
      (**module->find_parameter(name)).detach().copy_(tensor);
    }
  }
  resumed.optimizer->load_state(by_name(loaded.optimizer));
  // What was saved is the average of that step, and settling it again finds the same.
  const auto loaded_average = resumed.all();
  resumed.settle();
  expect_equal(resumed.all(), loaded_average);
  advance(resumed, saved + 1, last);
  for (Trained* trained : {&whole, &interrupted, &resumed}) trained->settle();
  expect_equal(interrupted.all(), whole.all());
  expect_equal(resumed.all(), whole.all());
}

TEST(AdamWOfRowsResumed, AStateWithoutClocksIsRefused) {
  Trained trained(5);
  auto state = by_name(trained.optimizer->state());
  state.erase("average_clock.table");
  state.erase("average_clock");
  state["average_gap.slow"] = at::zeros({4, 4});
  EXPECT_THAT(message_of([&] { trained.optimizer->load_state(state); }),
              AllOf(HasSubstr("missing:   average_clock.table"), HasSubstr("average_clock\n"),
                    HasSubstr("average_gap.slow: expected [5, 4], found [4, 4]")));
}

TEST(AdamWOfRowsThreads, GiveTheSameBits) {
  const testing::Threads restored(1);
  std::vector<std::vector<at::Tensor>> results;
  for (const int threads : {1, 2}) {
    testing::Threads::set(threads);
    Trained trained(20000);
    for (int64_t step = 1; step <= 4; ++step) {
      trained.look_up(some_rows(30000, 15000, step), step);
      ASSERT_EQ(trained.take(step), "");
    }
    trained.settle();
    results.push_back(trained.all());
  }
  expect_equal(results[0], results[1]);
}

TEST(AdamWOfRowsErrors, AreTold) {
  Trained trained(6);
  trained.look_up({1}, 1);
  (**trained.model.find_parameter("table")).mutable_grad() = at::full({6, 4}, 1.0);
  EXPECT_THAT(message_of([&] { trained.take(1); }),
              AllOf(HasSubstr("the gradient of table is dense"), HasSubstr("a product")));
  EXPECT_THAT(message_of([&] { trained.optimizer->settle({}); }),
              HasSubstr("0 averages of 3 parameters"));
  trained.look_up({1}, 1);
  EXPECT_EQ(trained.take(1), "");
  (**trained.model.find_parameter("slow")).detach()[1].fill_(std::nan(""));
  trained.look_up({1}, 2);
  EXPECT_THAT(message_of([&] { trained.take(2); }), HasSubstr("something else wrote"));
}

}  // namespace
}  // namespace gallop::training
