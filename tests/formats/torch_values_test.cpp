#include "gallop/formats/torch_values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <map>

#include "gallop/base/file.h"
#include "gallop/formats/half.h"
#include "gallop/formats/torch_file.h"
#include "tests/support/errors.h"
#include "tests/support/zip_bytes.h"

// Files that tests/tools/make_torch_value_files.py made.

namespace gallop::formats {
namespace {

using ::gallop::testing::message_of;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

fs::path made(const std::string& name) { return fs::path(GALLOP_TEST_DATA) / "torch" / name; }

std::vector<double> values(const TensorView& t) {
  std::vector<double> list;
  for (size_t at = 0; at < t.data.size(); at += size_of(t.dtype)) {
    const std::byte* from = t.data.data() + at;
    uint64_t bits = 0;
    std::memcpy(&bits, from, size_of(t.dtype));
    if (t.dtype == DType::F32) {
      list.push_back(std::bit_cast<float>(static_cast<uint32_t>(bits)));
    } else {
      list.push_back(t.dtype == DType::F16 ? from_float16(static_cast<uint16_t>(bits))
                                           : static_cast<double>(bits));
    }
  }
  return list;
}

void expect_weights(const std::vector<TensorView>& tensors, double first, const std::string& what) {
  ASSERT_EQ(tensors.size(), 2u) << what;
  EXPECT_EQ(tensors[0].name, "w");
  EXPECT_EQ(tensors[0].shape, (std::vector<int64_t>{2, 3}));
  EXPECT_THAT(values(tensors[0]),
              ElementsAre(first, first + 1, first + 2, first + 3, first + 4, first + 5))
      << what;
  EXPECT_THAT(values(tensors[1]), ElementsAre(first, first + 1)) << what;
}

/// The part X of a file that holds {model, ema, X}.
TorchFile::Part beside(const std::string& kind) {
  const auto parts = TorchFile(made("beside/" + kind + ".pt")).parts();
  EXPECT_EQ(parts.size(), 3u) << kind;
  return parts.size() == 3 ? parts[2] : TorchFile::Part();
}

// Whatever stands beside weights, they are read, and X is no set of weights.
TEST(TorchValues, WeightsAreReadBesideEveryKindOfValue) {
  size_t files = 0;
  for (const auto& entry : fs::directory_iterator(made("beside"))) {
    const std::string what = entry.path().filename().string();
    ++files;
    TorchFile file(entry.path());
    const auto parts = file.parts();
    ASSERT_EQ(parts.size(), 3u) << what;
    EXPECT_TRUE(parts[0].weights && parts[1].weights && !parts[2].weights) << what;
    EXPECT_THAT(parts[0].unknown, IsEmpty()) << what;
    expect_weights(file.tensors("model"), 0, what);
    expect_weights(file.tensors("ema"), 100, what);
  }
  EXPECT_EQ(files, 43u);
}

// What torch.load(weights_only=True) or numpy know, and plain data of Python's library.
TEST(TorchValues, KnownKindsAreUnderstood) {
  const std::pair<const char*, const char*> known[] = {
      {"numpy-scalar", "a numpy array"},
      {"numpy-array", "a numpy array"},
      {"numpy-objects", "a numpy array"},
      {"numpy-dates", "a numpy array"},
      {"path", "what pathlib.PurePosixPath makes"},
      {"counter", "a dict of 2"},
      {"defaultdict", "a dict of 1"},
      {"dtype", "torch.float32"},
      {"set", "a set of 2"},
      {"frozenset", "a set of 1"},
      {"slice", "what builtins.slice makes"},
      {"bytes", "what _codecs.encode makes"},
      {"bytearray", "what builtins.bytearray makes"},
      {"datetime", "what datetime.datetime makes"},
      {"timedelta", "what datetime.timedelta makes"},
      {"big-integer", "an integer of more than 64 bits"},
      {"deque", "a list of 2"},
      {"complex", "what builtins.complex makes"},
      {"range", "what builtins.range makes"},
      {"decimal", "what decimal.Decimal makes"},
      {"namespace", "what types.SimpleNamespace makes"},
      {"python-random", "a tuple of 3"},
      {"optimizer", "a dict of 2"},
      {"device", "what torch.device makes"},
      {"size", "what torch.Size makes"},
      {"complex-tensor", "a tensor"},
      {"float8-tensor", "a tensor"},
      {"sparse-tensor", "what torch._utils._rebuild_sparse_tensor makes"},
      {"quantized-tensor", "what torch._utils._rebuild_qtensor makes"},
      {"meta-tensor", "what torch._utils._rebuild_meta_tensor_no_storage makes"},
      {"none-keys", "a dict of 2"},
      {"storage", "an object outside the pickle"}};
  for (const auto& [kind, text] : known) {
    const auto part = beside(kind);
    EXPECT_EQ(part.text, text) << kind;
    EXPECT_THAT(part.unknown, IsEmpty()) << kind;
  }
}

TEST(TorchValues, UnknownKindsAreListedByTheirNames) {
  EXPECT_THAT(beside("object").unknown, ElementsAre("__main__.Settings"));
  EXPECT_EQ(beside("object").text, "an object of __main__.Settings");
  EXPECT_THAT(beside("class").unknown, ElementsAre("__main__.Settings"));
  EXPECT_THAT(beside("enum").unknown, ElementsAre("__main__.Mode"));
  EXPECT_THAT(beside("dict-subclass").unknown, ElementsAre("__main__.Options"));
  EXPECT_THAT(beside("module").unknown, ElementsAre("torch.nn.modules.linear.Linear"));
  EXPECT_THAT(beside("numpy-random").unknown, ::testing::Not(IsEmpty()));
  for (const char* protocol : {"3", "4", "5"})
    EXPECT_THAT(beside("all-protocol-" + std::string(protocol)).unknown,
                ::testing::IsSupersetOf({"__main__.Settings", "__main__.Mode", "__main__.Options",
                                         "torch.nn.modules.linear.Linear"}))
        << protocol;
}

TEST(TorchValues, MatterInsideOfWhatIsAskedFor) {
  TorchFile file(made("object-inside.pt"));
  EXPECT_FALSE(file.parts()[0].weights);
  expect_weights(file.tensors("ema"), 100, "ema");
  EXPECT_THAT(message_of([&] { file.tensors("model"); }),
              AllOf(HasSubstr("\"model\", \"X\": it is an object of __main__.Settings, no tensor"),
                    HasSubstr("nothing of a file is ever executed")));
  EXPECT_THAT(message_of([&] { TorchFile(made("beside/float8-tensor.pt")).tensors("X"); }),
              HasSubstr("is a tensor, no dictionary"));
  EXPECT_THAT(message_of([&] { TorchFile(made("whole-module.pt")).tensors(""); }),
              AllOf(HasSubstr("an object of torch.nn.modules.container.Sequential"),
                    HasSubstr("state_dict()")));
  EXPECT_THAT(message_of([&] { TorchFile reader(made("script.pt")); }),
              HasSubstr("TorchScript program"));
}

TEST(TorchValues, ArraysOfNumpyAreTensors) {
  for (const char* name : {"numpy-weights-protocol-2.pt", "numpy-weights-protocol-5.pt"}) {
    TorchFile file(made(name));
    EXPECT_TRUE(file.parts()[0].weights) << name;
    std::map<std::string, TensorView> by_name;
    for (const TensorView& t : file.tensors("")) by_name.emplace(t.name, t);
    ASSERT_EQ(by_name.size(), 8u) << name;
    for (const char* counting : {"f4", "columns", "f2", "i8"}) {
      EXPECT_EQ(by_name.at(counting).shape, (std::vector<int64_t>{2, 3})) << counting;
      EXPECT_THAT(values(by_name.at(counting)), ElementsAre(0, 1, 2, 3, 4, 5)) << counting;
    }
    EXPECT_EQ(by_name.at("f2").dtype, DType::F16);
    EXPECT_EQ(by_name.at("i8").dtype, DType::I64);
    EXPECT_EQ(by_name.at("bool").dtype, DType::BOOL);
    EXPECT_THAT(values(by_name.at("bool")), ElementsAre(0, 0, 0, 1, 1, 1));
    EXPECT_EQ(by_name.at("none").shape, (std::vector<int64_t>{0, 3}));
    EXPECT_EQ(by_name.at("scalar").shape, std::vector<int64_t>());
    EXPECT_THAT(values(by_name.at("scalar")), ElementsAre(7));
    EXPECT_THAT(values(by_name.at("tensor")), ElementsAre(0, 1, 2));
  }
  EXPECT_THAT(message_of([] { TorchFile(made("numpy-big-endian.pt")).tensors(""); }),
              AllOf(HasSubstr("\"w\""), HasSubstr("other byte order")));
  EXPECT_THAT(message_of([] { TorchFile(made("numpy-objects.pt")).tensors(""); }),
              AllOf(HasSubstr("\"w\""), HasSubstr("Python objects")));
}

TEST(TorchValues, TheLessUsualFormsOfTensorsAreRead) {
  TorchFile file(made("other-forms.pt"));
  EXPECT_TRUE(file.parts()[0].weights);
  std::map<std::string, TensorView> by_name;
  for (const TensorView& t : file.tensors("")) by_name.emplace(t.name, t);
  EXPECT_THAT(values(by_name.at("attributed")), ElementsAre(0, 1, 2));
  EXPECT_THAT(values(by_name.at("parameter")), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(values(by_name.at("buffer")), ElementsAre(0, 1));
  EXPECT_EQ(by_name.at("u16").dtype, DType::U16);
  EXPECT_THAT(values(by_name.at("u16")), ElementsAre(0, 1, 2));
  EXPECT_EQ(by_name.at("u32").dtype, DType::U32);
  EXPECT_THAT(values(by_name.at("u32")), ElementsAre(1, 2, 3));
  EXPECT_EQ(by_name.at("u64").dtype, DType::U64);
  EXPECT_THAT(values(by_name.at("u64")), ElementsAre(0, 1, 2, 3, 4));
}

// ---- hostile files -----------------------------------------------------------------------------

std::string text(const std::string& value) {  // BINUNICODE
  return std::string("X") + static_cast<char>(value.size()) + std::string(3, '\0') + value;
}

std::string error_in(const std::string& pickle) {
  const std::string file = test::zip_bytes({{"a/data.pkl", pickle}});
  return message_of([&] { TorchFile(std::as_bytes(std::span(file)), "'t.pt'").tensors(""); });
}

TEST(TorchValues, RefuseArraysOfOtherSizesAndForms) {
  using namespace std::string_literals;
  const std::string f4 = "cnumpy\ndtype\n"s + text("f4") + "\x85R";
  const auto with = [&](const std::string& shape, const std::string& data) {
    return error_in("}" + text("w") + "cnumpy._core.multiarray\n_reconstruct\n)R(K\1" + shape + f4 +
                    "\x89" + data + "tbs.");
  };
  const std::string eight = "C\x08" + std::string(8, '\0');
  EXPECT_EQ(with("K\2\x85", eight), "no error");
  EXPECT_THAT(with("K\3\x85", eight), HasSubstr("[3] of F32 does not fit its 8 bytes"));
  EXPECT_THAT(with("J\xff\xff\xff\xff\x85", eight), HasSubstr("below 0"));
  const std::string huge = "\x8a\x08\0\0\0\0\0\0\0\x40"s;
  EXPECT_THAT(with(huge + huge + "\x86", eight), HasSubstr("does not fit"));
  EXPECT_THAT(with("K\2", eight), HasSubstr("a tuple of at most 8"));
  EXPECT_THAT(with("K\2\x85", "N"), HasSubstr("its elements are None"));
  const auto latin1 = [&](const std::string& value) {
    return "c_codecs\nencode\n" + text(value) + text("latin1") + "\x86R";
  };
  EXPECT_EQ(with("K\2\x85", latin1("abcd\xc2\x80\xc3\xbf"
                                   "ab")),
            "no error");
  EXPECT_THAT(with("K\2\x85", latin1("abcdef\xc4\x80")), HasSubstr("more than bytes"));
  EXPECT_THAT(with("K\2\x85", latin1("abcdefg\xc3")), HasSubstr("more than bytes"));
  EXPECT_THAT(error_in("}" + text("w") + "cnumpy._core.multiarray\n_reconstruct\n)Rs."),
              HasSubstr("no state"));
  EXPECT_THAT(error_in("}" + text("w") + "cnumpy._core.multiarray\nscalar\n)Rs."),
              HasSubstr("0 arguments"));
  EXPECT_THAT(error_in("}" + text("w") + "cnumpy._core.multiarray\nscalar\nNN\x86Rs."),
              HasSubstr("its type is None"));
  EXPECT_THAT(error_in("}" + text("w") + "ctorch._utils\n_rebuild_parameter\n)Rs."),
              HasSubstr("what torch._utils._rebuild_parameter makes, no tensor"));
}

// One value under very many keys, each of which holds very many, is looked at once.
TEST(TorchValues, ManyKeysOfOneLargeValueTakeNoTime) {
  constexpr int n = 100'000;
  std::string pickle = "}]q\1(";
  for (int i = 0; i < n; ++i) pickle += "N";
  pickle += "e0(";
  for (int i = 0; i < n; ++i) pickle += text(std::to_string(i)) + "h\1";
  pickle += "u.";
  const std::string file = test::zip_bytes({{"a/data.pkl", pickle}});
  const TorchFile reader(std::as_bytes(std::span(file)), "'t.pt'");
  EXPECT_EQ(reader.parts().size(), static_cast<size_t>(n));
}

// A value inside of itself, and one inside of another 100,000 deep.
TEST(TorchValues, CyclesAndDepthAreWalkedThrough) {
  const std::string cycle = test::zip_bytes({{"a/data.pkl", "]q\1h\1a(cmy\nThing\ne."}});
  EXPECT_THAT(TorchFile(std::as_bytes(std::span(cycle)), "'t.pt'").parts()[0].unknown,
              ElementsAre("my.Thing"));
  const std::string deep =
      test::zip_bytes({{"a/data.pkl", std::string(100'000, ']') + "cmy\nThing\n" +
                                          std::string(100'000, 'a') + "."}});
  EXPECT_THAT(TorchFile(std::as_bytes(std::span(deep)), "'t.pt'").parts()[0].unknown,
              ElementsAre("my.Thing"));
}

TEST(TorchValues, NotManyNamesAreListed) {
  std::string pickle = "](";
  for (int i = 0; i < 1000; ++i) pickle += "cmy\nThing" + std::to_string(i) + "\n";
  const std::string file = test::zip_bytes({{"a/data.pkl", pickle + "e."}});
  EXPECT_EQ(TorchFile(std::as_bytes(std::span(file)), "'t.pt'").parts()[0].unknown.size(),
            max_unknown);
}

}  // namespace
}  // namespace gallop::formats
