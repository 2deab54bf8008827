#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "gallop/models/denoiser.h"
#include "gallop/models/weights.h"
#include "gallop/nn/tensor_io.h"
#include "gallop/runs/initial_weights.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/weights.h"

namespace gallop::runs {
namespace {

using ::gallop::testing::message_of;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* table = "y_embedder.embedding_table.weight";

std::unique_ptr<models::Denoiser> dit(uint64_t seed, int64_t classes = 3,
                                      double label_dropout = 0.1, int64_t side = 4) {
  auto model = ::gallop::testing::make<models::Denoiser>(
      "kind = \"dit\"\ndepth = 2\nwidth = 8\nheads = 2\npatch = 2\nlabel_dropout = " +
          std::to_string(label_dropout),
      {.channels = 1, .height = side, .width = side, .classes = classes});
  model->materialize(seed);
  for (nn::Parameter* p : model->parameters()) {
    if (p->trainable()) (**p).detach().add_(static_cast<double>(seed));
  }
  return model;
}

class StartFromNames : public ::testing::Test {
 protected:
  using Rename = std::function<std::string(const std::string&)>;

  void save(
      const models::Denoiser& model, const Rename& rename = [](const auto& n) { return n; },
      const formats::Metadata& metadata = {}) {
    auto tensors = models::named_tensors(model);
    for (auto& [name, tensor] : tensors) name = rename(name);
    nn::save_tensors(folder_ / "w.safetensors", tensors, metadata);
    config_.weights = (folder_ / "w.safetensors").string();
  }
  std::vector<std::string> start(models::Denoiser& model,
                                 const std::vector<std::string>& class_names = {}) {
    return start_from(model, config_, class_names);
  }
  std::string error_of(models::Denoiser& model) {
    return message_of([&] { start(model); });
  }

