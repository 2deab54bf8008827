#include "gallop/formats/event_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <ctime>
#include <fstream>

#include "gallop/base/error.h"
#include "gallop/formats/crc32c.h"
#include "gallop/formats/protobuf.h"
#include "tests/support/failing_file_system.h"
#include "tests/support/temporary_directory.h"

namespace gallop::formats {
namespace {

using test::FailingFileSystem;
using test::TemporaryDirectory;

std::span<const std::byte> bytes_of(std::string_view s) { return std::as_bytes(std::span(s)); }

// RFC 3720, appendix B.4, and the usual check value.
TEST(Crc32c, KnownAnswers) {
  EXPECT_EQ(crc32c(bytes_of("")), 0u);
  EXPECT_EQ(crc32c(bytes_of("123456789")), 0xe3069283u);
  EXPECT_EQ(crc32c(bytes_of(std::string(32, '\0'))), 0x8a9136aau);
  EXPECT_EQ(crc32c(bytes_of(std::string(32, '\xff'))), 0x62a8ab43u);
}

// Examples of the encoding guide: field 1 = 150 is 08 96 01, field 2 = "testing" is 12 07 ...
TEST(Protobuf, KnownBytes) {
  ProtoWriter m;
  m.integer(1, 150);
  m.bytes(2, "testing");
  EXPECT_EQ(m.str(), "\x08\x96\x01\x12\x07testing");
  ProtoWriter negative;
  negative.integer(1, -2);
  EXPECT_EQ(negative.str(), "\x08\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01");
  ProtoReader reader(negative.str());
  EXPECT_EQ(reader.next()->integer(), -2);
  EXPECT_FALSE(reader.next().has_value());
}

TEST(Protobuf, RefusesDamage) {
  for (const std::string& message :
       {std::string("\x08"), std::string("\x08\x96"), std::string("\x12\x07tes"),
        std::string("\x09xx"), std::string("\x0b"), std::string("\x00\x01", 2),
        std::string("\x08") + std::string(10, '\xff') + "\x01",
        std::string("\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01") + "x"}) {
    EXPECT_THROW(
        {
          ProtoReader reader(message);
          while (reader.next()) {
          }
        },
        Error);
  }
  ProtoReader reader("\x08\x01");
  EXPECT_THROW(reader.next()->string(), Error);
}

// A record as TensorFlow's own writer makes it for the file version (wall time 1.0).
TEST(EventFile, ReadsBytesOfTheFormat) {
  TemporaryDirectory dir;
  const std::string event = std::string("\x09\0\0\0\0\0\0\xf0\x3f\x1a\x0d", 11) + "brain.Event:2";
  std::string record("\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22",
                     12);  // the header every such file begins with
  const uint32_t crc = crc32c(bytes_of(event));
  const uint32_t masked = (crc >> 15 | crc << 17) + 0xa282ead8u;
  record += event;
  for (int i = 0; i < 4; ++i) record += static_cast<char>(masked >> 8 * i);
  std::ofstream(dir / "f", std::ios::binary) << record;
  const auto events = read_events(dir / "f");
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].wall_time, 1.0);
  EXPECT_EQ(events[0].file_version, "brain.Event:2");
}

TEST(EventFile, RoundTrip) {
  TemporaryDirectory dir;
  EventWriter writer(dir / "log");
  writer.scalar("loss", 10, 0.25);
  EXPECT_EQ(read_events(writer.path()).size(), 2u);  // on the disk at once
  writer.scalars({{"a/b", -1e30}, {"nan", NAN}}, int64_t{1} << 40);
  const std::string png("\x89PNG\0\xff", 6);
  writer.image("samples", 20, bytes_of(png), 40, 30, 3);
  writer.text("recipe", 0, "a = 1\n");

  const auto events = read_events(writer.path());
  ASSERT_EQ(events.size(), 5u);
  EXPECT_EQ(events[0].file_version, "brain.Event:2");
  EXPECT_NEAR(events[0].wall_time, static_cast<double>(std::time(nullptr)), 100);
  EXPECT_EQ(events[1].step, 10);
  ASSERT_EQ(events[1].values.size(), 1u);
  EXPECT_EQ(events[1].values[0].tag, "loss");
  EXPECT_EQ(events[1].values[0].scalar, 0.25f);
  EXPECT_EQ(events[2].step, int64_t{1} << 40);
  EXPECT_EQ(events[2].values[0].scalar, -1e30f);
  EXPECT_TRUE(std::isnan(*events[2].values[1].scalar));
  const auto& image = events[3].values[0].image;
  ASSERT_TRUE(image.has_value());
  EXPECT_EQ(image->width, 40);
  EXPECT_EQ(image->height, 30);
  EXPECT_EQ(image->channels, 3);
  EXPECT_EQ(image->png, png);
  EXPECT_EQ(events[4].values[0].text, "a = 1\n");
  for (const Event& e : events) EXPECT_FALSE(e.restart);
}

TEST(EventFile, EachWriterHasItsOwnFile) {
  TemporaryDirectory dir;
  EventWriter first(dir.path()), second(dir.path(), 50);
  EXPECT_NE(first.path(), second.path());
  EXPECT_THAT(first.path().filename().string(),
              testing::MatchesRegex("events\\.out\\.tfevents\\.[0-9]+\\.[-.A-Za-z0-9]+\\.[0-9]+"));
  const auto events = read_events(second.path());
  ASSERT_EQ(events.size(), 2u);
  EXPECT_TRUE(events[1].restart);
  EXPECT_EQ(events[1].step, 50);
}

TEST(EventFile, AfterAFailedWriteAnotherFileGoesOn) {
  TemporaryDirectory dir;
  FailingFileSystem files(FailingFileSystem::Fault::shorten, 4);
  const auto guard = replace_file_system(files);
  EventWriter writer(dir.path());  // 0 folder, 1 create, 2 version
  const fs::path first = writer.path();
  writer.scalar("loss", 1, 1);                       // 3
  EXPECT_THROW(writer.scalar("loss", 2, 2), Error);  // 4
  writer.scalar("loss", 3, 3);
  EXPECT_NE(writer.path(), first);
  EXPECT_THROW(read_events(first), Error);
  const auto events = read_events(writer.path());
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[1].values[0].scalar, 3.0f);
}

TEST(EventFile, RefusesDamage) {
  TemporaryDirectory dir;
  EventWriter writer(dir.path());
  writer.scalar("loss", 1, 1);
  const std::string whole = read_file(writer.path());
  const size_t second = 16 + static_cast<unsigned char>(whole[0]);
  for (size_t n = 1; n < whole.size(); ++n) {
    std::ofstream(dir / "cut", std::ios::binary) << whole.substr(0, n);
    if (n == second)
      EXPECT_EQ(read_events(dir / "cut").size(), 1u);
    else
      EXPECT_THROW(read_events(dir / "cut"), Error) << n;
  }
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ 4);
    std::ofstream(dir / "changed", std::ios::binary) << changed;
    EXPECT_THROW(read_events(dir / "changed"), Error) << i;
  }
  EXPECT_THROW(read_events(dir / "none"), Error);
}

TEST(EventFile, AnUnwritableFolderIsAnError) {
  EXPECT_THROW(EventWriter("/proc/no-such-folder"), Error);
}

}  // namespace
}  // namespace gallop::formats
