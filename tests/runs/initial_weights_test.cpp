#include "gallop/runs/initial_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "gallop/base/error.h"
#include "gallop/models/dit/dit_config.h"
#include "gallop/models/weights.h"
#include "gallop/nn/tensor_io.h"
#include "tests/support/temporary_directory.h"

namespace gallop::runs {
namespace {

using test::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* table = "y_embedder.embedding_table.weight";

struct Sizes {
  int64_t classes = 3;
  double label_dropout = 0.1;
  int64_t depth = 2, width = 8;
  const char* mlp = "dense";
};

std::unique_ptr<models::Denoiser> dit(uint64_t seed, const Sizes& sizes = {}) {
  config::Component component("denoiser", "dit");
  auto& settings = component.as<models::DitSettings>();
  settings.depth = sizes.depth;
  settings.width = sizes.width;
  settings.heads = 2;
  settings.patch = 2;
  settings.label_dropout = sizes.label_dropout;
  settings.mlp.choose(sizes.mlp);
  auto model = models::make_denoiser(
      component, {.channels = 1, .height = 4, .width = 4, .classes = sizes.classes});
  model->materialize(seed);
  // Biases and gates start at zero in every model: made different, so that a copy can be seen.
  for (nn::Parameter* p : model->parameters()) {
    if (p->trainable()) (**p).detach().add_(static_cast<double>(seed));
  }
  return model;
}

class StartFrom : public ::testing::Test {
 protected:
  void save(const models::Denoiser& model, const formats::Metadata& metadata = {}) {
    nn::save_tensors(file(), models::named_tensors(model), metadata);
    config_.weights = file().string();
  }
  std::filesystem::path file() const { return folder_ / "w.safetensors"; }

