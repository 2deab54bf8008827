#include "gallop/data/identity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <functional>

#include "gallop/formats/image.h"
#include "gallop/formats/safetensors.h"
#include "tests/data/open_source.h"
#include "tests/support/data_files.h"
#include "tests/support/idx_files.h"
#include "tests/support/temporary_directory.h"

namespace gallop::data {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

DatasetInfo animals(const std::vector<std::string>& names) {
  return {.kind = "folder",
          .path = "animals",
          .count = 40,
          .channels = 3,
          .height = 8,
          .width = 8,
          .classes = static_cast<int64_t>(names.size()),
          .class_names = names,
          .content = "1"};
}

TEST(DataIdentity, ChangedNamesAreToldWithBothListsAndWhatMoved) {
  const auto found = changes(animals({"a", "b", "c"}), animals({"b", "c", "z\n"}));
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].key, "data.classes");
  EXPECT_TRUE(found[0].means_other);
  EXPECT_EQ(
      found[0].text,
      R"(data.classes: 3 classes: "a", "b", "c" -> 3 classes: "b", "c", "z\n"; )"
      R"(label 0 was "a" and is "b"; label 1 was "b" and is "c"; label 2 was "c" and is "z\n")");
  EXPECT_THAT(changes(animals({"a"}), animals({"a", "b"}))[0].text,
              HasSubstr(R"(1 class: "a" -> 2 classes: "a", "b")"));
  EXPECT_THAT(changes(animals({"a"}), animals({}))[0].text, HasSubstr(R"("a" -> no classes)"));
}

TEST(DataIdentity, AThousandClassesAreNotAllListed) {
  std::vector<std::string> names;
  for (int i = 0; i < 1000; ++i) names.push_back("class" + std::to_string(i));
  auto turned = names;
  std::rotate(turned.begin(), turned.begin() + 1, turned.end());
  const std::string text = changes(animals(names), animals(turned))[0].text;
  EXPECT_THAT(text, AllOf(HasSubstr("and 900 more"), HasSubstr("and 990 more labels")));
  EXPECT_LT(text.size(), 6000U);
}

TEST(DataIdentity, OtherSamplesAreTold) {
  const DatasetInfo before = animals({"a", "b"});
  DatasetInfo now = before;
  EXPECT_THAT(changes(before, now), IsEmpty());
  EXPECT_TRUE(same_content(before, now));
  now.content = "2";
  EXPECT_FALSE(same_content(before, now));
  ASSERT_EQ(changes(before, now).size(), 1U);
  EXPECT_EQ(changes(before, now)[0].key, "data.content");
  EXPECT_FALSE(changes(before, now)[0].means_other);
  now.count = 44;
  ASSERT_EQ(changes(before, now).size(), 1U) << "another count is another content anyway";
  EXPECT_EQ(changes(before, now)[0].text, "data.count: 40 -> 44 training samples");
  EXPECT_EQ(held_out_changes(before, now)[0].text, "data.held_out: 40 -> 44 held-out samples");
  now.width = 9;
  EXPECT_EQ(changes(before, now)[0].text, "data.shape: [3, 8, 8] -> [3, 8, 9]");
}

// Weights of before this was kept, and kinds that cannot tell.
TEST(DataIdentity, WhatIsNotKnownIsNoChange) {
  DatasetInfo before = animals({"a", "b"});
  const DatasetInfo now = before;
  before.content.clear();
  EXPECT_THAT(changes(before, now), IsEmpty());
  EXPECT_FALSE(same_content(before, now));
  before.class_names.clear();
  EXPECT_THAT(changes(before, now), IsEmpty());
}

class SourceContent : public ::testing::Test {
 protected:
  /// Content of both splits.
  std::string content(const std::string& kind, const std::string& more = "") const {
    const std::string source =
        "kind = '" + kind + "', path = '" + (folder_ / "data").string() + "'" + more;
    return test::open_source(source)->info().content + " " +
           test::open_source(source, {.split = "test"})->info().content;
  }
  /// Each edit changes the content, and only while it is there.
  void expect_told(const std::string& kind, const std::function<void()>& write,
                   const std::vector<std::function<void(const fs::path&)>>& edits) {
    write();
    const std::string first = content(kind);
    EXPECT_EQ(first.size(), 65U) << first;
    for (size_t i = 0; i < edits.size(); ++i) {
      edits[i](folder_ / "data");
      EXPECT_NE(content(kind), first) << kind << ", edit " << i;
      fs::remove_all(folder_ / "data");
      write();
      EXPECT_EQ(content(kind), first) << kind << ", edit " << i;
    }
    fs::rename(folder_ / "data", folder_ / "elsewhere");
    fs::rename(folder_ / "elsewhere", folder_ / "data");
    EXPECT_EQ(content(kind), first) << "where they lie is no part of it";
  }
  static void flip_last_byte(const fs::path& file) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(-1, std::ios::end);
    const int byte = stream.get();
    stream.seekp(-1, std::ios::end);
    stream.put(static_cast<char>(byte ^ 1));
  }
  test::TemporaryDirectory folder_;
};

