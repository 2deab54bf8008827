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

using ::testing::HasSubstr;
using testing::tensor_of;

REFERENCE_TEST(TimestepCodeCases, MatchTheReference, "dit/timestep_embed") {
  fixture.expect_constant("max_period", 10000);
  for (const std::string kind : {"int", "float"}) {
    for (const std::string& width : fixture.names_with_prefix("out." + kind + ".")) {
      fixture.expect_close(timestep_code(fixture.in("t_" + kind), std::stoll(width)),
                           "out." + kind + "." + width);
    }
  }
  // The period of the networks here is 10000 always.
  std::set<std::string> others;
  for (const std::string& name : fixture.names_with_prefix("out.period"))
    others.insert("out.period" + name);
  fixture.expect_all_checked(others);
}

REFERENCE_TEST(PositionTableCases, MatchTheReference, "dit/pos_embed_2d") {
  fixture.expect_constant("max_period", 10000);
  for (const std::string& name : fixture.names_with_prefix("out.pos.")) {
    const size_t dot = name.find('.');
    const int64_t width = std::stoll(name.substr(0, dot)), side = std::stoll(name.substr(dot + 1));
    fixture.expect_close(position_table_2d(width, side, side).squeeze(0), "out.pos." + name);
  }
  // No network here has a class token before the patches.
  std::set<std::string> others;
  for (const std::string& name : fixture.names_with_prefix("out.pos_cls."))
    others.insert("out.pos_cls." + name);
  fixture.expect_all_checked(others);
}

TEST(PositionTable, ColumnsFirstThenRows) {
  const at::Tensor table = position_table_2d(8, 2, 3);
  EXPECT_EQ(table.sizes(), at::IntArrayRef({1, 6, 8}));
  // Tokens 1 and 4 share column 1, tokens 3 and 4 share row 1.
  EXPECT_TRUE(table[0][1].narrow(0, 0, 4).equal(table[0][4].narrow(0, 0, 4)));
  EXPECT_TRUE(table[0][3].narrow(0, 4, 4).equal(table[0][4].narrow(0, 4, 4)));
  EXPECT_THROW(position_table_2d(6, 2, 2), Error);
}

REFERENCE_TEST(LabelEmbedderCases, MatchTheReference, "dit/label_embed") {
  const Json& config = fixture.config();
  const int64_t classes = config.at("num_classes").as_int();
  Module root;
  const LabelEmbedder embedder(root, "", classes,
                               /*null_label=*/config.at("dropout_prob").as_double() > 0,
                               config.at("hidden_size").as_int());
  testing::load(root, fixture.with_prefix("weight."));
  fixture.expect_close(embedder.forward(fixture.in("y")), "out.embed");
  // The task hides labels; a hidden one is the row after the classes.
  const at::Tensor hidden =
      fixture.in("y").masked_fill(fixture.in("force_drop_ids").eq(1), classes);
  fixture.expect_close(hidden, "out.labels_after_drop");
  fixture.expect_close(embedder.forward(hidden), "out.embed_dropped");
  fixture.expect_all_checked();
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
