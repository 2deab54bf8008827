#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "gallop/base/file.h"
#include "gallop/formats/shards.h"
#include "tests/support/idx_files.h"
#include "tests/support/program.h"
#include "tests/support/temporary_directory.h"

namespace gallop::test {
namespace {

using formats::SafetensorsReader;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// Files of torch.save that tests/tools/make_torch_files.py made.
std::string made(const std::string& name) {
  return (fs::path(GALLOP_TEST_DATA) / "torch" / name).string();
}

float first_bias(const SafetensorsReader& reader) {
  float value = 0;
  const formats::TensorView* bias = reader.find("blocks.1.bias");
  if (bias) std::memcpy(&value, bias->data.data(), sizeof value);
  return value;
}

class Convert : public ::testing::Test {
 protected:
  ProgramResult convert(const std::string& in, const std::vector<std::string>& more = {}) {
    std::vector<std::string> args = {"convert", in, out_.string()};
    args.insert(args.end(), more.begin(), more.end());
    return run_program(args);
  }
  void expect_refused(const std::string& in, const std::vector<std::string>& more,
                      const std::string& text) {
    const ProgramResult result = convert(in, more);
    EXPECT_EQ(result.status, 2);
    EXPECT_THAT(result.err, AllOf(HasSubstr("gallop: error: "), HasSubstr(text)));
    EXPECT_FALSE(fs::exists(out_));
  }

  TemporaryDirectory folder_;
  fs::path out_ = folder_ / "out.safetensors";
};

TEST_F(Convert, AStateDict) {
  const ProgramResult result = convert(made("plain.pt"));
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("out.safetensors: 8 tensors, "), Not(HasSubstr("of '"))));
  const SafetensorsReader reader(out_);
  EXPECT_EQ(reader.tensors().size(), 8u);
  EXPECT_EQ(first_bias(reader), 700);
  EXPECT_EQ(reader.metadata(), (formats::Metadata{{"format", "pt"}, {"source", "plain.pt"}}));
}

TEST_F(Convert, ArraysOfNumpy) {
  const auto npz = [](const char* name) {
    return (fs::path(GALLOP_TEST_DATA) / "npz" / name).string();
  };
  const ProgramResult result = convert(npz("types.npz"));
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("out.safetensors: 12 tensors, "));
  const SafetensorsReader reader(out_);
  ASSERT_NE(reader.find("f8"), nullptr);
  EXPECT_EQ(reader.find("f8")->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(reader.metadata(), (formats::Metadata{{"source", "types.npz"}}));
  const ProgramResult inspected = run_program({"inspect", npz("types.npz")});
  EXPECT_EQ(inspected.status, 0) << inspected.err;
  EXPECT_THAT(inspected.out, HasSubstr("72 elements"));

  fs::remove(out_);
  expect_refused(npz("types.npz"), {"--ema"}, "holds one set of weights");
  expect_refused(npz("objects.npz"), {}, "Python objects");
}