TEST_F(SourceContent, OfIdxIsItsBytes) {
  expect_told("idx", [&] { test::write_idx_files(folder_ / "data", 6, 2); },
              {[](const fs::path& data) { flip_last_byte(data / "train-images-idx3-ubyte"); },
               [](const fs::path& data) { flip_last_byte(data / "train-labels-idx1-ubyte"); },
               [](const fs::path& data) { flip_last_byte(data / "t10k-labels-idx1-ubyte"); }});
}

TEST_F(SourceContent, OfCifarIsItsBytes) {
  const auto write = [&] {
    for (const char* name : {"data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4",
                             "data_batch_5", "test_batch"})
      test::put_file(folder_ / "data" / (std::string(name) + ".bin"), std::string(3073, '\3'));
  };
  expect_told("cifar10", write,
              {[](const fs::path& data) { flip_last_byte(data / "data_batch_4.bin"); },
               [](const fs::path& data) { flip_last_byte(data / "test_batch.bin"); }});
}

TEST_F(SourceContent, OfAFolderIsNamesAndSizes) {
  const auto picture = [](const fs::path& file, uint8_t colour) {
    fs::create_directories(file.parent_path());
    formats::Image image{4, 4, 1, std::vector<uint8_t>(16, colour)};
    for (size_t i = 0; i < colour; ++i) image.pixels[i] = static_cast<uint8_t>(37 * i);
    write_png(file, image);
  };
  const auto write = [&] {
    for (const char* name : {"a/0.png", "a/1.png", "b/2.png", "b/3.png"}) {
      picture(folder_ / "data/train" / name, 1);
      picture(folder_ / "data/test" / name, 1);
    }
  };
  expect_told(
      "folder", write,
      {[](const fs::path& data) { fs::rename(data / "train/a/0.png", data / "train/a/5.png"); },
       [](const fs::path& data) { fs::rename(data / "train/a/0.png", data / "train/b/0.png"); },
       [](const fs::path& data) { fs::remove(data / "test/b/2.png"); },
       [&](const fs::path& data) { picture(data / "train/b/3.png", 16); }});
}

TEST_F(SourceContent, OfLatentsIsTheirShardsAndLabels) {
  const auto shard = [&](const std::string& name, const std::vector<int64_t>& labels) {
    const std::vector<float> values(labels.size() * 4, 0.5F);
    const auto n = static_cast<int64_t>(labels.size());
    formats::write_safetensors(
        folder_ / "data" / name,
        {{"latents", formats::DType::F32, {n, 1, 2, 2}, std::as_bytes(std::span(values))},
         {"labels", formats::DType::I64, {n}, std::as_bytes(std::span(labels))}});
  };
  const auto manifest = [&](const char* scale) {
    test::put_file(folder_ / "data/manifest.json",
                   std::string(R"({"format": "gallop-latents", "version": 1, "encoder": "e",
                     "scale_factor": )") +
                       scale + R"(, "shape": [1, 2, 2], "classes": 3,
                     "train": ["0.safetensors", "1.safetensors"], "test": ["t.safetensors"]})");
  };
  const auto write = [&] {
    manifest("0.5");
    shard("0.safetensors", {0, 1});
    shard("1.safetensors", {2, 0});
    shard("t.safetensors", {1});
  };
  expect_told("latents", write,
              {[&](const fs::path&) { shard("0.safetensors", {1, 0}); },
               [&](const fs::path&) { shard("1.safetensors", {2, 0, 1}); },
               [&](const fs::path&) { shard("t.safetensors", {0}); },
               [&](const fs::path&) { manifest("0.50000001"); }});
}

}  // namespace
}  // namespace gallop::data
