#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "gallop/base/file.h"
#include "gallop/data/recognise.h"
#include "gallop/formats/safetensors.h"
#include "tests/data/open_source.h"
#include "tests/support/data_files.h"
#include "tests/support/temporary_directory.h"

namespace gallop::data {
namespace {

using formats::DType;
using testing::AllOf;
using testing::ElementsAre;
using testing::FloatEq;
using testing::HasSubstr;

constexpr const char* good_manifest = R"({"format": "gallop-latents", "version": 1,
  "encoder": "an encoder", "scale_factor": 0.5, "shape": [2, 1, 2], "classes": 3,
  "class_names": ["a", "b", "c"], "crop": "adm 16",
  "train": ["0.safetensors", "1.safetensors"], "test": ["test.safetensors"]})";

class LatentsSource : public testing::Test {
 protected:
  LatentsSource() {
    put_manifest(good_manifest);
    put_shard("0.safetensors", {0, 1}, 0);
    put_shard("1.safetensors", {2}, 8);
    put_shard("test.safetensors", {1}, 100);
  }
  void put_manifest(const std::string& text) { test::put_file(folder_ / "manifest.json", text); }
  /// Values count up from `first`.
  void put_shard(const std::string& name, const std::vector<int64_t>& labels, float first) {
    std::vector<float> values(labels.size() * 4);
    std::iota(values.begin(), values.end(), first);
    put_tensors(name, values, labels);
  }
  void put_tensors(const std::string& name, const std::vector<float>& values,
                   const std::vector<int64_t>& labels) {
    const auto n = static_cast<int64_t>(labels.size());
    formats::write_safetensors(
        folder_ / name, {{"latents", DType::F32, {n, 2, 1, 2}, std::as_bytes(std::span(values))},
                         {"labels", DType::I64, {n}, std::as_bytes(std::span(labels))}});
  }
  std::string source(const std::string& more = "") const {
    return "kind = 'latents', path = '" + folder_.path().string() + "'" + more;
  }
  /// What a change of the manifest gives.
  std::string error_with(const std::string& from, const std::string& to) {
    std::string text = good_manifest;
    text.replace(text.find(from), from.size(), to);
    put_manifest(text);
    return test::source_error(source());
  }
  test::TemporaryDirectory folder_;
};

TEST_F(LatentsSource, ReadsShardsTimesTheScaleFactor) {
  const auto train = test::open_source(source());
  const DatasetInfo& info = train->info();
  EXPECT_EQ(info.kind, "latents");
  EXPECT_EQ(info.count, 3);
  EXPECT_EQ(info.channels, 2);
  EXPECT_EQ(info.height, 1);
  EXPECT_EQ(info.width, 2);
  EXPECT_EQ(info.classes, 3);
  EXPECT_THAT(info.class_names, ElementsAre("a", "b", "c"));
  EXPECT_TRUE(info.latent);
  EXPECT_EQ(info.detail, "encoder an encoder, scale factor 0.5, crop adm 16");
  EXPECT_THAT(test::sample_of(*train, 1), ElementsAre(2.0f, 2.5f, 3.0f, 3.5f));
  EXPECT_THAT(test::sample_of(*train, 2), ElementsAre(4.0f, 4.5f, 5.0f, 5.5f));
  EXPECT_EQ(train->label(1), 1);
  EXPECT_EQ(train->label(2), 2);
  const auto test = test::open_source(source(), {.split = "test"});
  EXPECT_EQ(test->info().count, 1);
  EXPECT_THAT(test::sample_of(*test, 0), ElementsAre(50.0f, 50.5f, 51.0f, 51.5f));
}

TEST_F(LatentsSource, HoldsOutWhereThereIsNoTest) {
  EXPECT_EQ(error_with(R"(, "test": ["test.safetensors"])", ""), "");
  put_shard("1.safetensors", {0, 0}, 8);
  const auto train = test::open_source(source(", held_out = 0.5"));
  ASSERT_EQ(train->info().count, 2);
  EXPECT_EQ(train->label(0), 1);
  EXPECT_EQ(train->label(1), 0);
  const auto test = test::open_source(source(", held_out = 0.5"), {.split = "test"});
  ASSERT_EQ(test->info().count, 2);
  EXPECT_EQ(test->label(0), 0);
  EXPECT_EQ(test->label(1), 0);
  EXPECT_THAT(test::sample_of(*test, 1), ElementsAre(4.0f, 4.5f, 5.0f, 5.5f));
  EXPECT_THAT(train->info().detail, HasSubstr("1 in 2 held out"));
}

