#include "gallop/formats/shards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "gallop/formats/half.h"
#include "tests/support/data_files.h"
#include "tests/support/errors.h"
#include "tests/support/failing_file_system.h"
#include "tests/support/temporary_directory.h"

namespace gallop::formats {
namespace {

using ::gallop::testing::message_of;
using test::put_file;
using test::TemporaryDirectory;
using ::testing::HasSubstr;

template <class T>
double element(const TensorView& t, size_t i) {
  T value;
  std::memcpy(&value, t.data.data() + i * sizeof value, sizeof value);
  return static_cast<double>(value);
}

double value_of(const TensorView& t, size_t i) {
  switch (t.dtype) {
    case DType::BOOL:
    case DType::U8:
      return element<uint8_t>(t, i);
    case DType::I8:
      return element<int8_t>(t, i);
    case DType::I16:
      return element<int16_t>(t, i);
    case DType::U16:
      return element<uint16_t>(t, i);
    case DType::I32:
      return element<int32_t>(t, i);
    case DType::U32:
      return element<uint32_t>(t, i);
    case DType::I64:
      return element<int64_t>(t, i);
    case DType::U64:
      return element<uint64_t>(t, i);
    case DType::F32:
      return element<float>(t, i);
    case DType::F64:
      return element<double>(t, i);
    case DType::F16:
      return from_float16(static_cast<uint16_t>(element<uint16_t>(t, i)));
    case DType::BF16:
      return from_bfloat16(static_cast<uint16_t>(element<uint16_t>(t, i)));
  }
  return -1;
}

/// What tests/tools/make_safetensors_files.py puts into every one of its files.
void expect_the_made_tensors(const WeightsReader& reader) {
  ASSERT_EQ(reader.tensors().size(), 15u);
  for (const char* type : {"BOOL", "U8", "I8", "I16", "U16", "F16", "BF16", "I32", "U32", "F32",
                           "F64", "I64", "U64"}) {
    const TensorView* t = reader.find(std::string("type.") + type);
    ASSERT_NE(t, nullptr) << type;
    EXPECT_EQ(name_of(t->dtype), type);
    EXPECT_EQ(t->shape, (std::vector<int64_t>{2, 3}));
    for (size_t i = 0; i < 6; ++i)
      EXPECT_EQ(value_of(*t, i), static_cast<double>(t->dtype == DType::BOOL ? i % 2 : i)) << type;
  }
  ASSERT_NE(reader.find("scalar"), nullptr);
  EXPECT_TRUE(reader.find("scalar")->shape.empty());
  EXPECT_EQ(value_of(*reader.find("scalar"), 0), 0);
  ASSERT_NE(reader.find("empty"), nullptr);
  EXPECT_EQ(reader.find("empty")->shape, (std::vector<int64_t>{0, 3}));
  EXPECT_EQ(reader.find("type.F8"), nullptr);
}

const fs::path& made() {
  static const fs::path folder = fs::path(GALLOP_TEST_DATA) / "safetensors";
  return folder;
}

TEST(Shards, ReadsAFileOfThePythonPackage) {
  const WeightsReader reader(made() / "types.safetensors");
  expect_the_made_tensors(reader);
  EXPECT_EQ(reader.files(), 1u);
  EXPECT_EQ(reader.metadata(), (Metadata{{"format", "pt"},
                                         {"note",
                                          "gr\xc3\xbc\xc3\x9f"
                                          "e \"all\"\n"}}));
}

TEST(Shards, ReadsShardsOfHuggingFaceByFolderAndByIndex) {
  const fs::path folder = made() / "shards";
  for (const fs::path& path : {folder, folder / "model.safetensors.index.json"}) {
    const WeightsReader reader(path);
    expect_the_made_tensors(reader);
    EXPECT_EQ(reader.files(), 3u);
    EXPECT_EQ(reader.metadata().at("format"), "pt");
  }
}

class WrittenShards : public ::testing::Test {
 protected:
  std::vector<fs::path> files() {
    std::vector<fs::path> names;
    for (const fs::path& path : list_folder(dir_.path())) names.push_back(path.filename());
    return names;
  }
  fs::path write(uint64_t shard_size) {
    return write_shards(dir_ / "w.safetensors", tensors_, {{"k", "v"}}, shard_size);
  }
  std::string error_of(const std::string& index) {
    put_file(dir_ / "w.safetensors.index.json", index);
    return message_of([&] { WeightsReader reader(dir_.path()); });
  }

