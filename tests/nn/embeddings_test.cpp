#include "gallop/nn/embeddings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/fixture.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::nn {
namespace {

using testing::Fixture;
using ::testing::HasSubstr;
using testing::tensor_of;

TEST(TimestepCode, MatchesTheReference) {
  const Fixture fixture("dit/timestep_embed");
  for (const std::string kind : {"int", "float"}) {
    for (const int64_t width : {256, 32, 17}) {
      fixture.expect_close(timestep_code(fixture.in("t_" + kind), width),
                           "out." + kind + "." + std::to_string(width));
    }
  }
  // The period of the networks here is 10000 always.
  fixture.expect_all_checked({"out.period100.32"});
}

TEST(PositionTable, MatchesTheReference) {
  const Fixture fixture("dit/pos_embed_2d");
  for (const auto& [width, side] : {std::pair{16, 4}, {24, 7}, {48, 3}, {64, 5}}) {
    fixture.expect_close(position_table_2d(width, side, side).squeeze(0),
                         "out.pos." + std::to_string(width) + "." + std::to_string(side));
  }
  // No network here has a class token before the patches.
  fixture.expect_all_checked({"out.pos_cls.24.7"});
}

TEST(PositionTable, ColumnsFirstThenRows) {
  const at::Tensor table = position_table_2d(8, 2, 3);
  EXPECT_EQ(table.sizes(), at::IntArrayRef({1, 6, 8}));
  // Tokens 1 and 4 share column 1, tokens 3 and 4 share row 1.
  EXPECT_TRUE(table[0][1].narrow(0, 0, 4).equal(table[0][4].narrow(0, 0, 4)));
  EXPECT_TRUE(table[0][3].narrow(0, 4, 4).equal(table[0][4].narrow(0, 4, 4)));
  EXPECT_THROW(position_table_2d(6, 2, 2), Error);
}

TEST(LabelEmbedder, MatchesTheReference) {
  const Fixture fixture("dit/label_embed");
  Module root;
  const LabelEmbedder embedder(root, "", 6, /*null_label=*/true, 8);
  testing::load(root, fixture.with_prefix("weight."));
  fixture.expect_close(embedder.forward(fixture.in("y")), "out.embed");
  // The task hides labels; here a hidden one is the row after the classes.
  fixture.expect_close(embedder.forward(fixture.out("labels_after_drop")), "out.embed_dropped");
  fixture.expect_all_checked({"out.labels_after_drop"});
}

TEST(LabelEmbedder, RefusesLabelsOutOfRange) {
  Module root;
  const LabelEmbedder with_null(root, "a", 3, true, 4), without(root, "b", 3, false, 4);
  root.materialize(0);
  const auto label = [](float value) { return tensor_of({0, value}).to(at::kLong); };
  EXPECT_EQ(with_null.forward(label(3)).sizes(), at::IntArrayRef({2, 4}));
  const std::string message = testing::message_of([&] { without.forward(label(3)); });
  EXPECT_THAT(message, HasSubstr("label 3 is out of range"));
  EXPECT_THAT(message, HasSubstr("0 to 2"));
  EXPECT_THROW(with_null.forward(label(-1)), Error);
  EXPECT_THROW(with_null.forward({}), Error);
}

}  // namespace
}  // namespace gallop::nn