TEST_F(Convert, ATrainingCheckpoint) {
  expect_refused(
      made("training.pt"), {},
      "several sets of weights:\n  model: 8 tensors\n  ema: 8 tensors\n  opt: a dict of 2\n"
      "  args: an object of argparse.Namespace\nChoose one: --key NAME");
  expect_refused(made("training.pt"), {"--key", "weights"}, "no key 'weights' at its top");
  expect_refused(made("training.pt"), {"--key", "opt"}, "\"opt\"");
  expect_refused(made("training.pt"), {"--key", "model", "--ema"}, "one of the two");

  ASSERT_EQ(convert(made("training.pt"), {"--ema"}).status, 0);
  EXPECT_EQ(first_bias(SafetensorsReader(out_)), 1700);
  EXPECT_EQ(SafetensorsReader(out_).metadata().at("role"), "ema");
  const ProgramResult result = convert(made("training.pt"), {"--key", "model"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("8 tensors of 'model'"));
  EXPECT_EQ(first_bias(SafetensorsReader(out_)), 700);
}

TEST_F(Convert, TheOnlySetOfWeights) {
  ASSERT_EQ(convert(made("parameters.pt")).status, 0);
  EXPECT_EQ(first_bias(SafetensorsReader(out_)), 700);
}

TEST_F(Convert, RefusesWhatIsNoWeights) {
  expect_refused(
      made("runs-a-program.pt"), {},
      "no dictionary of tensors at its top:\n  w: a tensor\n  x: what posix.system makes");
  expect_refused(made("legacy.pt"), {}, "before 1.6");
  expect_refused(made("list.pt"), {}, "no dictionary of tensors at its top:\n  a list of 1");
  expect_refused(made("plain.pt"), {"--ema"}, "no key 'ema' at its top. It holds:\n  8 tensors");
  expect_refused((folder_ / "none.pt").string(), {}, "none.pt");
  expect_refused(GALLOP_TEST_DATA + std::string("/safetensors"), {}, "folder");
  const ProgramResult result =
      run_program({"convert", made("plain.pt"), (folder_ / "out.bin").string()});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, HasSubstr(".safetensors"));
}

// Shards take the place of one file for every command that takes weights.
TEST_F(Convert, ShardsServeAsWeights) {
  write_idx_files(folder_ / "data", 48, 12);
  std::ofstream(folder_ / "tiny.toml")
      << "task.data.source = { kind = \"idx\", path = \"" << (folder_ / "data").string() << R"(" }
task.model = { depth = 1, width = 16, heads = 2, patch = 2 }
train = { steps = 2, batch = 6 }
eval = { every = 0 }
sample = { every = 0, per_class = 1, steps = 2 }
)";
  const auto run = [&](const std::vector<std::string>& args) {
    const ProgramResult result = run_program(args, {.cwd = folder_.path()});
    EXPECT_EQ(result.status, 0) << args[0] << ": " << result.err;
    return result.out;
  };
  run({"train", "tiny.toml", "--out", "run"});
  const fs::path checkpoint = folder_ / "run/checkpoints/step-00000002";
  fs::create_directory(folder_ / "shards");
  out_ = folder_ / "shards/model.safetensors";
  const ProgramResult converted =
      convert((checkpoint / "ema.safetensors").string(), {"--shard-size", "4kB"});
  ASSERT_EQ(converted.status, 0) << converted.err;
  EXPECT_THAT(converted.out, HasSubstr("model.safetensors.index.json"));
  const formats::WeightsReader shards(folder_ / "shards");
  EXPECT_GT(shards.files(), 3u);
  EXPECT_EQ(shards.metadata(), SafetensorsReader(checkpoint / "ema.safetensors").metadata());
  fs::copy(folder_ / "run/config.toml", folder_ / "shards/config.toml");

  run({"sample", "run", "--out", "a.safetensors"});
  run({"sample", "shards", "--out", "b.safetensors"});
  run({"sample", "shards/model.safetensors.index.json", "--out", "c.safetensors"});
  const auto samples = [&](const char* file) {
    const SafetensorsReader reader(folder_ / file);
    const auto data = reader.find("samples")->data;
    return std::string(reinterpret_cast<const char*>(data.data()), data.size());
  };
  EXPECT_EQ(samples("a.safetensors"), samples("b.safetensors"));
  EXPECT_EQ(samples("a.safetensors"), samples("c.safetensors"));
  EXPECT_THAT(run({"inspect", "shards"}), AllOf(HasSubstr("files)"), HasSubstr("x_embedder")));
  run({"train", "tiny.toml", "--out", "other", "--set", "init.weights=shards"});

  // And back into one file.
  out_ = folder_ / "one.safetensors";
  ASSERT_EQ(convert((folder_ / "shards").string()).status, 0);
  EXPECT_EQ(SafetensorsReader(out_).tensors().size(), shards.tensors().size());
}

}  // namespace
}  // namespace gallop::test
