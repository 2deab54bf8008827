#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <memory>

#include "gallop/formats/image.h"
#include "gallop/formats/safetensors.h"
#include "tests/support/idx_files.h"
#include "tests/support/program.h"
#include "tests/support/temporary_directory.h"

namespace gallop::test {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

/// `samples` and `labels` of a dump.
struct Dump {
  explicit Dump(const fs::path& file) : reader(file) {
    const formats::TensorView* view = reader.find("samples");
    if (view == nullptr) return;
    shape = view->shape;
    samples.resize(view->data.size() / sizeof(float));
    std::memcpy(samples.data(), view->data.data(), view->data.size());
    if (const formats::TensorView* label = reader.find("labels")) {
      labels.resize(label->data.size() / sizeof(int64_t));
      std::memcpy(labels.data(), label->data.data(), label->data.size());
    }
  }
  size_t size() const { return samples.size() / static_cast<size_t>(shape.at(0)); }
  uint8_t level(size_t i) const {
    return static_cast<uint8_t>(std::lround((samples[i] + 1) * 127.5));
  }

  formats::SafetensorsReader reader;
  std::vector<int64_t> shape, labels;
  std::vector<float> samples;
};

/// At least 99 % of the 8-bit pixels of sample `i` of a and `j` of b within 2.
void expect_alike(const Dump& a, size_t i, const Dump& b, size_t j) {
  size_t near = 0;
  for (size_t k = 0; k < a.size(); ++k)
    near += std::abs(a.level(i * a.size() + k) - b.level(j * b.size() + k)) <= 2 ? 1 : 0;
  EXPECT_GE(near, 0.99 * static_cast<double>(a.size())) << i << " and " << j;
}

/// A small trained run with three classes, made once.
class Sample : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_ = std::make_unique<TemporaryDirectory>();
    write_idx_files(*shared_ / "data", 48, 12);
    std::ofstream(*shared_ / "tiny.toml")
        << R"(
task.data.source = { kind = "idx", path = ")"
        << (*shared_ / "data").string() << R"(", class_names = ["Left", "Middle", "Right"] }
task.model = { depth = 1, width = 16, heads = 2, patch = 2, mlp = { kind = "moe", setting = "2-in-4" } }
train = { steps = 6, batch = 6 }
optimizer = { kind = "adamw", lr = 3e-2 }
ema = { decay = 0.9, warmup = true }
eval = { every = 0 }
sample = { every = 0, per_class = 2, steps = 2 }
)";
    train("run", {});
  }
  static void TearDownTestSuite() { shared_.reset(); }

  static void train(const std::string& out, const std::vector<std::string>& more) {
    std::vector<std::string> args = {"train", (*shared_ / "tiny.toml").string(), "--out",
                                     (*shared_ / out).string()};
    args.insert(args.end(), more.begin(), more.end());
    const ProgramResult result = run_program(args);
    ASSERT_EQ(result.status, 0) << result.err;
  }

  ProgramResult run(const std::vector<std::string>& more, const std::string& weights = "run") {
    std::vector<std::string> args = {"sample", (*shared_ / weights).string()};
    args.insert(args.end(), more.begin(), more.end());
    return run_program(args, {.cwd = folder_.path()});
  }
  Dump dump(std::vector<std::string> more, const std::string& weights = "run") {
    more.insert(more.end(), {"--out", "dump.safetensors"});
    const ProgramResult result = run(more, weights);
    EXPECT_EQ(result.status, 0) << result.err;
    return Dump(folder_ / "dump.safetensors");
  }
  /// One line of error with this text, status 2, and no file.
  void expect_refused(const std::vector<std::string>& args, const std::string& text,
                      const std::string& weights = "run") {
    const ProgramResult result = run(args, weights);
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_THAT(result.err, HasSubstr(text));
    EXPECT_TRUE(fs::is_empty(folder_.path())) << text;
  }

  static std::unique_ptr<TemporaryDirectory> shared_;
  TemporaryDirectory folder_;
};
std::unique_ptr<TemporaryDirectory> Sample::shared_;

