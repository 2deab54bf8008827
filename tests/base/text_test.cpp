#include "gallop/base/text.h"

#include <gtest/gtest.h>

namespace gallop {
namespace {

TEST(Nearest, FindsTheMistypedWord) {
  const std::vector<std::string> keys{"width", "depth", "hidden", "experts"};
  EXPECT_EQ(nearest("depht", keys), "depth");
  EXPECT_EQ(nearest("Depth", keys), "depth");
  EXPECT_EQ(nearest("expert", keys), "experts");
  EXPECT_EQ(nearest("hiden", keys), "hidden");
}

TEST(Nearest, IsEmptyWhenNothingIsNear) {
  EXPECT_EQ(nearest("momentum", {"width", "depth"}), "");
  EXPECT_EQ(nearest("x", {"y"}), "");
  EXPECT_EQ(nearest("", {"width"}), "");
  EXPECT_EQ(nearest("depth", {}), "");
  EXPECT_EQ(nearest(std::string(1 << 20, 'a'), {"depth"}), "");
}

TEST(Nearest, TakesTheClosestAndOfEqualsTheFirst) {
  EXPECT_EQ(nearest("gates", {"rates", "gate", "gaps"}), "rates");
  EXPECT_EQ(nearest("selection", {"selections", "selection"}), "selection");
}

TEST(Nearest, TakesWhatBeginsWithTheWholeWord) {
  EXPECT_EQ(nearest("keep", {"every", "keep_last", "keep_every"}), "keep_last");
  EXPECT_EQ(nearest("kee", {"keep_last"}), "");
  EXPECT_EQ(nearest("keep", {"keeping"}), "");
}

TEST(InQuotes, EscapesAndCuts) {
  EXPECT_EQ(in_quotes("blocks.0"), "\"blocks.0\"");
  EXPECT_EQ(in_quotes("a\"\n\x01"), "\"a\\\"\\n\\u0001\"");
  EXPECT_EQ(in_quotes(std::string(80, 'x')), "\"" + std::string(80, 'x') + "\"");
  EXPECT_EQ(in_quotes(std::string(81, 'x')), "\"" + std::string(80, 'x') + "\"...");
}

}  // namespace
}  // namespace gallop
