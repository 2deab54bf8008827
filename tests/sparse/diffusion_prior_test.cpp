#include "gallop/sparse/losses/diffusion_prior.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/tensors.h"

namespace gallop::sparse {
namespace {

using ::gallop::testing::message_of;
using ::gallop::testing::random_normal;
using ::gallop::testing::tensor_of;
using ::testing::HasSubstr;

TEST(PriorTable, BeginsSlowlyAndEndsAtTheLastPlace) {
  const at::Tensor small = prior_table(5, 2, 3, 2);
  const auto row = [&](int64_t t) { return small[t]; };
  for (int64_t t = 0; t < 3; ++t) EXPECT_TRUE(row(t).equal(tensor_of({1, 1, 1, 1, 0, 0})));
  EXPECT_TRUE(row(3).equal(tensor_of({0, 1, 1, 1, 1, 0})));
  EXPECT_TRUE(row(4).equal(tensor_of({0, 0, 1, 1, 1, 1})));
  // 12 blocks of 3 experts, 2 of them used: 452 noise levels at the first place, 11 at the last.
  const at::Tensor full = prior_table(1000, 12, 3, 2);
  EXPECT_EQ(full.select(1, 0).sum().item<double>(), 452);
  EXPECT_EQ(full.select(1, 35).sum().item<double>(), 11);
  EXPECT_TRUE(full.sum(1).eq(24).all().item<bool>());
  EXPECT_EQ(full.all(0).sum().item<int64_t>(), 12) << "columns that are always used";
}

TEST(BestColumns, FindsAPermutationAndTheLeastSum) {
  const at::Tensor table = prior_table(50, 3, 3, 2);
  const std::vector<int64_t> order = {4, 0, 8, 2, 6, 1, 3, 7, 5};
  const at::Tensor used =
      table.index_select(1, tensor_of({4, 0, 8, 2, 6, 1, 3, 7, 5}).to(at::kLong));
  const std::vector<int64_t> found = best_columns(used, table);
  for (size_t a = 0; a < order.size(); ++a) {  // equal columns may stand for one another
    EXPECT_TRUE(table.select(1, found[a]).equal(table.select(1, order[a]))) << a;
  }
  EXPECT_THAT(message_of([&] { best_columns(used, table.narrow(0, 0, 3)); }), HasSubstr("[3, 9]"));

  // Against every one of the 120 permutations of five columns.
  const at::Tensor q = random_normal({7, 5}, "q").gt(0).to(at::kFloat);
  const at::Tensor Q = random_normal({7, 5}, "Q").gt(0).to(at::kFloat);
  const auto cost = [&](const std::vector<int64_t>& columns) {
    double sum = 0;
    for (size_t a = 0; a < columns.size(); ++a) {
      sum += (q.select(1, static_cast<int64_t>(a)) - Q.select(1, columns[a]))
                 .abs()
                 .sum()
                 .item<double>();
    }
    return sum;
  };
  std::vector<int64_t> columns = {0, 1, 2, 3, 4};
  double least = cost(columns);
  while (std::next_permutation(columns.begin(), columns.end())) {
    least = std::min(least, cost(columns));
  }
  EXPECT_EQ(cost(best_columns(q, Q)), least);
}

TEST(JensenShannon, LiesBetweenZeroAndLogTwo) {
  const at::Tensor sixth = at::full({1, 6}, 1.0 / 6);
  const at::Tensor quarter = tensor_of({1, 1, 1, 1, 0, 0}).div(4).unsqueeze(0);
  EXPECT_NEAR(jensen_shannon(sixth, quarter).item<double>(), 0.13230, 1e-5);
  EXPECT_NEAR(jensen_shannon(quarter, quarter).item<double>(), 0, 1e-7);
  const at::Tensor rest = tensor_of({0, 0, 0, 0, 1, 1}).div(2).unsqueeze(0);
  EXPECT_NEAR(jensen_shannon(rest, quarter).item<double>(), std::log(2.0), 1e-4);
}

REFERENCE_TEST(DiffusionPriorCases, MatchTheReference, "routing/kind_switch_dit") {
  const Json& config = fixture.config();
  fixture.expect_constant("epsilon", 1e-6);
  const int64_t T = config.at("timesteps").as_int(), blocks = config.at("blocks").as_int(),
                active = config.at("k").as_int();
  const at::Tensor weight = fixture.in("gate_weight").clone().set_requires_grad(true);
  const at::Tensor bias = fixture.in("gate_bias").clone().set_requires_grad(true);
  const at::Tensor code_TD = fixture.in("embedding").sigmoid().mul(fixture.in("embedding"));
  std::vector<RoutingRecord> records(blocks);
  std::vector<const RoutingRecord*> layers;
  std::vector<at::Tensor> used;
  for (int64_t i = 0; i < blocks; ++i) {
    const at::Tensor p_TM = code_TD.matmul(weight[i].t()).add(bias[i]).softmax(-1);
    records[i].extras["probabilities"] = p_TM;
    records[i].timestep_B = fixture.in("t");
    layers.push_back(&records[i]);
    fixture.expect_close(p_TM, fixture.out("probabilities").select(1, i), "out.probabilities");
    used.push_back(fixture.out("indicator").select(1, i));
  }
  const at::Tensor table = prior_table(T, blocks, config.at("M").as_int(), active);
  fixture.expect_close(table, "out.table");

  const std::vector<int64_t> columns = best_columns(at::cat(used, 1), table);
  const at::Tensor chosen =
      table.index_select(1, at::tensor(columns, at::TensorOptions(at::kLong)));
  fixture.expect_close((at::cat(used, 1) - chosen).abs().sum(), "out.assignment_cost");
  fixture.expect_close(chosen.div(blocks * active), "out.target");

  const at::Tensor loss = DiffusionPrior(1, active).joint_value(layers);
  fixture.expect_close(loss, "out.prior_loss");
  loss.backward();
  fixture.expect_close(weight.grad(), "grad.gate_weight");
  fixture.expect_close(bias.grad(), "grad.gate_bias");

  // The mask is the block's: tests/sparse/block_routings. That the assignment is one of the best
  // is what its cost says.
  fixture.expect_all_checked({"out.mask", "out.assignment", "out.indicator"});

  records[0].timestep_B = tensor_of({0.5, 1, 2});
  EXPECT_THAT(message_of([&] { DiffusionPrior(1, active).joint_value(layers); }),
              HasSubstr("whole numbers from 0 to " + std::to_string(T - 1)));
  records[0].timestep_B = tensor_of({static_cast<float>(T), 1, 2});
  EXPECT_THAT(message_of([&] { DiffusionPrior(1, active).joint_value(layers); }),
              HasSubstr("ddpm"));
}

}  // namespace
}  // namespace gallop::sparse
