#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "gallop/base/file.h"
#include "gallop/runs/checkpoint.h"
#include "tests/support/snapshots.h"
#include "tests/support/temporary_directory.h"

namespace gallop::training {
namespace {

using test::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Damage on disk: two good checkpoints, the newer one is broken in some way.
class CheckpointDamage : public ::testing::Test {
 protected:
  CheckpointDamage() : store_(run_.path(), {}) {
    store_.save(snapshot_of(10), recipe_of_step(10));
    newer_ = store_.save(snapshot_of(20), recipe_of_step(20));
    for (const std::string& name : names_in(newer_)) content_[name] = read_file(newer_ / name);
  }

  void restore() {
    for (const auto& [name, content] : content_) put(newer_ / name, content);
  }

  void expect_passed_over(const std::string& file, const std::string& how) {
    const std::string error = message_of([&] { runs::verify_checkpoint(newer_); });
    EXPECT_THAT(error, HasSubstr(file)) << how;
    ::testing::internal::CaptureStderr();
    const auto newest = store_.newest();
    const std::string warning = ::testing::internal::GetCapturedStderr();
    EXPECT_THAT(warning, AllOf(HasSubstr("step-00000020"), HasSubstr(file))) << how;
    ASSERT_TRUE(newest.has_value()) << how;
    EXPECT_EQ(newest->step, 10) << how;
  }

  TemporaryDirectory run_;
  runs::CheckpointStore store_;
  fs::path newer_;
  std::map<std::string, std::string> content_;
};

TEST_F(CheckpointDamage, AFlippedByteAnywhere) {
  for (const auto& [name, content] : content_) {
    const size_t stride = name.ends_with(".safetensors") ? 17 : 1;
    for (size_t at = 0; at < content.size(); at += stride) {
      std::string damaged = content;
      damaged[at] = static_cast<char>(damaged[at] ^ 1);
      put(newer_ / name, damaged);
      EXPECT_THAT(message_of([&] { runs::verify_checkpoint(newer_); }), HasSubstr(newer_.string()))
          << name << " with byte " << at << " flipped";
    }
    std::string damaged = content;
    damaged[content.size() / 2] ^= 1;
    put(newer_ / name, damaged);
    expect_passed_over(name == "manifest.json" ? "step-00000020" : name, "flipped " + name);
    restore();
  }
  EXPECT_EQ(store_.newest()->step, 20);
}

TEST_F(CheckpointDamage, ATruncatedFile) {
  for (const auto& [name, content] : content_) {
    constexpr size_t places = 100;
    for (size_t i = 0; i < places; ++i) {
      const size_t size = i * (content.size() - 1) / places;  // never without the last newline only
      put(newer_ / name, content.substr(0, size));
      expect_passed_over(name, name + " cut to " + std::to_string(size));
    }
    put(newer_ / name, content + "x");
    expect_passed_over(name, name + " with a byte more");
    restore();
  }
}

TEST_F(CheckpointDamage, AMissingFile) {
  for (const auto& [name, content] : content_) {
    fs::remove(newer_ / name);
    expect_passed_over(name, "without " + name);
    restore();
  }
}

TEST_F(CheckpointDamage, AManifestThatSaysTooLittle) {
  put(newer_ / "manifest.json", R"({"format": 1, "files": {}})");
  expect_passed_over("manifest.json", "no files");
  put(newer_ / "manifest.json", "[1]");
  expect_passed_over("manifest.json", "an array");
  put(newer_ / "manifest.json", R"({"format": 2, "files": {}})");
  EXPECT_THAT(message_of([&] { runs::verify_checkpoint(newer_); }), HasSubstr("format version 2"));
}

TEST_F(CheckpointDamage, OfAllIsAnErrorAndNoFreshStart) {
  fs::resize_file(newer_ / "model.safetensors", 5);
  fs::remove(run_ / "checkpoints" / "step-00000010" / "state.json");
  EXPECT_THAT(message_of([&] { store_.newest(); }), HasSubstr("none of the 2 checkpoints"));
}

// After a resume from step 10 the run reaches the damaged step again.
TEST_F(CheckpointDamage, IsReplacedWhenTheRunComesByAgain) {
  fs::resize_file(newer_ / "ema.safetensors", 100);
  store_.save(snapshot_of(15), "");
  EXPECT_EQ(store_.newest()->step, 15);
  store_.save(snapshot_of(20, 0.5), "");
  EXPECT_TRUE(equal(runs::CheckpointStore::load(store_.newest()->path), snapshot_of(20, 0.5)));
  EXPECT_THAT(names_in(run_ / "checkpoints"), ElementsAre("step-00000015", "step-00000020"));
}

}  // namespace
}  // namespace gallop::training