TEST_F(LatentsSource, KeepsATrainingSampleOfEachClass) {
  EXPECT_EQ(error_with(R"(, "test": ["test.safetensors"])", ""), "");
  for (const char* split : {"train", "test"}) {
    const auto dataset = test::open_source(source(", held_out = 0.5"), {.split = split});
    ASSERT_EQ(dataset->info().count, 3);
    for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(dataset->label(i), i);
  }
  EXPECT_THAT(test::open_source(source())->info().notices,
              ElementsAre(HasSubstr("'test.safetensors', for manifest.json does not list"),
                          HasSubstr("each class has a single sample")));
}

TEST_F(LatentsSource, NamesShardsThatAreNotListed) {
  put_shard("forgotten.safetensors", {0}, 0);
  EXPECT_THAT(test::open_source(source())->info().notices,
              ElementsAre(HasSubstr("'forgotten.safetensors', for manifest.json does not list")));
  EXPECT_THAT(test::open_source(source(), {.split = "test"})->info().notices, ElementsAre());
}

TEST_F(LatentsSource, ReadsHalfPrecision) {
  // 1, -2, 65504 (the largest), 2^-24 (the smallest) and 1, -2, 0.15625, 3.140625
  const std::vector<uint16_t> f16{0x3c00, 0xc000, 0x7bff, 0x0001};
  const std::vector<uint16_t> bf16{0x3f80, 0xc000, 0x3e20, 0x4049};
  const std::vector<int64_t> labels{0};
  for (const bool brain : {false, true}) {
    const auto& values = brain ? bf16 : f16;
    formats::write_safetensors(folder_ / "test.safetensors",
                               {{"latents",
                                 brain ? DType::BF16 : DType::F16,
                                 {1, 2, 1, 2},
                                 std::as_bytes(std::span(values))},
                                {"labels", DType::I64, {1}, std::as_bytes(std::span(labels))}});
    const auto sample = test::sample_of(*test::open_source(source(), {.split = "test"}), 0);
    if (brain)
      EXPECT_THAT(sample, ElementsAre(0.5f, -1.0f, 0.078125f, 1.5703125f));
    else
      EXPECT_THAT(sample, ElementsAre(0.5f, -1.0f, 32752.0f, 0x1p-25f));
  }
}

TEST_F(LatentsSource, NeedsNoLabelsWithoutClasses) {
  error_with(R"("classes": 3,
  "class_names": ["a", "b", "c"])",
             R"("classes": 0)");
  const std::vector<float> values(4);
  for (const char* name : {"0.safetensors", "1.safetensors"})
    formats::write_safetensors(
        folder_ / name, {{"latents", DType::F32, {1, 2, 1, 2}, std::as_bytes(std::span(values))}});
  const auto train = test::open_source(source());
  EXPECT_EQ(train->info().classes, 0);
  EXPECT_EQ(train->label(1), -1);
}

