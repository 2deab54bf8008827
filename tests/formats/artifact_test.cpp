#include "gallop/formats/artifact.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"

namespace gallop::formats {
namespace {

using ::testing::HasSubstr;
using testing::message_of;

TEST(Artifact, HasAFileOfItsForm) {
  const Artifact picture{"p", Image{1, 1, 1, {7}}}, text{"t", Text{"*a*"}};
  EXPECT_STREQ(ending_of(picture), ".png");
  EXPECT_THAT(to_file(picture), HasSubstr("PNG"));
  EXPECT_EQ(to_markdown(picture), "");
  EXPECT_STREQ(ending_of(text), ".md");
  EXPECT_EQ(to_file(text), "*a*");

  const Artifact table{"t", Table{{"a", "b,c"}, {{"1", "x \"y\""}, {"2", "p|q"}}}};
  EXPECT_STREQ(ending_of(table), ".csv");
  EXPECT_EQ(to_file(table), "a,\"b,c\"\n1,\"x \"\"y\"\"\"\n2,p|q\n");
  EXPECT_EQ(to_markdown(table), "| a | b,c |\n|---|---|\n| 1 | x \"y\" |\n| 2 | p\\|q |\n");
  EXPECT_THAT(message_of([] { to_file({"t", Table{{"a"}, {{"1", "2"}}}}); }),
              HasSubstr("2 cells where the table has 1"));

  const Artifact plot{"p", Plot{"title", {{"x", "y", {{1, 2, ""}, {2, 3, ""}}}}}};
  EXPECT_STREQ(ending_of(plot), ".svg");
  EXPECT_THAT(to_file(plot), HasSubstr("<svg"));
  EXPECT_THAT(to_markdown(plot), HasSubstr("| 1 | 2 |"));
}

TEST(Artifact, TensorsAreASafetensorsFile) {
  std::vector<std::byte> bytes(8);
  const float values[] = {1.5F, -2.0F};
  std::memcpy(bytes.data(), values, sizeof values);
  const Artifact tensors{"t", Tensors{{{"x", DType::F32, {2}, bytes}}}};
  EXPECT_STREQ(ending_of(tensors), ".safetensors");
  const test::TemporaryDirectory folder;
  write_file_atomically(folder / "t.safetensors", to_file(tensors));
  const SafetensorsReader reader(folder / "t.safetensors");
  EXPECT_EQ(reader.tensors().at(0).name, "x");
  EXPECT_EQ(std::memcmp(reader.tensors().at(0).data.data(), values, sizeof values), 0);
}

}  // namespace
}  // namespace gallop::formats
