#include "gallop/formats/npz.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "gallop/base/error.h"
#include "tests/support/program.h"
#include "tests/support/temporary_directory.h"

namespace gallop::formats {
namespace {

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
  const auto error = [&](const std::vector<TensorView>& arrays) -> std::string {
    try {
      write_npz(folder / "a.npz", arrays);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_THAT(error({{"a", DType::BF16, {2}, bytes_of(u)}}), testing::HasSubstr("BF16"));
  EXPECT_THAT(error({{"a", DType::U8, {5}, bytes_of(u)}}), testing::HasSubstr("[5]"));
  EXPECT_THAT(error({{"a", DType::U8, {-4}, bytes_of(u)}}), testing::HasSubstr("[-4]"));
  EXPECT_THAT(error({{"a", DType::U8, {4}, bytes_of(u)}, {"a", DType::U8, {4}, bytes_of(u)}}),
              testing::HasSubstr("twice"));
  EXPECT_NE(error({{"", DType::U8, {4}, bytes_of(u)}}), "");
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

}  // namespace
}  // namespace gallop::formats
