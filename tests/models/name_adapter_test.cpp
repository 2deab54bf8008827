#include "gallop/models/name_adapter.h"

#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/errors.h"

namespace gallop::models {
namespace {

using ::testing::HasSubstr;

std::string ours(const std::string& official) {
  std::optional<OurName> found;
  for (const char* kind : {"dit-moe", "diffmoe"}) {
    if (!found) found = name_adapter(kind)->our_name(official);
  }
  if (!found) return "the same";
  return found->name + (found->expert ? " " + std::to_string(*found->expert) : "");
}

TEST(OfficialNames, AreTranslatedInFull) {
  EXPECT_EQ(ours("blocks.3.moe.gate.weight"), "blocks.3.moe.router.gate.weight");
  EXPECT_EQ(ours("blocks.3.moe.experts.12.up_proj.weight"), "blocks.3.moe.experts.up.weight 12");
  EXPECT_EQ(ours("moe.shared_experts.down_proj.weight"), "moe.shared.down.weight 0");
  EXPECT_EQ(ours("blocks.1.mlp.gate_weight"), "blocks.1.moe.router.gate.weight");
  EXPECT_EQ(ours("blocks.1.mlp.experts.0.fc2.bias"), "blocks.1.moe.experts.fc2.bias 0");
  EXPECT_EQ(ours("blocks.1.mlp.capacity_predictor.2.bias"), "blocks.1.moe.router.capacity.2.bias");
  EXPECT_EQ(ours("blocks.1.mlp.expert_threshold"), "blocks.1.moe.router.threshold");
  EXPECT_EQ(ours("blocks.1.mlp.ema_decay"), "");
  for (const char* same :
       {"blocks.0.mlp.fc1.weight", "blocks.0.moe.router.gate.weight", "moe.experts.gate.weight",
        "moe.experts.x.up_proj.weight", "moe.experts..up_proj.weight", "another_moe.gate.weight",
        "moe.experts.99999999999999999999.up_proj.weight", ""}) {
    EXPECT_EQ(ours(same), "the same") << same;
  }
}

std::map<std::string, at::Tensor> experts(const std::vector<int64_t>& numbers) {
  std::map<std::string, at::Tensor> tensors;
  for (const int64_t e : numbers) {
    tensors["moe.experts." + std::to_string(e) + ".up_proj.weight"] =
        at::full({2, 3}, static_cast<double>(e));
  }
  return tensors;
}

// The order is that of the numbers, not of the texts.
TEST(OfficialNames, ExpertsAreStackedInOrder) {
  auto given = experts({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  given["pos_embed"] = at::full({1}, 5.0);
  const auto got = with_our_names(*name_adapter("dit-moe"), given);
  ASSERT_EQ(got.size(), 2u);
  const at::Tensor& stacked = got.at("moe.experts.up.weight");
  ASSERT_EQ(stacked.sizes(), at::IntArrayRef({11, 2, 3}));
  for (int64_t e = 0; e < 11; ++e) {
    EXPECT_TRUE(stacked[e].eq(static_cast<double>(e)).all().item<bool>()) << e;
  }
  EXPECT_EQ(got.at("pos_embed").item<float>(), 5);
}

// What is no tensor here, since the recipe says it.
TEST(OfficialNames, ConstantsAreLeftOut) {
  const auto adapter = name_adapter("diffmoe");
  const std::map<std::string, at::Tensor> given = {{"blocks.1.mlp.ema_decay", at::full({1}, 0.95)},
                                                   {"pos_embed", at::full({1}, 5.0)}};
  EXPECT_TRUE(has_names_of(*adapter, given));
  EXPECT_FALSE(has_names_of(*name_adapter("dit-moe"), given));
  const auto got = with_our_names(*adapter, given);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got.begin()->first, "pos_embed");
}

TEST(OfficialNames, AnUnknownReleaseIsRefusedWithTheNearest) {
  EXPECT_THAT(testing::message_of([] { name_adapter("dit-mo"); }), HasSubstr("dit-moe"));
}

TEST(OfficialNames, IncompleteOnesAreRefused) {
  const auto error = [](const std::map<std::string, at::Tensor>& tensors) {
    return testing::message_of([&] { with_our_names(*name_adapter("dit-moe"), tensors); });
  };
  EXPECT_THAT(error(experts({0, 2})), HasSubstr("2 experts, and the last one is number 2"));
  auto uneven = experts({0, 1});
  uneven["moe.experts.1.up_proj.weight"] = at::full({3, 3}, 0.0);
  EXPECT_THAT(error(uneven), HasSubstr("expert 1 has the shape [3, 3], and expert 0 [2, 3]"));
  auto twice = experts({0});
  twice["moe.experts.up.weight"] = at::full({1, 2, 3}, 0.0);
  EXPECT_THAT(error(twice), HasSubstr("moe.experts.up.weight is in the weights twice"));
  auto padded = experts({0, 1});
  padded["moe.experts.01.up_proj.weight"] = at::full({2, 3}, 0.0);
  EXPECT_THAT(error(padded), HasSubstr("expert 1 is in the weights twice"));
}

}  // namespace
}  // namespace gallop::models
