#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "gallop/base/file.h"
#include "gallop/formats/safetensors.h"
#include "tests/support/data_files.h"
#include "tests/support/idx_files.h"
#include "tests/support/program.h"
#include "tests/support/temporary_directory.h"

namespace gallop::test {
namespace {

using formats::SafetensorsReader;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

/// Files of torch.save that scripts in tests/tools made.
std::string made(const std::string& name) { return (fs::path(GALLOP_TEST_DATA) / name).string(); }

float first_value(const fs::path& file, const char* name) {
  const SafetensorsReader reader(file);
  const formats::TensorView* tensor = reader.find(name);
  float value = -1;
  if (tensor) std::memcpy(&value, tensor->data.data(), sizeof value);
  return value;
}

// {model, ema, X}: whatever X is, the others are converted; what is of no known kind is told.
TEST(WeightsFormats, ConvertReadsWeightsBesideOtherValues) {
  const TemporaryDirectory folder;
  const fs::path out = folder / "out.safetensors";
  for (const char* kind : {"numpy-scalar", "path", "big-integer", "object", "numpy-random"}) {
    const ProgramResult result =
        run_program({"convert", made("torch/beside/" + std::string(kind) + ".pt"), out, "--ema"});
    ASSERT_EQ(result.status, 0) << kind << result.err;
    EXPECT_EQ(first_value(out, "w"), 100) << kind;
    if (kind == std::string("object")) {
      EXPECT_THAT(result.err, HasSubstr("'X' is not read, and holds values of unknown kinds: "
                                        "__main__.Settings"));
    }
    if (kind == std::string("path")) {
      EXPECT_THAT(result.err, Not(HasSubstr("unknown")));
    }
  }
  ProgramResult result =
      run_program({"convert", made("torch/object-inside.pt"), out, "--key", "model"});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, HasSubstr("\"X\": it is an object of __main__.Settings"));
  result = run_program({"convert", made("torch/object-inside.pt"), out});
  EXPECT_EQ(result.status, 0) << result.err;  // the only set of weights is ema
  EXPECT_THAT(run_program({"convert", made("torch/whole-module.pt"), out}).err,
              HasSubstr("a whole module: save its state_dict()"));
  EXPECT_THAT(run_program({"convert", made("torch/script.pt"), out}).err, HasSubstr("TorchScript"));
}

TEST(WeightsFormats, ConvertGoesByTheFirstBytes) {
  const TemporaryDirectory folder;
  const fs::path out = folder / "out.safetensors";
  const auto convert = [&](const std::string& name, const std::string& bytes) {
    put_file(folder / name, bytes);
    return run_program({"convert", folder / name, out});
  };
  EXPECT_EQ(convert("pytorch_model.bin", read_file(made("torch/plain.pt"))).status, 0);
  EXPECT_EQ(convert("wrong.safetensors", read_file(made("torch/plain.pt"))).status, 0);
  EXPECT_EQ(convert("arrays.pt", read_file(made("npz/types.npz"))).status, 0);
  EXPECT_EQ(convert("weights.pt", read_file(out)).status, 0);
  EXPECT_THAT(convert("page.pt", "<!DOCTYPE html>").err, HasSubstr("a web page"));
  EXPECT_THAT(convert("pointer.pt", "version https://git-lfs.github.com/spec/v1\n").err,
              HasSubstr("git lfs pull"));
  EXPECT_THAT(convert("model.h5", "\x89HDF\r\n\x1a\n").err, HasSubstr("HDF5"));
  EXPECT_THAT(convert("a.npy", "\x93NUMPY\1").err, HasSubstr("numpy.savez"));
  EXPECT_THAT(convert("legacy.pt", read_file(made("torch/legacy.pt"))).err,
              HasSubstr("before 1.6"));
  EXPECT_THAT(convert("pickle.pt", "\x80\x04\x95pickle").err, HasSubstr("a pickle of Python"));
  EXPECT_THAT(convert("cut.pt", read_file(made("torch/plain.pt")).substr(0, 900)).err,
              HasSubstr("cut short"));
}

TEST(WeightsFormats, ConvertTakesTheTensorsUnderAPrefix) {
  const TemporaryDirectory folder;
  const fs::path out = folder / "out.safetensors";
  const ProgramResult result =
      run_program({"convert", made("torch/plain.pt"), out, "--prefix", "blocks.1."});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("6 tensors without the prefix 'blocks.1.' are left out"));
  EXPECT_EQ(SafetensorsReader(out).tensors().size(), 2u);
  EXPECT_EQ(first_value(out, "bias"), 700);
  EXPECT_THAT(
      run_program({"convert", made("torch/plain.pt"), out, "--prefix", "module."}).err,
      AllOf(HasSubstr("no tensor whose name begins with 'module.'"), HasSubstr("pos_embed")));
}