  std::vector<std::string> start(models::Denoiser& model,
                                 const std::vector<std::string>& class_names = {}) {
    return start_from(model, config_, class_names);
  }
  std::string error_of(models::Denoiser& model, const std::vector<std::string>& class_names = {}) {
    try {
      start(model, class_names);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }

  TemporaryDirectory folder_;
  InitConfig config_;
};

bool same(const models::Denoiser& a, const models::Denoiser& b, const std::string& name) {
  return (**a.find_parameter(name)).equal(**b.find_parameter(name));
}

at::Tensor row(const models::Denoiser& model, int64_t index) {
  return (**model.find_parameter(table)).detach()[index];
}

TEST_F(StartFrom, TheSameModelIsCopiedWhole) {
  const auto trained = dit(1), model = dit(2);
  save(*trained);
  const auto lines = start(*model);
  for (const nn::Parameter* p : trained->parameters()) {
    EXPECT_TRUE(same(*trained, *model, p->name())) << p->name();
  }
  const auto count = std::to_string(trained->parameters().size());
  EXPECT_THAT(lines[0], HasSubstr(count + " of " + count + " tensors"));
  EXPECT_THAT(lines, Contains("class table: 3 of 3 classes matched by index, the null label too"));
  EXPECT_TRUE((**model->find_parameter(table)).requires_grad());
}

TEST_F(StartFrom, DifferencesAreListedAndMustBeAllowed) {
  save(*dit(1, {.mlp = "dense"}));
  auto model = dit(2, {.depth = 3, .mlp = "moe"});
  const std::string error = error_of(*model);
  EXPECT_THAT(error, AllOf(HasSubstr("new: blocks.*.moe.router"),
                           HasSubstr("missing: blocks.*.mlp.fc1.weight (2 tensors)"),
                           HasSubstr("new: blocks.2.attn.qkv.weight"),
                           HasSubstr(R"(--set 'init.allow=["new", "missing"]')")));
  const auto untouched = dit(2, {.depth = 3, .mlp = "moe"});
  for (const nn::Parameter* p : untouched->parameters()) {
    EXPECT_TRUE(!p->trainable() || same(*untouched, *model, p->name())) << p->name();
  }

  config_.allow = {"new"};
  EXPECT_THAT(error_of(*model), AllOf(HasSubstr("missing:"), Not(HasSubstr("new: blocks")),
                                      HasSubstr(R"(["new", "missing"])")));
  config_.allow = {"new", "blocks.0.mlp", "blocks.1.mlp"};
  const auto lines = start(*model);
  EXPECT_THAT(lines, Contains("new: blocks.2.attn.qkv.weight"));
  const auto trained = dit(1);
  EXPECT_TRUE(same(*trained, *model, "blocks.1.attn.qkv.weight"));
  EXPECT_TRUE(same(*untouched, *model, "blocks.2.attn.qkv.weight"));
}

// "blocks.1" stands for block 1 and not for block 10.
TEST_F(StartFrom, AnAllowedPrefixEndsAtADot) {
  save(*dit(1, {.depth = 1}));
  auto model = dit(2, {.depth = 11});
  config_.allow = {"blocks.1", "blocks.2", "blocks.3", "blocks.4", "blocks.5",
                   "blocks.6", "blocks.7", "blocks.8", "blocks.9"};
  EXPECT_THAT(error_of(*model),
              AllOf(HasSubstr("new: blocks.10.attn.qkv.weight"), Not(HasSubstr("blocks.1.attn"))));
}

TEST_F(StartFrom, ReshapedTensorsStayFresh) {
  save(*dit(1, {.width = 12}));
  auto model = dit(2);
  EXPECT_THAT(
      error_of(*model),
      HasSubstr("reshaped: blocks.*.attn.qkv.weight: file [36, 12], model [24, 8] (2 tensors)"));
  config_.allow = {"reshaped"};
  start(*model);
  EXPECT_TRUE(same(*dit(2), *model, "blocks.0.attn.qkv.weight"));
  EXPECT_TRUE(same(*dit(2), *model, table));
  EXPECT_TRUE(same(*dit(1, {.width = 12}), *model, "final_layer.linear.bias"));
}

TEST_F(StartFrom, ClassesByIndex) {
  const auto trained = dit(1, {.classes = 5});
  save(*trained);
  auto model = dit(2);
  EXPECT_THAT(error_of(*model), HasSubstr("reshaped: " + std::string(table)));
  config_.allow = {table};
  config_.null_row = "last";
  start(*model);
  for (int64_t i = 0; i < 3; ++i) EXPECT_TRUE(row(*model, i).equal(row(*trained, i))) << i;
  EXPECT_TRUE(row(*model, 3).equal(row(*trained, 5))) << "the null label";

  auto larger = dit(2, {.classes = 7});
  EXPECT_THAT(start(*larger), Contains("class table: 5 of 7 classes matched by index, the null "
                                       "label too; fresh: 5 and 6"));
  EXPECT_TRUE(row(*larger, 6).equal(row(*dit(2, {.classes = 7}), 6)));
  EXPECT_TRUE(row(*larger, 7).equal(row(*trained, 5)));
}

TEST_F(StartFrom, ClassesByName) {
  const auto trained = dit(1);
  save(*trained, {{"class_names", R"(["cat", "dog", "horse"])"}});
  auto model = dit(2), fresh = dit(2);
  config_.labels = "name";
  const auto lines = start(*model, {"horse", "cow", "cat"});
  EXPECT_THAT(lines, Contains("class table: 2 of 3 classes matched by name, the null label too; "
                              "fresh: cow"));
  EXPECT_TRUE(row(*model, 0).equal(row(*trained, 2)));
  EXPECT_TRUE(row(*model, 1).equal(row(*fresh, 1)));
  EXPECT_TRUE(row(*model, 2).equal(row(*trained, 0)));
  EXPECT_TRUE(row(*model, 3).equal(row(*trained, 3)));
}

TEST_F(StartFrom, ClassesAsTrainingWritesThem) {
  const auto trained = dit(1, {.label_dropout = 0});
  save(*trained, {{"data", R"({"classes": 3, "class_names": ["a", "b", "c"]})"}});
  auto model = dit(2), fresh = dit(2);
  config_.labels = "name";
  config_.allow = {table};
  start(*model, {"c", "d", "e"});
  EXPECT_TRUE(row(*model, 0).equal(row(*trained, 2)));
  EXPECT_TRUE(row(*model, 3).equal(row(*fresh, 3))) << "the file has no null label";
}

TEST_F(StartFrom, NamesMustBeKnown) {
  save(*dit(1));
  auto model = dit(2);
  config_.labels = "name";
  EXPECT_THAT(error_of(*model, {"a", "b", "c"}),
              AllOf(HasSubstr("the data have 3"), HasSubstr("has 0")));
  save(*dit(1), {{"class_names", R"(["a"])"}});
  EXPECT_THAT(error_of(*model, {"a", "b", "c"}), HasSubstr("has 4 rows"));
}

TEST_F(StartFrom, AMissingFileIsNamed) {
  auto model = dit(2);
  config_.weights = (folder_ / "nowhere.safetensors").string();
  EXPECT_THAT(error_of(*model), HasSubstr("nowhere.safetensors"));
}

}  // namespace
}  // namespace gallop::runs
