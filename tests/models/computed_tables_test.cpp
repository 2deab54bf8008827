#include <ATen/ops/randn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <utility>

#include "gallop/models/dit/upcycle.h"
#include "gallop/models/weights.h"
#include "gallop/nn/embeddings.h"
#include "tests/support/errors.h"
#include "tests/support/weights.h"

namespace gallop::models {
namespace {

using ::gallop::testing::message_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Tensors = std::map<std::string, at::Tensor>;

struct Sizes {
  int64_t height = 4, width = 4;
  const char* mlp = "\"dense\"";
};

std::unique_ptr<Denoiser> dit(uint64_t seed, const Sizes& sizes = {}) {
  auto model = ::gallop::testing::make<Denoiser>(
      "kind = \"dit\"\ndepth = 1\nwidth = 8\nheads = 2\npatch = 2\nmlp = " + std::string(sizes.mlp),
      {.channels = 1, .height = sizes.height, .width = sizes.width, .classes = 3});
  model->materialize(seed);
  return model;
}

Tensors tensors_of(const Denoiser& model) {
  Tensors tensors;
  for (const auto& [name, tensor] : named_tensors(model)) tensors[name] = tensor.clone();
  return tensors;
}

at::Tensor value(const Denoiser& model, const char* name) {
  return (**model.find_parameter(name)).detach();
}

TEST(ComputedTables, OfAnotherResolutionAreComputedAnew) {
  const auto trained = dit(1);
  for (const auto& [height, width] : {std::pair<int64_t, int64_t>(8, 8), {4, 6}, {2, 2}}) {
    const auto model = dit(2, {.height = height, .width = width});
    const Tensors tensors = tensors_of(*trained);
    const WeightsReport report = compare(*model, tensors);
    EXPECT_TRUE(report.exact());
    ASSERT_EQ(report.recomputed.size(), 1u);
    EXPECT_EQ(report.recomputed[0].found, (std::vector<int64_t>{1, 4, 8}));
    load_weights(*model, tensors, "w");
    EXPECT_TRUE(value(*model, "pos_embed")
                    .equal(nn::position_table_2d(8, height / 2, width / 2).to(at::kFloat)));
    EXPECT_TRUE(value(*model, "blocks.0.attn.qkv.weight")
                    .equal(value(*trained, "blocks.0.attn.qkv.weight")));
  }
  const auto model = dit(2, {.height = 8, .width = 8});
  EXPECT_THAT(compare(*model, tensors_of(*trained)).recomputed_lines(),
              ElementsAre("pos_embed is computed anew for these sizes: [1, 16, 8], the file has "
                          "[1, 4, 8]"));
}

// As many tokens in another form: the shape is the same, the table is not.
TEST(ComputedTables, OfAnotherFormAreComputedAnew) {
  const auto trained = dit(1, {.height = 4, .width = 16}),
             model = dit(2, {.height = 8, .width = 8});
  EXPECT_THAT(compare(*model, tensors_of(*trained)).recomputed_lines(),
              ElementsAre("pos_embed is computed anew for these sizes: [1, 16, 8], the file has "
                          "that of another form"));
  load_weights(*model, tensors_of(*trained), "w");
  EXPECT_TRUE(value(*model, "pos_embed").equal(nn::position_table_2d(8, 4, 4).to(at::kFloat)));
  EXPECT_FALSE(value(*trained, "pos_embed").equal(value(*model, "pos_embed")));
}

TEST(ComputedTables, RoundedOnesAreRecognised) {
  const auto model = dit(2, {.height = 8, .width = 8});
  for (const auto type : {at::kBFloat16, at::kHalf, at::kDouble}) {
    Tensors tensors = tensors_of(*dit(1, {.height = 16, .width = 16}));
    tensors["pos_embed"] = tensors["pos_embed"].to(type);
    EXPECT_EQ(compare(*model, tensors).recomputed.size(), 1u) << c10::toString(type);
  }
  // The same size: as the file has it.
  Tensors same = tensors_of(*dit(1, {.height = 8, .width = 8}));
  same["pos_embed"] = same["pos_embed"].to(at::kBFloat16);
  EXPECT_THAT(compare(*model, same).recomputed, IsEmpty());
  load_weights(*model, same, "w");
  EXPECT_TRUE(value(*model, "pos_embed").equal(same["pos_embed"].to(at::kFloat)));
}

// A learned table is weights: taken where it fits, refused where it does not.
TEST(ComputedTables, LearnedOnesAreWeights) {
  const auto model = dit(2);
  Tensors tensors = tensors_of(*dit(1));
  tensors["pos_embed"] = at::randn({1, 4, 8});
  EXPECT_THAT(compare(*model, tensors).recomputed, IsEmpty());
  load_weights(*model, tensors, "w");
  EXPECT_TRUE(value(*model, "pos_embed").equal(tensors["pos_embed"]));
  tensors["pos_embed"] = at::randn({1, 16, 8});
  EXPECT_THAT(message_of([&] { load_weights(*model, tensors, "w"); }),
              HasSubstr("misshapen:  pos_embed: expected [1, 4, 8], found [1, 16, 8]"));
}

// Frozen first values of a router are drawn, not computed from sizes: a file must have them.
TEST(ComputedTables, FrozenRandomValuesAreNone) {
  const auto model = dit(1, {.mlp = "{ kind = \"moe\", router = \"centroid\" }"});
  Tensors tensors = tensors_of(*model);
  ASSERT_EQ(tensors.erase("blocks.0.moe.router.centroids"), 1u);
  EXPECT_THAT(compare(*model, tensors).missing, ElementsAre("blocks.0.moe.router.centroids"));
  tensors.erase("pos_embed");
  EXPECT_THAT(compare(*model, tensors).missing, ElementsAre("blocks.0.moe.router.centroids"));
}

TEST(ComputedTables, AnUpcycledModelHasItsOwn) {
  const auto dense = dit(1),
             sparse = dit(2, {.height = 8,
                              .width = 8,
                              .mlp = "{ kind = \"moe\", selection = \"token\", setting = "
                                     "\"3-in-3\", split = 1, gate = \"softmax\" }"});
  upcycle(*sparse, tensors_of(*dense), 0.1);
  EXPECT_TRUE(value(*sparse, "pos_embed").equal(nn::position_table_2d(8, 4, 4).to(at::kFloat)));
}

TEST(ClassTables, OfAnotherNumberOfRowsSayWhatIsLikely) {
  const auto model = dit(1);
  Tensors tensors = tensors_of(*model);
  at::Tensor& table = tensors["y_embedder.embedding_table.weight"];
  table = table.narrow(0, 0, 3);
  EXPECT_THAT(message_of([&] { load_weights(*model, tensors, "w"); }),
              HasSubstr("expected [4, 8], found [3, 8] (a row for each class and none for \"no "
                        "class\": model.label_dropout = 0)"));
}

}  // namespace
}  // namespace gallop::models