TEST(WeightsFormats, InspectReadsCheckpointsOfPyTorch) {
  ProgramResult result = run_program({"inspect", made("torch/training.pt")});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("a PyTorch checkpoint"), HasSubstr("model: 8 tensors"),
                                HasSubstr("ema: 8 tensors"), HasSubstr("opt: a dict of 2"),
                                HasSubstr("args: an object of argparse.Namespace"),
                                ContainsRegex("blocks.1.bias +F32 +\\[3\\] +1700 +1702"),
                                HasSubstr("gallop convert"), Not(HasSubstr("unknown"))));
  result = run_program({"inspect", made("torch/beside/all-protocol-4.pt")});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("X: a dict of 40"), HasSubstr("of unknown kinds:"),
                                HasSubstr("__main__.Settings")));
  result = run_program({"inspect", made("torch/runs-a-program.pt")});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("w: a tensor"), HasSubstr("x: what posix.system makes"),
                                Not(HasSubstr("must not run"))));
  result = run_program({"inspect", made("torch/complex.pt")});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("cannot be read"));
  result = run_program({"inspect", made("npz/objects.npz")});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("not read"), HasSubstr("Python objects")));
  EXPECT_THAT(run_program({"inspect", made("torch/legacy.pt")}).err, HasSubstr("before 1.6"));
}

// Commands that want weights of this program say what else a file is, whatever else is wrong.
TEST(WeightsFormats, OtherFormatsAreNamedWhereWeightsAreWanted) {
  const TemporaryDirectory folder;
  write_idx_files(folder / "data", 48, 12);
  std::ofstream(folder / "tiny.toml")
      << "task.data.source = { kind = \"idx\", path = \"" << (folder / "data").string()
      << "\" }\nmodel = { depth = 1, width = 16, heads = 2, patch "
         "= 2 }\ntrain = { steps = 1, batch = 6 }\n";
  const ProgramResult trained = run_program({"train", folder / "tiny.toml", "--out", folder / "run",
                                             "--set", "init.weights=" + made("torch/plain.pt")});
  EXPECT_EQ(trained.status, 2);
  EXPECT_THAT(trained.err, AllOf(HasSubstr("this is a PyTorch checkpoint: gallop convert "),
                                 HasSubstr(" plain.safetensors")));
  const ProgramResult sampled = run_program({"sample", made("torch/plain.pt")});
  EXPECT_EQ(sampled.status, 2);
  EXPECT_THAT(sampled.err, HasSubstr("this is a PyTorch checkpoint"));
}

// A run of 8 x 8 pictures draws 12 x 12 ones, and is started from for them.
TEST(WeightsFormats, WeightsServeAtAnotherResolution) {
  const TemporaryDirectory folder;
  write_idx_files(folder / "small", 48, 12, 8);
  write_idx_files(folder / "large", 48, 12, 12);
  const auto recipe = [&](const std::string& name, const std::string& data) {
    std::ofstream(folder / name) << "task.data.source = { kind = \"idx\", path = \""
                                 << (folder / data).string() << R"(" }
threads = 1
task.model = { depth = 1, width = 16, heads = 2, patch = 2 }
train = { steps = 1, batch = 6 }
eval = { every = 0 }
sample = { every = 0, per_class = 1, steps = 2 }
log = { tensorboard = false }
)";
  };
  recipe("small.toml", "small");
  recipe("large.toml", "large");
  const auto run = [&](const std::vector<std::string>& args) {
    ProgramResult result = run_program(args, {.cwd = folder.path()});
    EXPECT_EQ(result.status, 0) << args[0] << ": " << result.err;
    return result;
  };
  run({"train", "small.toml", "--out", "run"});
  const ProgramResult sampled =
      run({"sample", "run", "--set", "task.model.image=12", "--out", "a.safetensors"});
  EXPECT_THAT(sampled.err, AllOf(HasSubstr("12x12 where the training had 8x8"),
                                 HasSubstr("pos_embed is computed anew for these sizes: "
                                           "[1, 36, 16], the file has [1, 16, 16]")));
  EXPECT_EQ(SafetensorsReader(folder / "a.safetensors").find("samples")->shape,
            (std::vector<int64_t>{3, 1, 12, 12}));
  const ProgramResult tuned =
      run({"train", "large.toml", "--out", "larger", "--set", "init.weights=run"});
  EXPECT_THAT(tuned.err, HasSubstr("pos_embed is computed anew"));
  EXPECT_THAT(run({"sample", "run", "--out", "b.safetensors"}).err,
              Not(HasSubstr("computed anew")));
}

}  // namespace
}  // namespace gallop::test