TEST_F(LatentsSource, RefusesABadManifest) {
  EXPECT_THAT(error_with("gallop-latents", "else"),
              AllOf(HasSubstr("manifest.json'"), HasSubstr("else")));
  EXPECT_THAT(error_with("\"version\": 1", "\"version\": 2"), HasSubstr("version is 2"));
  EXPECT_THAT(error_with("0.5", "0"), HasSubstr("scale_factor is 0"));
  EXPECT_THAT(error_with("0.5", "\"half\""), HasSubstr("manifest.json'"));
  EXPECT_THAT(error_with("[2, 1, 2]", "[2, 1]"), HasSubstr("2 numbers instead of 3"));
  EXPECT_THAT(error_with("[2, 1, 2]", "[2, 0, 2]"), HasSubstr("a number of shape is 0"));
  EXPECT_THAT(error_with("[2, 1, 2]", "[2, 4294967296, 4294967296]"),
              HasSubstr("a number of shape"));
  EXPECT_THAT(error_with("\"classes\": 3", "\"classes\": -3"), HasSubstr("classes is -3"));
  EXPECT_THAT(error_with("\"c\"]", "\"c\", \"d\"]"), HasSubstr("4 names"));
  EXPECT_THAT(error_with("\"encoder\"", "\"coder\""), HasSubstr("encoder"));
  EXPECT_THAT(error_with("[\"0.safetensors\", \"1.safetensors\"]", "[]"),
              HasSubstr("train lists no"));
  EXPECT_THAT(error_with("{", ""), HasSubstr("manifest.json'"));
  fs::remove(folder_ / "manifest.json");
  EXPECT_THAT(test::source_error(source()), HasSubstr("manifest.json': No such file"));
  EXPECT_THAT(test::source_error("kind = 'latents'"), HasSubstr("data.source.path is not set"));
}

TEST_F(LatentsSource, RefusesABadShard) {
  const std::vector<float> values(8);
  const std::vector<int64_t> labels{0, 0};
  const fs::path file = folder_ / "1.safetensors";
  const auto error = [&](const std::vector<formats::TensorView>& tensors) {
    formats::write_safetensors(file, tensors);
    const std::string text = test::source_error(source());
    EXPECT_THAT(text, testing::StartsWith("'" + file.string() + "': "));
    return text;
  };
  const formats::TensorView good{
      "latents", DType::F32, {2, 2, 1, 2}, std::as_bytes(std::span(values))};
  const formats::TensorView flat{"latents", DType::F32, {8}, std::as_bytes(std::span(values))};
  const formats::TensorView turned{
      "latents", DType::F32, {2, 1, 2, 2}, std::as_bytes(std::span(values))};
  const formats::TensorView whole{
      "latents", DType::I32, {2, 2, 1, 2}, std::as_bytes(std::span(values))};
  const formats::TensorView marks{"labels", DType::I64, {2}, std::as_bytes(std::span(labels))};
  const formats::TensorView few{
      "labels", DType::I64, {1}, std::as_bytes(std::span(labels)).first(8)};
  const formats::TensorView narrow{
      "labels", DType::I32, {2}, std::as_bytes(std::span(labels)).first(8)};
  EXPECT_THAT(error({good}), HasSubstr("no tensor 'labels'"));
  EXPECT_THAT(error({marks}), HasSubstr("no tensor 'latents'"));
  EXPECT_THAT(error({flat, marks}), HasSubstr("[8]"));
  EXPECT_THAT(error({turned, marks}),
              HasSubstr("[2, 1, 2, 2], the manifest says [count, 2, 1, 2]"));
  EXPECT_THAT(error({whole, marks}), HasSubstr("is I32"));
  EXPECT_THAT(error({good, few}), HasSubstr("instead of I64 [2]"));
  EXPECT_THAT(error({good, narrow}), HasSubstr("is I32"));
  put_shard("1.safetensors", {3}, 0);
  EXPECT_THAT(test::source_error(source()), HasSubstr("label 3 of latent 0 is out of range"));
  put_shard("1.safetensors", {0, -1}, 0);
  EXPECT_THAT(test::source_error(source()), HasSubstr("label -1 of latent 1 is out of range"));
  fs::resize_file(file, fs::file_size(file) - 1);
  EXPECT_THAT(test::source_error(source()), HasSubstr("cut short"));
  fs::remove(file);
  EXPECT_THAT(test::source_error(source()), HasSubstr("No such file"));
}

TEST_F(LatentsSource, RefusesNumbersThatAreNotFinite) {
  put_tensors("1.safetensors", {0, 1, std::numeric_limits<float>::infinity(), 2}, {0});
  const auto train = test::open_source(source());
  EXPECT_NO_THROW(test::sample_of(*train, 1));
  EXPECT_THROW(test::sample_of(*train, 2), Error);
}

TEST_F(LatentsSource, IsRecognised) { EXPECT_EQ(recognise_kind(folder_.path()), "latents"); }

}  // namespace
}  // namespace gallop::data
