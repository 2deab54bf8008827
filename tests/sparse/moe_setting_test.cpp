// `setting` and `experts`, `active` say one thing, and so do `split` and `hidden`.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/config/parse.h"
#include "gallop/config/print.h"
#include "gallop/sparse/layers/moe.h"
#include "tests/support/errors.h"

namespace gallop::sparse {
namespace {

using gallop::testing::message_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

struct Layer : config::Fields<Layer> {
  config::Component mlp{"mlp", "moe"};
  void fields(config::Visitor& v) override { v.component("mlp", mlp, "the layer"); }
  MoeSettings& moe() { return mlp.as<MoeSettings>(); }
};

Layer read(const std::string& text, const std::vector<std::string>& overrides = {}) {
  Layer layer;
  config::load_text(layer, text, "r.toml", overrides);
  return layer;
}

void expect_holds(Layer& layer, const std::string& setting, int64_t experts, double active) {
  EXPECT_EQ(layer.moe().candidates().experts, experts);
  EXPECT_EQ(layer.moe().candidates().active, active);
  const std::string printed = config::to_toml(layer);
  EXPECT_THAT(printed, HasSubstr("setting = \"" + setting + "\"\n"));
  EXPECT_THAT(printed, HasSubstr("experts = " + std::to_string(experts) + "\n"));
  Layer again = read(printed);
  EXPECT_EQ(config::to_toml(again), printed);
}

TEST(MoeSetting, ALaterExpertsTakesThePlaceOfTheSetting) {
  Layer layer = read("mlp.setting = '2-in-8'", {"mlp.experts=4"});
  expect_holds(layer, "", 4, 2);
  Layer both = read("mlp.setting = '2-in-8'", {"mlp.experts=4", "mlp.active=1"});
  expect_holds(both, "", 4, 1);
}

TEST(MoeSetting, ALaterSettingTakesThePlaceOfExperts) {
  Layer layer = read("mlp = { experts = 16, active = 4 }", {"mlp.setting=2-in-8"});
  expect_holds(layer, "2-in-8", 8, 2);
}

TEST(MoeSetting, PrintsWhatItStandsFor) {
  Layer layer = read("mlp.setting = '4-in-32'");
  expect_holds(layer, "4-in-32", 32, 4);
}

TEST(MoeSetting, BothInOneSourceMustAgree) {
  EXPECT_THAT(message_of([] { read("mlp = { setting = '2-in-8', experts = 4 }"); }),
              AllOf(HasSubstr("\"2-in-8\" says experts = 8, active = 2.0"),
                    HasSubstr("experts = 4"), HasSubstr("leave out")));
  EXPECT_THAT(message_of([] { read("", {"mlp.setting=2-in-8", "mlp.active=1"}); }),
              AllOf(HasSubstr("--set mlp.setting=2-in-8"), HasSubstr("active = 1.0")));
  EXPECT_THAT(message_of([] { read("", {"mlp.setting=2-in-8", "mlp.experts=4", "mlp.active=1"}); }),
              HasSubstr("leave out"));
  Layer agree = read("mlp = { setting = '2-in-8', experts = 8 }");
  expect_holds(agree, "2-in-8", 8, 2);
}

// As runs before this rule wrote them: the setting held, and the defaults stood beside it.
TEST(MoeSetting, AnOlderConfigIsReadAsItWasRunAndSaysSo) {
  ::testing::internal::CaptureStderr();
  Layer layer = read("mlp = { setting = '4-in-32', experts = 8, active = 2.0 }");
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              HasSubstr("setting = \"4-in-32\" counts, and experts = 8, active = 2.0"));
  expect_holds(layer, "4-in-32", 32, 4);
}

TEST(MoeSetting, OfSplitAndHiddenTheLaterCounts) {
  Layer split = read("mlp.hidden = 100", {"mlp.split=4"});
  EXPECT_EQ(split.moe().hidden_of(64), 64);
  Layer hidden = read("mlp.split = 4", {"mlp.hidden=100"});
  EXPECT_EQ(hidden.moe().hidden_of(64), 100);
  EXPECT_THAT(message_of([] { read("", {"mlp.split=4", "mlp.hidden=100"}); }),
              HasSubstr("give one of the two"));
}

TEST(DenseRatio, OfRatioAndHiddenTheLaterCounts) {
  const auto printed = [](const std::string& text, const std::vector<std::string>& overrides) {
    Layer layer = read("mlp.kind = 'dense'\n" + text, overrides);
    return config::to_toml(layer);
  };
  EXPECT_THAT(printed("mlp.hidden = 100", {"mlp.ratio=2"}),
              AllOf(HasSubstr("ratio = 2.0\n"), HasSubstr("# hidden = (derived")));
  EXPECT_THAT(printed("mlp.ratio = 2.0", {"mlp.hidden=100"}),
              AllOf(HasSubstr("# ratio = (derived"), HasSubstr("hidden = 100\n")));
  EXPECT_THAT(message_of([&] { printed("", {"mlp.ratio=2", "mlp.hidden=100"}); }),
              HasSubstr("give one of the two"));
  // What older runs wrote is the same as what they would write now.
  EXPECT_EQ(printed("mlp.ratio = 4.0", {}), printed("", {}));
  EXPECT_EQ(printed("mlp.ratio = 4.0\nmlp.hidden = 580", {}), printed("mlp.hidden = 580", {}));
}

}  // namespace
}  // namespace gallop::sparse