TEST_F(Sample, WritesASheetSinglePicturesAndDumps) {
  const ProgramResult result =
      run({"--labels", "0,2", "--count", "4", "--steps", "3", "--guidance", "2", "--seed", "7",
           "--out", "new/grid.png", "--out", "s.safetensors", "--out", "s.npz", "--each", "each"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("4 samples of "));
  EXPECT_THAT(result.out, HasSubstr("seed 7, heun, 3 steps, guidance 2"));

  const Dump dump(folder_ / "s.safetensors");
  EXPECT_THAT(dump.shape, ElementsAre(4, 1, 8, 8));
  EXPECT_THAT(dump.labels, ElementsAre(0, 2, 0, 2));
  EXPECT_EQ(dump.reader.metadata().at("seed"), "7");
  EXPECT_GT(fs::file_size(folder_ / "s.npz"), 4 * 64 * sizeof(float));

  const char* names[] = {"000000-label-0.png", "000001-label-2.png", "000002-label-0.png",
                         "000003-label-2.png"};
  for (size_t i = 0; i < 4; ++i) {
    const formats::Image image = formats::read_image(folder_ / "each" / names[i]);
    ASSERT_EQ(image.pixels.size(), 64u);
    for (size_t k = 0; k < 64; ++k) EXPECT_EQ(image.pixels[k], dump.level(i * 64 + k));
  }
  const formats::Image sheet = formats::read_image(folder_ / "new/grid.png");
  EXPECT_EQ(sheet.width, sheet.height) << "two columns, two rows";
  EXPECT_GE(sheet.width, 2 * 64);
}

TEST_F(Sample, TheSameSeedGivesTheSameFile) {
  const auto picture = [&](const char* seed) {
    const ProgramResult result = run({"--seed", seed, "--out", "a.png"});
    EXPECT_EQ(result.status, 0) << result.err;
    std::ifstream file(folder_ / "a.png", std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string first = picture("7");
  EXPECT_TRUE(picture("7") == first);
  EXPECT_FALSE(picture("8") == first);
}

TEST_F(Sample, ASampleIsTheSameWhateverTheBatchAndTheCount) {
  const Dump all = dump({"--labels", "0,1,2", "--count", "8"});
  const Dump few = dump({"--labels", "0,1,2", "--count", "5", "--batch", "2"});
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(few.labels[i], all.labels[i]);
    expect_alike(few, i, all, i);
  }
  const Dump last = dump({"--labels", "0,1,2", "--first", "7", "--count", "1"});
  EXPECT_EQ(last.labels[0], all.labels[7]);
  expect_alike(last, 0, all, 7);
}

TEST_F(Sample, NeedsNoDataAndTakesItsDefaultsFromTheRecipe) {
  fs::rename(*shared_ / "data", *shared_ / "away");
  const ProgramResult result = run({});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("6 samples of "));
  EXPECT_THAT(result.out, HasSubstr("2 steps, guidance 2"));
  EXPECT_TRUE(fs::exists(folder_ / "samples.png"));
  EXPECT_THAT(dump({}).labels, ElementsAre(0, 1, 2, 0, 1, 2));
  fs::rename(*shared_ / "away", *shared_ / "data");
}

TEST_F(Sample, LabelsMayBeNames) {
  EXPECT_THAT(dump({"--labels", "right,Left,none"}).labels, ElementsAre(2, 0, 3, 2, 0, 3));
}

TEST_F(Sample, ReadsTheAverageUnlessAskedForTheRawWeights) {
  const Dump average = dump({"--count", "2"}), raw = dump({"--count", "2", "--raw"});
  EXPECT_NE(average.samples, raw.samples);
  const Dump file = dump({"--count", "2"}, "run/checkpoints/step-00000006/ema.safetensors");
  EXPECT_EQ(file.samples, average.samples);
}

TEST_F(Sample, GuidanceAndSamplerCanBeChosen) {
  const Dump plain = dump({"--guidance", "1"}), guided = dump({"--guidance", "4"});
  EXPECT_NE(plain.samples, guided.samples);
  // Outside every time that two steps of Euler visit.
  const Dump outside =
      dump({"--sampler", "euler", "--guidance", "4", "--guidance-interval", "0.1,0.2"});
  EXPECT_EQ(outside.samples, dump({"--sampler", "euler", "--guidance", "1"}).samples);
  EXPECT_NE(outside.samples, dump({"--sampler", "euler-maruyama", "--guidance", "1"}).samples);
}

TEST_F(Sample, AModelWithoutLabelsTakesNone) {
  train("plain", {"--set", "task.model.classes=0"});
  const Dump samples = dump({"--count", "3"}, "plain");
  EXPECT_THAT(samples.shape, ElementsAre(3, 1, 8, 8));
  EXPECT_TRUE(samples.labels.empty());
  fs::remove(folder_ / "dump.safetensors");
  expect_refused({"--labels", "0"}, "trained without labels", "plain");
  expect_refused({"--guidance", "2"}, "nothing to guide by", "plain");
}

TEST_F(Sample, BadInputIsRefused) {
  expect_refused({"--labels", "0,4"}, "label 4 is out of range: the model knows 0 to 2");
  expect_refused({"--labels=-1"}, "label -1 is out of range");
  expect_refused({"--labels", "Lefd"}, "did you mean 'Left'?");
  expect_refused({"--sampler", "huen"}, "heun");
  expect_refused({"--sampler", "ddim"}, "does not work on the objective 'flow'");
  expect_refused({"--out", "grid.bmp"}, ".safetensors or .npz");
  expect_refused({"--guidance-interval", "0.8,0.2"}, "from = 0.8 to = 0.2");
  expect_refused({"--count", "0"}, "--count");
  expect_refused({"--set", "task.sample.stepz=3"}, "did you mean 'steps'?");
  expect_refused({}, "'" + (*shared_ / "missing").string() + "' does not exist", "missing");
  expect_refused({"--raw"}, "--raw chooses between",
                 "run/checkpoints/step-00000006/ema.safetensors");
}

// Latents are numbers for a decoder: dumped as they are, and no pictures.
TEST_F(Sample, LatentsAreDumpedAndAreNoPictures) {
  std::vector<float> values(12 * 64);
  for (size_t i = 0; i < values.size(); ++i) values[i] = 3 * std::sin(static_cast<float>(i));
  const std::vector<int64_t> labels = {0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2};
  const fs::path data = *shared_ / "latents";
  fs::create_directories(data);
  for (const char* name : {"train.safetensors", "test.safetensors"}) {
    formats::write_safetensors(
        data / name,
        {{"latents", formats::DType::F32, {12, 4, 4, 4}, std::as_bytes(std::span(values))},
         {"labels", formats::DType::I64, {12}, std::as_bytes(std::span(labels))}});
  }
  std::ofstream(data / "manifest.json")
      << R"({"format": "gallop-latents", "version": 1, "encoder": "an encoder", "scale_factor": 0.5,
"shape": [4, 4, 4], "classes": 3, "class_names": ["a", "b", "c"], "crop": "adm 32",
"train": ["train.safetensors"], "test": ["test.safetensors"]})";
  train("of-latents",
        {"--set", "task.data.source={kind=\"latents\",path=\"" + data.string() + "\"}"});

  const Dump drawn = dump({"--labels", "0,2", "--count", "3"}, "of-latents");
  EXPECT_THAT(drawn.shape, ElementsAre(3, 4, 4, 4));
  float largest = 0;
  for (const float value : drawn.samples) largest = std::max(largest, std::abs(value));
  EXPECT_GT(largest, 1.1F) << "latents are not clamped as images are";
  fs::remove(folder_ / "dump.safetensors");
  expect_refused({"--out", "grid.png"}, "latents, which are no pictures", "of-latents");
  EXPECT_EQ(run({"--count", "1"}, "of-latents").status, 0);
  EXPECT_TRUE(fs::exists(folder_ / "samples.safetensors"));
}