  TemporaryDirectory dir_;
  const std::vector<uint8_t> bytes_ = {1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<TensorView> tensors_ = {
      {"a", DType::U8, {3}, std::as_bytes(std::span(bytes_).first(3))},
      {"b", DType::U8, {2}, std::as_bytes(std::span(bytes_).first(2))},
      {"c", DType::U8, {8}, std::as_bytes(std::span(bytes_))},
      {"d", DType::U8, {0}, {}},
      {"e", DType::U8, {1}, std::as_bytes(std::span(bytes_).first(1))}};
};

TEST_F(WrittenShards, AreFilledInOrder) {
  // a and b fill 5 bytes, c is larger than a shard and stands alone with the empty d, e is left.
  EXPECT_EQ(write(5), dir_ / "w.safetensors.index.json");
  EXPECT_EQ(files(),
            (std::vector<fs::path>{"w-00001-of-00003.safetensors", "w-00002-of-00003.safetensors",
                                   "w-00003-of-00003.safetensors", "w.safetensors.index.json"}));
  const WeightsReader reader(dir_.path());
  ASSERT_EQ(reader.tensors().size(), tensors_.size());
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const TensorView& t = reader.tensors()[i];
    EXPECT_EQ(t.name, tensors_[i].name);
    EXPECT_TRUE(
        std::equal(t.data.begin(), t.data.end(), tensors_[i].data.begin(), tensors_[i].data.end()));
  }
  EXPECT_EQ(reader.metadata(), (Metadata{{"k", "v"}}));
  EXPECT_NE(SafetensorsReader(dir_ / "w-00001-of-00003.safetensors").find("b"), nullptr);
  EXPECT_NE(SafetensorsReader(dir_ / "w-00002-of-00003.safetensors").find("d"), nullptr);
  EXPECT_EQ(read_file(dir_ / "w.safetensors.index.json").substr(0, 48),
            "{\n  \"metadata\": {\n    \"total_size\": 14\n  },\n  \"w");
}

TEST_F(WrittenShards, AreOneFileWhereThatIsEnough) {
  write(5);
  EXPECT_EQ(write(14), dir_ / "w.safetensors");
  EXPECT_EQ(WeightsReader(dir_ / "w.safetensors").tensors().size(), 5u);
  EXPECT_FALSE(fs::exists(dir_ / "w.safetensors.index.json"));  // it would name old shards
  EXPECT_THAT(message_of([&] { write(0); }), HasSubstr("at least 1 byte"));
  EXPECT_THAT(message_of([&] { write_shards(dir_ / "w.pt", tensors_, {}, 5); }),
              HasSubstr("must end in .safetensors"));
}

TEST_F(WrittenShards, AreRefusedWhereTheyDisagreeWithTheIndex) {
  write(5);
  const std::string a = R"("a": "w-00001-of-00003.safetensors")",
                    b = R"("b": "w-00001-of-00003.safetensors")";
  const auto map = [](const std::string& entries) { return "{\"weight_map\": {" + entries + "}}"; };
  EXPECT_EQ(error_of(map(a + "," + b)), "no error");
  EXPECT_THAT(error_of(map(a)), HasSubstr("\"b\", which it does not list"));
  EXPECT_THAT(error_of(map(a + "," + b + R"(,"x": "w-00001-of-00003.safetensors")")),
              HasSubstr("\"x\" is not in 'w-00001-of-00003.safetensors'"));
  EXPECT_THAT(error_of(map(a + R"(,"b": "w-00003-of-00003.safetensors")")),
              HasSubstr("\"b\", which should be in 'w-00003-of-00003.safetensors'"));
  EXPECT_THAT(error_of(map(a + "," + b + "," + b)), HasSubstr("twice"));
  EXPECT_THAT(error_of(map(R"("a": "missing.safetensors")")), HasSubstr("missing.safetensors"));
}

TEST_F(WrittenShards, AreRefusedWithABadIndex) {
  for (const char* index : {"", "[]", "{}", R"({"weight_map": []})", R"({"weight_map": {}})",
                            R"({"weight_map": {"a": 1}})", R"({"weight_map": {"a": ""}})",
                            R"({"weight_map": {"a": "w.bin"}})",
                            R"({"weight_map": {"a": "../w-00001-of-00003.safetensors"}})",
                            R"({"weight_map": {"a": "/w-00001-of-00003.safetensors"}})",
                            R"({"weight_map": {"a": "sub/w.safetensors"}})"})
    EXPECT_THAT(error_of(index), HasSubstr("w.safetensors.index.json")) << index;
  write(5);
  put_file(dir_ / "v.safetensors.index.json", "{}");
  EXPECT_THAT(message_of([&] { WeightsReader reader(dir_.path()); }), HasSubstr("several"));
  const TemporaryDirectory empty;
  EXPECT_EQ(index_in_folder(empty.path()), empty.path());
  EXPECT_NE(message_of([&] { WeightsReader reader(empty.path()); }), "no error");
}

TEST_F(WrittenShards, RefuseANameTwice) {
  write(5);
  tensors_.back().name = "a";  // which would be in another shard
  EXPECT_THAT(message_of([&] { write(5); }), HasSubstr("\"a\" is there twice"));
  EXPECT_EQ(WeightsReader(dir_.path()).tensors().size(), 5u);
}

// No index without all its shards.
TEST_F(WrittenShards, AFailedWriteLeavesNoIndex) {
  write(5);
  test::FailingFileSystem full(test::FailingFileSystem::Fault::stay_full, 12);
  {
    const auto guard = replace_file_system(full);
    EXPECT_THROW(write(4), Error);
  }
  EXPECT_FALSE(fs::exists(dir_ / "w.safetensors.index.json"));
}

}  // namespace
}  // namespace gallop::formats
