// Recipes in a form of before, and settings out of JSON.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/config/parse.h"
#include "tests/support/errors.h"

namespace gallop::config {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::message_of;

struct Inner : Fields<Inner> {
  int64_t depth = 1, width = 2;
  std::string seed;
  void fields(Visitor& v) override {
    v.field("depth", depth, "layers", at_least(1));
    v.field("width", width, "width", at_least(1));
    v.field("seed", seed, "digits");
  }
};
struct Middle : Fields<Middle> {
  Inner model, sample;
  void fields(Visitor& v) override {
    v.table("model", model, "the network");
    v.table("sample", sample, "what is drawn");
  }
};
struct Every : Fields<Every> {
  int64_t every = 5;
  void fields(Visitor& v) override { v.field("every", every, "steps"); }
};
struct Outer : Fields<Outer> {
  int64_t format = 2;
  Middle task;
  Every sample;
  void fields(Visitor& v) override {
    v.field("format", format, "version", between(1, 2));
    v.table("task", task, "what is learned");
    v.table("sample", sample, "when");
  }
  const Layout* layout() const override {
    static const Layout layout{
        .version = 2, .renames = {{"model", "task.model"}, {"sample.depth", "task.sample.depth"}}};
    return &layout;
  }
};

std::string log_of(const std::function<void()>& load) {
  ::testing::internal::CaptureStderr();
  load();
  return ::testing::internal::GetCapturedStderr();
}

TEST(Layout, KeysOfBeforeAreReadAndTold) {
  Outer outer;
  const std::string log = log_of([&] {
    load_text(outer, "model = { depth = 3 }\nsample = { every = 7, depth = 4 }", "old.toml");
  });
  EXPECT_EQ(outer.task.model.depth, 3);
  EXPECT_EQ(outer.sample.every, 7);
  EXPECT_EQ(outer.task.sample.depth, 4);
  EXPECT_THAT(log, AllOf(HasSubstr("old.toml: model is now task.model"),
                         HasSubstr("sample.depth is now task.sample.depth")));
  // Once is enough.
  EXPECT_EQ(log_of([&] {
              load_text(outer, "model = { depth = 3 }\nsample = { depth = 4 }", "old.toml");
            }),
            "");
}

TEST(Layout, SoMayOverridesBe) {
  Outer outer;
  const std::string log = log_of([&] {
    load_text(outer, "[task.model]\nwidth = 9", "new.toml", {"model.depth=6", "sample={depth=8}"});
  });
  EXPECT_EQ(outer.task.model.depth, 6);
  EXPECT_EQ(outer.task.model.width, 9);
  EXPECT_EQ(outer.task.sample.depth, 8);
  EXPECT_THAT(log, HasSubstr("--set model.depth=6: model is now task.model"));
  EXPECT_THAT(keys_of_overrides({"model.depth=6"}, outer.layout()),
              ElementsAre("task.model.depth"));
}

TEST(Layout, BothNamesOfAKeyAreRefused) {
  Outer outer;
  EXPECT_THAT(
      message_of([&] { load_text(outer, "model.depth = 3\ntask.model.depth = 4", "both.toml"); }),
      AllOf(HasSubstr("both.toml:1"), HasSubstr("task.model"), HasSubstr("leave one")));
  load_text(outer, "model.depth = 3\ntask.model.width = 4", "parts.toml");
  EXPECT_EQ(outer.task.model.depth, 3);
  EXPECT_EQ(outer.task.model.width, 4);
}

TEST(Layout, AFileThatSaysItIsOfNowIsReadStrictly) {
  Outer outer;
  EXPECT_THAT(message_of([&] { load_text(outer, "format = 2\nmodel.depth = 3", "new.toml"); }),
              AllOf(HasSubstr("unknown key model"), HasSubstr("task.model")));
  load_text(outer, "format = 1\nmodel.depth = 3", "old.toml");
  EXPECT_THAT(message_of([&] { load_text(outer, "format = 3", "newer.toml"); }),
              AllOf(HasSubstr("newer version of Gallop"), HasSubstr("up to 2")));
}

TEST(Settings, ComeOutOfJson) {
  Inner inner;
  const auto keys = load_json(inner, Json::parse(R"({"depth": 3, "seed": 7})"), "request");
  EXPECT_EQ(inner.depth, 3);
  EXPECT_EQ(inner.seed, "7") << "a number where a text is wanted";
  EXPECT_THAT(keys, ElementsAre("depth", "seed"));
  const auto error = [&](const char* text) {
    return message_of([&] { load_json(inner, Json::parse(text), "request"); });
  };
  EXPECT_THAT(error(R"({"dept": 3})"), AllOf(HasSubstr("request"), HasSubstr("'depth'")));
  EXPECT_THAT(error(R"({"depth": 0})"), HasSubstr(">= 1"));
  EXPECT_THAT(error(R"({"depth": null})"), HasSubstr("leave the key out"));
  EXPECT_THAT(error("[1]"), HasSubstr("JSON object"));
}

}  // namespace
}  // namespace gallop::config
