// Runs on very little data, as a first try often is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "gallop/formats/image.h"
#include "tests/support/data_files.h"
#include "tests/support/program.h"
#include "tests/support/tiny_program.h"

namespace gallop::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class SmallData : public testing::Test {
 protected:
  void put(const std::string& name, uint8_t colour = 100, int64_t side = 8) const {
    fs::create_directories((tiny_ / name).parent_path());
    formats::write_png(
        tiny_ / name,
        {side, side, 1, std::vector<uint8_t>(static_cast<size_t>(side * side), colour)});
  }
  ProgramResult train(const std::string& folder, std::vector<std::string> set = {}) const {
    set.insert(set.begin(), {"task.data.source={kind=\"folder\",path=\"" +
                                 (tiny_ / folder).string() + "\",channels=1,size=8}",
                             "train.steps=10"});
    return run_program(tiny_.train("run", set));
  }
  TinyProgram tiny_;
};

TEST_F(SmallData, ASinglePictureIsLearnedByHeart) {
  put("one/picture.png");
  const auto result = train("one");
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("warning: data: there is a single sample"));
  EXPECT_THAT(result.err, HasSubstr("held-out (1 samples"));
}

TEST_F(SmallData, OnePictureInEachClassTrainsThemAll) {
  for (const char* name : {"few/a/1.png", "few/b/1.png", "few/c/1.png"}) put(name);
  const auto result = train("few");
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("data: 3 samples"));
  EXPECT_THAT(result.err, HasSubstr("warning: data: each class has a single sample"));
  EXPECT_EQ(result.err.find("no training sample"), std::string::npos);
}

TEST_F(SmallData, ARunTellsAtItsStartWhatItDoesNotRead) {
  for (const char* name : {"some/Train/a/1.png", "some/Train/a/2.png", "some/Validation/a/1.png"})
    put(name);
  fs::create_directory(tiny_ / "some/Train/b");
  for (const char* name : {"some/Train/a/3.gif", "some/Train/a/4.gif", "some/Validation/a/2.bmp"})
    put_file(tiny_ / name, "not read");
  const auto result = train("some");
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("some/Train': 2 .gif\n"));
  EXPECT_THAT(result.err, HasSubstr("some/Validation': 1 .bmp\n"));
  EXPECT_THAT(result.err, HasSubstr("1 of 2 classes has no training sample and will not be "
                                    "learned: 1 (b)"));
}

// A calibration reads the two pictures hundreds of times, and decodes them once.
TEST_F(SmallData, LargePicturesAreDecodedOnce) {
  put("large/1.png", 10, 3000);
  put("large/2.png", 200, 3000);
  put("large/3.png", 250, 3000);
  const auto begin = std::chrono::steady_clock::now();
  const auto result = train("large", {"train.batch=64"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
}

}  // namespace
}  // namespace gallop::test