// One trained model at two costs; a setting does not depend on the batch.
TEST_F(Sample, TurnsTheComputeDial) {
  train("dial", {"--set", "task.eval.samples=12"});
  expect_refused({"--active", "1"}, "run `gallop calibrate", "dial");
  const std::string run_folder = (*shared_ / "dial").string();
  const ProgramResult result =
      run_program({"calibrate", run_folder, "--active", "0.5,3", "--batches", "4"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("| 0.5 | "));
  for (const char* ending : {"safetensors", "md", "svg", "png"}) {
    EXPECT_TRUE(fs::exists(*shared_ / "dial" / (std::string("dial.") + ending))) << ending;
  }
  const Dump low = dump({"--count", "6", "--active", "0.5"}, "dial");
  const Dump high = dump({"--count", "6", "--active", "3"}, "dial");
  EXPECT_NE(low.samples, high.samples);
  const Dump in_twos = dump({"--count", "6", "--active", "0.5", "--batch", "2"}, "dial");
  for (size_t i = 0; i < 6; ++i) expect_alike(low, i, in_twos, i);
  fs::remove(folder_ / "dump.safetensors");
  expect_refused({"--active", "2"}, "it has 0.5 and 3", "dial");

  // Thresholds by noise level.
  EXPECT_THAT(run_program({"calibrate", run_folder, "--noise-ranges", "2"}).err,
              HasSubstr("say --active K,... as well"));
  const ProgramResult ranges = run_program(
      {"calibrate", run_folder, "--active", "0.5,3", "--batches", "4", "--noise-ranges", "2"});
  ASSERT_EQ(ranges.status, 0) << ranges.err;
  EXPECT_THAT(ranges.out, HasSubstr("| time given to the network | 0.5 experts | 3 experts |"));
  const Dump by_range = dump({"--count", "6", "--active", "0.5"}, "dial");
  EXPECT_NE(by_range.samples, low.samples);
  const Dump by_range_in_twos = dump({"--count", "6", "--active", "0.5", "--batch", "2"}, "dial");
  for (size_t i = 0; i < 6; ++i) expect_alike(by_range, i, by_range_in_twos, i);
}

// Wide enough for 8 bits; weights that training has hardly moved.
TEST_F(Sample, DrawsWithWeightsIn8Bits) {
  train("wide", {"--set", "task.model.width=64"});
  const Dump exact = dump({"--count", "6"}, "wide");
  const ProgramResult result =
      run({"--count", "6", "--int8", "--int8-check", "9", "--out", "int8.safetensors"}, "wide");
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("%) ran in 8 bits, kernel "));
  EXPECT_THAT(result.out, HasSubstr("held-out loss of 9 samples: "));
  EXPECT_THAT(result.out, HasSubstr("4 samples drawn both ways differ by "));
  const Dump drawn(folder_ / "int8.safetensors");
  EXPECT_EQ(drawn.reader.metadata().at("precision"), "int8");
  EXPECT_EQ(exact.reader.metadata().at("precision"), "float32");
  EXPECT_NE(drawn.samples, exact.samples);
  double difference = 0;
  for (size_t i = 0; i < drawn.samples.size(); ++i) {
    difference += std::abs(drawn.samples[i] - exact.samples[i]);
  }
  EXPECT_LT(difference / static_cast<double>(drawn.samples.size()), 0.05);
  EXPECT_EQ(dump({"--count", "6", "--int8", "--int8-check", "0"}, "wide").samples, drawn.samples);

  // Without the data there is no held-out loss, and everything else.
  fs::rename(*shared_ / "data", *shared_ / "away");
  const ProgramResult away = run({"--count", "2", "--int8"}, "wide");
  fs::rename(*shared_ / "away", *shared_ / "data");
  ASSERT_EQ(away.status, 0) << away.err;
  EXPECT_THAT(away.out, HasSubstr("held-out loss: not measured ("));
  EXPECT_THAT(away.out, HasSubstr("2 samples drawn both ways differ by "));
}

TEST_F(Sample, WeightsIn8BitsGoWithTheComputeDial) {
  train("wide-dial", {"--set", "task.model.width=64", "--set", "task.eval.samples=12"});
  const ProgramResult result = run_program(
      {"calibrate", (*shared_ / "wide-dial").string(), "--active", "1", "--batches", "2"});
  ASSERT_EQ(result.status, 0) << result.err;
  const Dump turned = dump({"--int8", "--active", "1", "--int8-check", "0"}, "wide-dial");
  EXPECT_NE(turned.samples, dump({"--int8", "--int8-check", "0"}, "wide-dial").samples);
}

TEST_F(Sample, WeightsTooSmallFor8BitsAreRefused) {
  expect_refused({"--int8", "--set", "task.model.width=16"}, "no matrix of inner size 64 or more");
}

}  // namespace
}  // namespace gallop::test
