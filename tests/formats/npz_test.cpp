#include "gallop/formats/npz.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "gallop/formats/npy.h"
#include "tests/support/errors.h"
#include "tests/support/program.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/zip_bytes.h"

namespace gallop::formats {
namespace {

using ::gallop::testing::message_of;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::span<const std::byte> bytes_of(const auto& v) { return std::as_bytes(std::span(v)); }

// Python's own zip reader checks the structure and the checksums; the rest is the .npy format.
constexpr const char* reader = R"(
import ast, struct, sys, zipfile
archive = zipfile.ZipFile(sys.argv[1])
assert archive.testzip() is None
for info in archive.infolist():
    data = archive.read(info)
    assert data[:8] == b"\x93NUMPY\x01\x00", data[:8]
    length, = struct.unpack("<H", data[8:10])
    header = data[10:10 + length]
    assert (10 + length) % 64 == 0 and header.endswith(b"\n")
    h = ast.literal_eval(header.decode())
    assert sorted(h) == ["descr", "fortran_order", "shape"] and h["fortran_order"] is False
    code = {"<f4": "f", "<i8": "q", "|u1": "B", "<f2": "e"}[h["descr"]]
    body = data[10 + length:]
    values = struct.unpack(f"<{len(body) // struct.calcsize(code)}{code}", body)
    print(info.filename, info.compress_type, h["descr"], h["shape"], list(values))
)";

TEST(Npz, IsReadByPython) {
  const std::vector<float> images{0.5f, -1.0f, 3.0f, 4.0f, 5.0f, 1e30f};
  const std::vector<int64_t> labels{3, -1};
  const std::vector<uint8_t> pixels{0, 127, 255};
  const std::vector<uint16_t> half{0x3c00};
  const test::TemporaryDirectory folder;
  write_npz(folder / "a.npz", {{"images", DType::F32, {2, 1, 3}, bytes_of(images)},
                               {"labels", DType::I64, {2}, bytes_of(labels)},
                               {"pixels", DType::U8, {3}, bytes_of(pixels)},
                               {"one", DType::F16, {}, bytes_of(half)},
                               {"none", DType::F32, {0, 4}, {}}});
  test::ProgramOptions options;
  options.program = "/usr/bin/env";
  const auto result =
      test::run_program({"python3", "-c", reader, (folder / "a.npz").string()}, options);
  EXPECT_EQ(result.err, "");
  ASSERT_EQ(result.status, 0);
  EXPECT_EQ(result.out,
            "images.npy 0 <f4 (2, 1, 3) [0.5, -1.0, 3.0, 4.0, 5.0, 1.0000000150474662e+30]\n"
            "labels.npy 0 <i8 (2,) [3, -1]\n"
            "pixels.npy 0 |u1 (3,) [0, 127, 255]\n"
            "one.npy 0 <f2 () [1.0]\n"
            "none.npy 0 <f4 (0, 4) []\n");
}

TEST(Npz, TheSameArraysGiveTheSameFile) {
  const std::vector<uint8_t> u{1, 2};
  const test::TemporaryDirectory folder;
  for (const char* name : {"a.npz", "b.npz"})
    write_npz(folder / name, {{"u", DType::U8, {2}, bytes_of(u)}});
  EXPECT_EQ(read_file(folder / "a.npz"), read_file(folder / "b.npz"));
}

TEST(Npz, RefusesWhatNumpyCouldNotRead) {
  const std::vector<uint8_t> u{1, 2, 3, 4};
  const test::TemporaryDirectory folder;
  const auto error = [&](const std::vector<TensorView>& arrays) {
    return message_of([&] { write_npz(folder / "a.npz", arrays); });
  };
  EXPECT_THAT(error({{"a", DType::BF16, {2}, bytes_of(u)}}), HasSubstr("BF16"));
  EXPECT_THAT(error({{"a", DType::U8, {5}, bytes_of(u)}}), HasSubstr("[5]"));
  EXPECT_THAT(error({{"a", DType::U8, {-4}, bytes_of(u)}}), HasSubstr("[-4]"));
  EXPECT_THAT(error({{"a", DType::U8, {4}, bytes_of(u)}, {"a", DType::U8, {4}, bytes_of(u)}}),
              HasSubstr("twice"));
  EXPECT_NE(error({{"", DType::U8, {4}, bytes_of(u)}}), "no error");
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

/// Files of numpy.savez that tests/tools/make_npz_files.py made: element i of an array is i.
fs::path made(const std::string& name) { return fs::path(GALLOP_TEST_DATA) / "npz" / name; }

std::string error_reading(const std::string& name) {
  return message_of([&] { NpzReader reader(made(name)); });
}

template <class T>
std::vector<T> values_of(const TensorView& array) {
  std::vector<T> values(array.data.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), array.data.data(), array.data.size());
  return values;
}

TEST(NpzReader, ReadsTheTypesOfNumpy) {
  const NpzReader reader(made("types.npz"));
  const std::vector<DType> types{DType::BOOL, DType::U8,  DType::I8,  DType::I16,
                                 DType::U16,  DType::F16, DType::I32, DType::U32,
                                 DType::F32,  DType::F64, DType::I64, DType::U64};
  ASSERT_EQ(reader.tensors().size(), types.size());
  for (size_t i = 0; i < types.size(); ++i) {
    EXPECT_EQ(reader.tensors()[i].dtype, types[i]);
    EXPECT_EQ(reader.tensors()[i].shape, (std::vector<int64_t>{2, 3}));
  }
  EXPECT_EQ(reader.tensors()[0].name, "b1");
  EXPECT_EQ(values_of<uint8_t>(reader.tensors()[0]), (std::vector<uint8_t>{0, 1, 0, 1, 0, 1}));
  EXPECT_EQ(values_of<uint16_t>(reader.tensors()[5])[5], 0x4500);  // 5 as a half
  EXPECT_EQ(values_of<float>(reader.tensors()[8]), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(values_of<int64_t>(reader.tensors()[10]), (std::vector<int64_t>{0, 1, 2, 3, 4, 5}));
}

TEST(NpzReader, ReadsShapes) {
  const NpzReader reader(made("shapes.npz"));
  ASSERT_EQ(reader.tensors().size(), 4u);
  EXPECT_EQ(reader.tensors()[0].shape, std::vector<int64_t>{});
  EXPECT_EQ(values_of<float>(reader.tensors()[0]), std::vector<float>{7});
  EXPECT_EQ(reader.tensors()[1].shape, (std::vector<int64_t>{0, 4}));
  EXPECT_EQ(values_of<float>(reader.tensors()[2]), (std::vector<float>{0, 1, 2, 3, 4}));
  EXPECT_EQ(reader.tensors()[3].shape, (std::vector<int64_t>{1, 2, 1, 2, 1, 1, 1, 2}));
}

TEST(NpzReader, ReadsWhatWasWritten) {
  const std::vector<float> x{1, 2, 3, 4};
  const test::TemporaryDirectory folder;
  write_npz(folder / "a.npz", {{"x", DType::F32, {2, 2}, bytes_of(x)}});
  const NpzReader reader(folder / "a.npz");
  ASSERT_EQ(reader.tensors().size(), 1u);
  EXPECT_EQ(reader.tensors()[0].name, "x");
  EXPECT_EQ(values_of<float>(reader.tensors()[0]), x);
}

TEST(NpzReader, SaysWhatToDoAboutOtherArrays) {
  EXPECT_THAT(error_reading("compressed.npz"), HasSubstr("not of savez_compressed"));
  EXPECT_THAT(error_reading("objects.npz"), HasSubstr("Python objects, which are never loaded"));
  EXPECT_THAT(error_reading("big-endian.npz"), HasSubstr("newbyteorder('<')"));
  EXPECT_THAT(error_reading("columns.npz"), HasSubstr("\"x.npy\": it is stored by columns"));
  EXPECT_THAT(error_reading("records.npz"), HasSubstr("save each field apart"));
  EXPECT_THAT(error_reading("complex.npz"), HasSubstr("\"<c8\", which is none"));
  EXPECT_THAT(error_reading("words.npz"), HasSubstr("\"<U3\", which is none"));
  EXPECT_THAT(error_reading("rank-9.npz"), HasSubstr("more than 8 dimensions"));
}

TEST(NpzReader, RefusesDamage) {
  const auto error = [](const std::string& zip) {
    return message_of([&] { NpzReader(bytes_of(zip), "'a.npz'"); });
  };
  EXPECT_THAT(error(test::zip_bytes({{"x.txt", "1"}})), HasSubstr("\"x.txt\": only NAME.npy"));
  EXPECT_THAT(error(test::zip_bytes({{".npy", "1"}})), HasSubstr("only NAME.npy"));
  EXPECT_THAT(error(test::zip_bytes({{"x.npy", "1"}})), StartsWith("'a.npz', \"x.npy\": it does"));
  std::string changed = read_file(made("shapes.npz"));
  changed[changed.find("fortran")] ^= 1;
  EXPECT_THAT(error(changed), HasSubstr("the checksum of \"scalar.npy\" is wrong"));
}

TEST(Npy, RefusesBadHeaders) {
  const auto file = [](const std::string& header, size_t elements = 24) {
    return "\x93NUMPY" + std::string{1, 0, static_cast<char>(header.size()), 0} + header +
           std::string(elements, 'x');
  };
  const auto error = [](const std::string& bytes) {
    return message_of([&] { read_npy("x", bytes_of(bytes)); });
  };
  const std::string good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n";
  ASSERT_EQ(error(file(good)), "no error");
  for (size_t n = 0; n < file(good).size(); ++n)
    EXPECT_NE(error(file(good).substr(0, n)), "no error") << n;
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string header = good;
    return error(file(header.replace(header.find(from), from.size(), to)));
  };
  EXPECT_EQ(with("(2, 3)", "(2L, 3L,)"), "no error");
  EXPECT_EQ(with("'descr'", "\"descr\""), "no error");
  EXPECT_THAT(with("(2, 3)", "(2, 4)"), HasSubstr("[2, 4] of F32 does not fit its 24 bytes"));
  EXPECT_THAT(with("(2, 3)", "(4611686018427387904, 4)"), HasSubstr("does not fit"));
  EXPECT_THAT(with("(2, 3)", "(99999999999999999999,)"), HasSubstr("for a dimension"));
  EXPECT_THAT(with("(2, 3)", "(-1, 3)"), HasSubstr("for a dimension"));
  EXPECT_THAT(with("(2, 3)", "(2 3)"), HasSubstr("where \")\" should be"));
  EXPECT_THAT(with("False", "0"), HasSubstr("where \"False\" should be"));
  EXPECT_THAT(with("descr", "shape"), HasSubstr("should be"));
  EXPECT_THAT(with("'descr': '<f4', ", ""), HasSubstr("lacks"));
  EXPECT_THAT(with("}", ", 'more': 1}"), HasSubstr("where"));
  EXPECT_THAT(with("}", "'more': 1}"), HasSubstr("unknown key \"more\""));
  EXPECT_THAT(with("}", "'descr': '<f4'}"), HasSubstr("'descr' twice"));
  EXPECT_THAT(with("}\n", "} + 1"), HasSubstr("goes on with \"+ 1\""));
  std::string version = file(good);
  version[6] = 4;
  EXPECT_THAT(error(version), HasSubstr("version 4.0"));
}

}  // namespace
}  // namespace gallop::formats
