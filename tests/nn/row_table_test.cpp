#include "gallop/nn/row_table.h"

#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/errors.h"
#include "tests/support/tensors.h"

namespace gallop::nn {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::message_of;
using testing::random_normal;

struct Root : Module {
  RowTable table{*this, "words", 7, 5, {.lookups = 2, .per_sample = true}};
};

at::Tensor index(const std::vector<int64_t>& rows, at::IntArrayRef shape) {
  return at::tensor(rows, at::kLong).view(shape);
}

TEST(RowTable, SaysWhatItIs) {
  const Root root;
  const Parameter& weight = root.table.weight();
  EXPECT_EQ(weight.name(), "words.weight");
  EXPECT_EQ(weight.role(), Role::table);
  EXPECT_FALSE(weight.is_matrix());
  EXPECT_TRUE(weight.has_row_gradient());
  EXPECT_FALSE(weight.attributes().decay);
  EXPECT_EQ(weight.attributes().share_used, 2.0 / 7);
  // Two rows of 5 numbers and their indices, and not a number for each row of the table.
  EXPECT_EQ(root.table.activations(100).kept, 2 * (5 + 2));
}

// Two lookups with repetitions in one graph, then another micro-batch, against a dense table.
TEST(RowTable, GradientsAreThoseOfADenseTable) {
  Root root;
  root.materialize(3, {.dtype = at::kDouble});
  const at::Tensor& table = *root.table.weight();
  const at::Tensor dense = table.detach().clone().set_requires_grad(true);
  const at::Tensor w = random_normal({2, 3, 5}, "w").to(at::kDouble);
  const std::vector<std::pair<at::Tensor, at::Tensor>> batches = {
      {index({4, 1, 4, 0, 1, 4}, {2, 3}), index({1, 6}, {2, 1})},
      {index({6, 6, 2, 2, 1, 0}, {2, 3}), index({0, 0}, {2, 1})}};
  for (const auto& [first, second] : batches) {
    const auto loss = [&](const auto& lookup) {
      return lookup(first).sin().mul(w).add(lookup(second)).square().sum();
    };
    const at::Tensor by_rows = loss([&](const at::Tensor& i) { return root.table.lookup(i); });
    const at::Tensor by_all = loss([&](const at::Tensor& i) {
      return dense.index_select(0, i.reshape({-1})).view({i.size(0), i.size(1), 5});
    });
    EXPECT_EQ(by_rows.item<double>(), by_all.item<double>());
    by_rows.backward();
    by_all.backward();
  }
  ASSERT_TRUE(table.grad().is_sparse());
  const at::Tensor found = table.grad().to_dense();
  EXPECT_TRUE(found.allclose(dense.grad(), 1e-12, 1e-14));
  EXPECT_TRUE(found[5].eq(0).all().item<bool>() && found[3].eq(0).all().item<bool>());
}

TEST(RowTable, AnEmptyBatchHasAnEmptyGradient) {
  Root root;
  root.materialize(3);
  const at::Tensor x = root.table.lookup(index({}, {2, 0}));
  EXPECT_EQ(x.sizes(), at::IntArrayRef({2, 0, 5}));
  x.sum().backward();
  const at::Tensor& gradient = (*root.table.weight()).grad();
  EXPECT_EQ(gradient._nnz(), 0);
  root.table.lookup(index({3}, {1})).sum().backward();
  EXPECT_EQ((*root.table.weight()).grad()._nnz(), 1);
}

TEST(RowTable, RefusesWhatItDoesNotHave) {
  Root root;
  root.materialize(3);
  const auto error = [&](const at::Tensor& i) { return message_of([&] { root.table.lookup(i); }); };
  EXPECT_THAT(error(index({0, 7}, {2})),
              AllOf(HasSubstr("words: row 7 is out of range"), HasSubstr("rows 0 to 6")));
  EXPECT_THAT(error(index({0, -3, 9}, {3})), HasSubstr("row -3 is out of range"));
  EXPECT_THAT(error(at::tensor({1.0F})), HasSubstr("int64, not by Float"));
  EXPECT_THAT(error(at::Tensor()), HasSubstr("not by nothing"));
  EXPECT_THAT(message_of([&] { RowTable(root, "empty", 0, 4); }), HasSubstr("empty of 0 rows"));
}

}  // namespace
}  // namespace gallop::nn
