#include "gallop/formats/torch_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "gallop/formats/half.h"
#include "tests/support/data_files.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/zip_bytes.h"

namespace gallop::formats {
namespace {

using ::gallop::testing::message_of;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// A file that tests/tools/make_torch_files.py made.
fs::path made(const std::string& name) { return fs::path(GALLOP_TEST_DATA) / "torch" / name; }

std::string error_of(const std::string& name, const std::string& key = "") {
  return message_of([&] { TorchFile(made(name)).tensors(key); });
}

template <class T = float>
std::vector<double> values(const TensorView& t) {
  EXPECT_EQ(size_of(t.dtype), sizeof(T));
  std::vector<double> list;
  for (size_t at = 0; at < t.data.size(); at += sizeof(T)) {
    T value;
    std::memcpy(&value, t.data.data() + at, sizeof value);
    list.push_back(static_cast<double>(value));
  }
  return list;
}

std::vector<double> counting(double first, size_t n) {
  std::vector<double> list(n);
  for (size_t i = 0; i < n; ++i) list[i] = first + static_cast<double>(i);
  return list;
}

/// The script's Network: names and shapes in this order, elements that count on from first + 100 i.
void expect_network(const std::vector<TensorView>& tensors, double first) {
  const std::pair<const char*, std::vector<int64_t>> expected[] = {
      {"pos_embed", {1, 4, 2}},
      {"count", {}},
      {"x_embedder.proj.weight", {2, 1, 2, 2}},
      {"x_embedder.proj.bias", {2}},
      {"blocks.0.weight", {3, 2}},
      {"blocks.0.bias", {3}},
      {"blocks.1.weight", {3, 2}},
      {"blocks.1.bias", {3}}};
  ASSERT_EQ(tensors.size(), std::size(expected));
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorView& t = tensors[i];
    EXPECT_EQ(t.name, expected[i].first);
    EXPECT_EQ(t.shape, expected[i].second);
    const bool integer = t.name == "count";
    EXPECT_EQ(t.dtype, integer ? DType::I64 : DType::F32);
    EXPECT_EQ(integer ? values<int64_t>(t) : values(t),
              counting(first + 100.0 * static_cast<double>(i), t.data.size() / size_of(t.dtype)))
        << t.name;
  }
}

TEST(TorchFile, ReadsAStateDict) {
  TorchFile file(made("plain.pt"));
  ASSERT_EQ(file.parts().size(), 1u);
  EXPECT_EQ(file.parts()[0].key, "");
  EXPECT_EQ(file.parts()[0].text, "8 tensors");
  EXPECT_TRUE(file.parts()[0].weights);
  expect_network(file.tensors(""), 0);
}

TEST(TorchFile, ReadsATrainingCheckpoint) {
  for (const char* name : {"training.pt", "training-protocol-4.pt"}) {
    TorchFile file(made(name));
    const auto parts = file.parts();
    ASSERT_EQ(parts.size(), 4u) << name;
    EXPECT_EQ(parts[0].key + ": " + parts[0].text, "model: 8 tensors");
    EXPECT_EQ(parts[1].key + ": " + parts[1].text, "ema: 8 tensors");
    EXPECT_EQ(parts[2].key + ": " + parts[2].text, "opt: a dict of 2");
    EXPECT_EQ(parts[3].key + ": " + parts[3].text, "args: an object of argparse.Namespace");
    EXPECT_TRUE(parts[0].weights && parts[1].weights && !parts[2].weights && !parts[3].weights);
    expect_network(file.tensors("model"), 0);
    expect_network(file.tensors("ema"), 1000);
    EXPECT_THAT(message_of([&] { file.tensors("opt"); }),
                HasSubstr("\"opt\", \"state\": it is a dict"));
    EXPECT_THAT(message_of([&] { file.tensors("args"); }), HasSubstr("no dictionary of tensors"));
    EXPECT_THAT(message_of([&] { file.tensors("none"); }), HasSubstr("no key \"none\""));
  }
}

TEST(TorchFile, ReadsParameters) {
  TorchFile file(made("parameters.pt"));
  const auto tensors = file.tensors("state_dict");
  ASSERT_EQ(tensors.size(), 7u);  // all but the buffer
  EXPECT_EQ(values(tensors[6]), counting(700, 3));
}

TEST(TorchFile, ReadsViewsAndTypes) {
  TorchFile file(made("views.pt"));
  const auto tensors = file.tensors("");
  std::map<std::string, TensorView> by_name;
  for (const TensorView& t : tensors) by_name.emplace(t.name, t);
  EXPECT_EQ(values(by_name.at("whole")), counting(0, 12));
  EXPECT_EQ(by_name.at("transposed").shape, (std::vector<int64_t>{4, 3}));
  EXPECT_THAT(values(by_name.at("transposed")), ElementsAre(0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11));
  EXPECT_EQ(by_name.at("columns").shape, (std::vector<int64_t>{3, 2}));
  EXPECT_THAT(values(by_name.at("columns")), ElementsAre(1, 2, 5, 6, 9, 10));
  EXPECT_EQ(values(by_name.at("rows")), counting(4, 8));
  // A view of rows needs no copy.
  EXPECT_EQ(by_name.at("rows").data.data(), by_name.at("whole").data.data() + 16);
  EXPECT_THAT(values(by_name.at("element")), ElementsAre(11));
  EXPECT_THAT(values<int64_t>(by_name.at("every_second")), ElementsAre(1, 3, 5));
  EXPECT_EQ(by_name.at("none").shape, (std::vector<int64_t>{0, 4}));
  EXPECT_TRUE(by_name.at("none").data.empty());
  EXPECT_EQ(values<double>(by_name.at("double")), counting(0, 12));
  EXPECT_EQ(values<int8_t>(by_name.at("int8")), counting(0, 12));
  EXPECT_EQ(values<uint8_t>(by_name.at("uint8")), counting(0, 12));
  EXPECT_EQ(values<int16_t>(by_name.at("int16")), counting(0, 12));
  EXPECT_EQ(values<int32_t>(by_name.at("int32")), counting(0, 12));
  EXPECT_THAT(values<uint8_t>(by_name.at("bool")), ElementsAre(0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1));
  for (const char* name : {"half", "bfloat16"}) {
    const bool half = by_name.at(name).dtype == DType::F16;
    EXPECT_EQ(by_name.at(name).dtype, half ? DType::F16 : DType::BF16);
    std::vector<double> found;
    for (const double bits : values<uint16_t>(by_name.at(name)))
      found.push_back(half ? from_float16(static_cast<uint16_t>(bits))
                           : from_bfloat16(static_cast<uint16_t>(bits)));
    EXPECT_EQ(found, counting(0, 12)) << name;
  }
}

TEST(TorchFile, RefusesWhatIsNoWeights) {
  EXPECT_THAT(
      error_of("runs-a-program.pt"),
      AllOf(HasSubstr("runs-a-program.pt"), HasSubstr("\"x\": it is what posix.system makes"),
            HasSubstr("nothing of a file is ever executed")));
  EXPECT_THAT(error_of("complex.pt"), AllOf(HasSubstr("\"complex\": its elements are "
                                                      "torch.ComplexFloatStorage"),
                                            HasSubstr(".float()")));
  EXPECT_THAT(error_of("legacy.pt"), HasSubstr("before 1.6"));
  EXPECT_THAT(error_of("expanded.pt"), AllOf(HasSubstr("expanded"), HasSubstr(".contiguous()")));
  EXPECT_THAT(error_of("list.pt"), HasSubstr("is a list of 1, no dictionary"));
  EXPECT_THAT(error_of("tensor.pt"), HasSubstr("is a tensor, no dictionary"));
  EXPECT_THAT(error_of("list.pt", "model"), HasSubstr("without keys"));
  EXPECT_EQ(TorchFile(made("tensor.pt")).parts()[0].text, "a tensor");
}

/// A checkpoint of one tensor "w" in a storage of 12 floats; `layout` stands for the arguments
/// after the storage, `elements` for the size that the pickle says.
std::string checkpoint(const std::string& layout, const std::string& elements = "K\x0c",
                       size_t bytes = 48) {
  const auto text = [](const std::string& value) {
    return std::string("X") + static_cast<char>(value.size()) + std::string(3, '\0') + value;
  };
  const std::string pickle = "\x80\x02}" + text("w") + "ctorch._utils\n_rebuild_tensor_v2\n((" +
                             text("storage") + "ctorch\nFloatStorage\n" + text("0") + text("cpu") +
                             elements + "tQ" + layout + "tRs.";
  return test::zip_bytes({{"a/data.pkl", pickle}, {"a/data/0", std::string(bytes, '\0')}});
}

std::string error_in(const std::string& file) {
  return message_of([&] { TorchFile(std::as_bytes(std::span(file)), "'t.pt'").tensors(""); });
}

// Offset, shape, strides, requires_grad, hooks, each as its opcodes.
TEST(TorchFile, RefusesViewsThatReachBehindTheirStorage) {
  const std::string rest = "\x89}";
  using namespace std::string_literals;
  EXPECT_EQ(error_in(checkpoint("K\0K\3K\4\x86K\4K\1\x86"s + rest)), "no error");
  EXPECT_EQ(error_in(checkpoint("K\x08K\4\x85K\1\x85"s + rest)), "no error");
  EXPECT_THAT(error_in(checkpoint("K\x09K\4\x85K\1\x85"s + rest)),
              AllOf(HasSubstr("'t.pt', \"w\""), HasSubstr("reach behind the 12 elements")));
  EXPECT_THAT(error_in(checkpoint("K\0K\3K\4\x86K\5K\1\x86"s + rest)), HasSubstr("[5, 1]"));
  EXPECT_THAT(error_in(checkpoint("K\0K\3K\4\x86K\1\x85"s + rest)), HasSubstr("1 strides"));
  EXPECT_THAT(error_in(checkpoint("J\xff\xff\xff\xffK\4\x85K\1\x85"s + rest)),
              HasSubstr("below 0"));
  EXPECT_THAT(error_in(checkpoint("K\0J\xff\xff\xff\xff\x85K\1\x85"s + rest)),
              HasSubstr("below 0"));
  EXPECT_THAT(error_in(checkpoint("K\0K\4\x85J\xff\xff\xff\xff\x85"s + rest)),
              HasSubstr("below 0"));
  EXPECT_THAT(error_in(checkpoint("K\0N\x85K\1\x85"s + rest)), HasSubstr("is None"));
  EXPECT_THAT(error_in(checkpoint("K\0K\4K\1"s + rest)), HasSubstr("a tuple of at most 8"));
  EXPECT_THAT(error_in(checkpoint("K\0(K\1K\1K\1K\1K\1K\1K\1K\1K\1tK\1\x85"s + rest)),
              HasSubstr("at most 8"));
  EXPECT_THAT(error_in(checkpoint("K\0K\4\x85K\1\x85"s)), HasSubstr("4 arguments"));
  // 2^62 * 4 elements, (2^62 - 1) * 4 as the last place, and a repeated element.
  const std::string huge = "\x8a\x08\0\0\0\0\0\0\0\x40"s;
  EXPECT_THAT(error_in(checkpoint("K\0"s + huge + "K\4\x86K\0K\0\x86"s + rest)),
              HasSubstr("reach"));
  EXPECT_THAT(error_in(checkpoint("K\0"s + huge + "\x85K\4\x85"s + rest)), HasSubstr("reach"));
  EXPECT_THAT(error_in(checkpoint("K\0K\x0d\x85K\0\x85"s + rest)), HasSubstr("repeats"));
}

TEST(TorchFile, RefusesStoragesOfAnotherSize) {
  using namespace std::string_literals;
  const std::string layout = "K\0K\4\x85K\1\x85\x89}"s;
  EXPECT_THAT(error_in(checkpoint(layout, "K\x0d")), HasSubstr("48 bytes, not 13 elements of F32"));
  EXPECT_THAT(error_in(checkpoint(layout, "K\x0c", 47)), HasSubstr("47 bytes"));
  EXPECT_THAT(error_in(checkpoint(layout, "N")), HasSubstr("is None"));
  EXPECT_THAT(error_in(checkpoint(layout, "K\x0c}")), HasSubstr("unknown form"));
}

TEST(TorchFile, RefusesCopiesLargerThanTheFile) {
  using namespace std::string_literals;
  // The transposed storage under 100 names: 4,800 bytes from a file of less.
  std::string dict = "\x80\x02}(X\1\0\0\0w"s;
  dict += "ctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"s;
  dict += "0X\3\0\0\0cpuK\x0ctQK\0K\4K\3\x86K\1K\4\x86\x89}tRq\1"s;
  for (int i = 0; i < 99; ++i) dict += "X\2\0\0\0"s + std::to_string(100 + i).substr(1) + "h\1";
  const std::string file =
      test::zip_bytes({{"a/data.pkl", dict + "u."}, {"a/data/0", std::string(48, '\0')}});
  EXPECT_THAT(error_in(file), HasSubstr("more than the whole file"));
}

TEST(TorchFile, RefusesArchivesOfOtherThings) {
  EXPECT_THAT(error_in("not a zip file, but long enough"), HasSubstr("no valid zip"));
  EXPECT_THAT(error_in(test::zip_bytes({{"a/x", ""}})), HasSubstr("no data.pkl"));
  EXPECT_THAT(error_in(test::zip_bytes({{"a/data.pkl", "N."}, {"b/data.pkl", "N."}})),
              HasSubstr("several data.pkl"));
  EXPECT_THAT(error_in(test::zip_bytes({{"a/data.pkl", "}."}, {"a/byteorder", "big"}})),
              HasSubstr("byte order"));
  EXPECT_THAT(error_in(test::zip_bytes({{"a/data.pkl", "}X\1\1\1\1"}})), HasSubstr("data.pkl"));
  EXPECT_THAT(message_of([] { TorchFile(fs::path("/nowhere/x.pt")); }), HasSubstr("/nowhere/x.pt"));
}

TEST(TorchFile, NamesADamagedStorage) {
  std::string file = read_file(made("plain.pt"));
  const float first = 600;  // of blocks.1.weight
  const size_t at = file.find(std::string(reinterpret_cast<const char*>(&first), sizeof first));
  ASSERT_NE(at, std::string::npos);
  file[at] ^= 1;
  EXPECT_THAT(error_in(file), AllOf(HasSubstr("\"blocks.1.weight\""), HasSubstr("checksum")));
}

}  // namespace
}  // namespace gallop::formats