  test::TemporaryDirectory folder_;
  InitConfig config_;
};

at::Tensor row(const models::Denoiser& model, int64_t index) {
  return (**model.find_parameter(table)).detach()[index];
}

TEST_F(StartFromNames, ACommonPrefixIsTakenOffAndTold) {
  const auto trained = dit(1);
  const std::string count = std::to_string(trained->parameters().size());
  for (const std::string prefix :
       {"module.", "_orig_mod.", "module._orig_mod.", "model.", "any."}) {
    save(*trained, [&](const std::string& name) { return prefix + name; });
    const auto model = dit(2);
    const auto lines = start(*model);
    EXPECT_THAT(lines[0], HasSubstr(count + " of " + count + " tensors"));
    EXPECT_THAT(lines, Contains("'" + prefix + "' is taken off " + count + " names"));
    EXPECT_TRUE((**model->find_parameter("blocks.1.attn.qkv.weight"))
                    .equal(**trained->find_parameter("blocks.1.attn.qkv.weight")));
  }
}

// Also off names that the model does not have.
TEST_F(StartFromNames, ThePrefixOfOtherTensorsIsTakenOffToo) {
  save(*dit(1), [](const std::string& name) {
    const size_t at = name.find("mlp.fc");
    return "module." + (at == name.npos ? name : std::string(name).insert(at + 6, "_"));
  });
  EXPECT_THAT(error_of(*dit(2)), AllOf(HasSubstr("missing: blocks.*.mlp.fc_1.weight (2 tensors)"),
                                       Not(HasSubstr("missing: module."))));
}

// The advice of before made it worse: all of it allowed, the training started from noise.
TEST_F(StartFromNames, NoTensorInCommonIsAnErrorWhateverIsAllowed) {
  save(*dit(1), [](const std::string& name) { return name + "_x"; });
  config_.allow = {"new", "missing", "reshaped"};
  const auto model = dit(2);
  EXPECT_THAT(error_of(*model),
              AllOf(HasSubstr("holds no tensor of the model"),
                    HasSubstr("whatever init.allow says"), HasSubstr("blocks.0.attn.proj.bias_x"),
                    HasSubstr("Nearest: x_embedder.proj.weight to x_embedder.proj.weight_x"),
                    Not(HasSubstr("--set"))));
}

// The position table alone is computed from sizes, and no weights that one could start from.
TEST_F(StartFromNames, AComputedTableIsNoTensorInCommon) {
  save(*dit(1),
       [](const std::string& name) { return name == "pos_embed" ? name : "x." + name + "y"; });
  config_.allow = {"new", "missing", "reshaped"};
  EXPECT_THAT(error_of(*dit(2)), HasSubstr("holds no tensor of the model"));
}

TEST_F(StartFromNames, TheNearestNamesAreShown) {
  save(*dit(1), [](const std::string& name) {
    const size_t at = name.find("attn.qkv.");
    return at == std::string::npos ? name : std::string(name).replace(at, 9, "attn.to_qkv.");
  });
  EXPECT_THAT(error_of(*dit(2)),
              HasSubstr("new: blocks.*.attn.qkv.weight (2 tensors); the nearest in the file: "
                        "blocks.*.attn.to_qkv.weight"));
}

TEST_F(StartFromNames, AnotherResolutionIsTold) {
  save(*dit(1, 3, 0.1, 4));
  const auto model = dit(2, 3, 0.1, 8);
  EXPECT_THAT(start(*model), Contains("pos_embed is computed anew for these sizes: [1, 16, 8], the "
                                      "file has [1, 4, 8]"));
  EXPECT_TRUE((**model->find_parameter("pos_embed"))
                  .equal(**dit(3, 3, 0.1, 8)->find_parameter("pos_embed")));
}

// 10 rows for 10 classes and a null label: row 9 was taken for the null label's.
TEST_F(StartFromNames, AsManyRowsAsClassesHaveNoNullLabel) {
  const auto trained = dit(1, 10, /*label_dropout=*/0);
  save(*trained);
  auto model = dit(2, 10);
  const auto fresh = dit(2, 10);
  config_.allow = {table};
  EXPECT_THAT(start(*model), Contains("class table: 10 of 10 classes matched by index; fresh: the "
                                      "null label, for which the file has no row"));
  for (int64_t i = 0; i < 10; ++i) EXPECT_TRUE(row(*model, i).equal(row(*trained, i))) << i;
  EXPECT_TRUE(row(*model, 10).equal(row(*fresh, 10)));
}

TEST_F(StartFromNames, OneMoreRowThanClassesIsTheNullLabel) {
  const auto trained = dit(1, 10);
  save(*trained);
  auto model = dit(2, 10);
  EXPECT_THAT(start(*model),
              Contains("class table: 10 of 10 classes matched by index, the null label too"));
  EXPECT_TRUE(row(*model, 10).equal(row(*trained, 10)));
  // The model has none.
  auto without = dit(2, 10, 0);
  config_.allow = {table};
  EXPECT_THAT(start(*without), Contains("class table: 10 of 10 classes matched by index; the "
                                        "file's row of the null label is left out"));
  EXPECT_TRUE(row(*without, 9).equal(row(*trained, 9)));
}

TEST_F(StartFromNames, OtherNumbersOfRowsAreAskedAbout) {
  const auto trained = dit(1, 5);
  save(*trained);
  config_.allow = {table};
  for (const double dropout : {0.1, 0.0}) {
    auto model = dit(2, 3, dropout);
    const auto before = dit(2, 3, dropout);
    EXPECT_THAT(error_of(*model),
                AllOf(HasSubstr("has 6 rows and the model 3 classes"),
                      HasSubstr("init.null_row=last"), HasSubstr("init.null_row=none")));
    for (const nn::Parameter* p : before->parameters())
      EXPECT_TRUE((**p).equal(**model->find_parameter(p->name()))) << p->name();
  }
  config_.null_row = "none";
  auto model = dit(2, 8);
  EXPECT_THAT(start(*model), Contains("class table: 6 of 8 classes matched by index; fresh: 6, 7 "
                                      "and the null label, for which the file has no row"));
  EXPECT_TRUE(row(*model, 5).equal(row(*trained, 5)));
  config_.null_row = "last";
  model = dit(2, 8);
  EXPECT_THAT(start(*model), Contains("class table: 5 of 8 classes matched by index, the null "
                                      "label too; fresh: 5, 6 and 7"));
  EXPECT_TRUE(row(*model, 8).equal(row(*trained, 5)));
}

TEST_F(StartFromNames, WhatTheMetadataSayIsNoGuess) {
  const auto trained = dit(1, 3, 0);
  const auto same = [](const std::string& name) { return name; };
  save(*trained, same, {{"class_names", R"(["a", "b", "c"])"}});
  config_.allow = {table};
  // 3 rows are one more than the 2 classes of the model, and yet none is the null label's.
  auto model = dit(2, 2);
  EXPECT_THAT(start(*model), Contains(HasSubstr("fresh: the null label")));
  EXPECT_FALSE(row(*model, 2).equal(row(*trained, 2)));
  config_.null_row = "last";
  EXPECT_THAT(error_of(*model), HasSubstr("contradicts"));
}

// Names on both sides that differ at an index: matched by index all the same, and told.
TEST_F(StartFromNames, OtherNamesAtTheSameIndexAreWarnedOf) {
  const auto same = [](const std::string& name) { return name; };
  save(*dit(1), same, {{"class_names", R"(["cat", "dog", "horse"])"}});
  auto model = dit(2);
  ::testing::internal::CaptureStderr();
  start(*model, {"cat", "horse", "dog"});
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("class 1 is \"dog\" in the file and \"horse\" in the data"),
                    HasSubstr("init.labels = \"name\"")));
  ::testing::internal::CaptureStderr();
  start(*model, {"cat", "dog", "horse"});
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace gallop::runs
