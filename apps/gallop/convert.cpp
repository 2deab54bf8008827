// gallop convert: weights of PyTorch and arrays of numpy to safetensors, and safetensors to shards.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/command.h"
#include "gallop/formats/npz.h"
#include "gallop/formats/shards.h"
#include "gallop/formats/torch_file.h"

namespace gallop {
namespace {

using formats::TorchFile;

struct ConvertArguments {
  std::string in, out, key;
  bool ema = false;
  uint64_t shard_size = std::numeric_limits<uint64_t>::max();
};

bool is_safetensors(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error) || path.extension() == ".safetensors" ||
         path.extension() == ".json";
}

// The part of the file to convert: the one that was named, or the only one that can be.
std::string choose_key(const TorchFile& file, const ConvertArguments& arguments) {
  const std::string named = arguments.ema ? "ema" : arguments.key;
  const std::vector<TorchFile::Part> parts = file.parts();
  const auto has_key = [&](const auto& part) { return !named.empty() && part.key == named; };
  if (std::any_of(parts.begin(), parts.end(), has_key)) return named;

  std::vector<std::string> weights;
  std::string list;
  for (const auto& part : parts) {
    if (part.weights) weights.push_back(part.key);
    list += "\n  " + (part.key.empty() ? "" : part.key + ": ") + part.text;
  }
  require(named.empty(), "'", arguments.in, "' has no key '", named,
          "' at its top. It holds:", list);
  require(weights.size() == 1, "'", arguments.in, "' holds ",
          weights.empty() ? "no dictionary of tensors at its top:" : "several sets of weights:",
          list, weights.empty() ? "" : "\nChoose one: --key NAME, or --ema for the moving average");
  return weights.front();
}

void write(const ConvertArguments& arguments, const std::vector<formats::TensorView>& tensors,
           const formats::Metadata& metadata, const std::string& key) {
  const fs::path written =
      formats::write_shards(arguments.out, tensors, metadata, arguments.shard_size);
  uint64_t bytes = 0;
  for (const auto& tensor : tensors) bytes += tensor.data.size();
  std::printf("wrote %s: %zu tensors%s, %s\n", written.c_str(), tensors.size(),
              key.empty() ? "" : (" of '" + key + "'").c_str(), human_bytes(bytes).c_str());
}

void convert(const ConvertArguments& arguments) {
  require(!arguments.ema || arguments.key.empty(), "--ema is --key ema: give one of the two");
  const bool is_npz = fs::path(arguments.in).extension() == ".npz";
  if (is_npz || is_safetensors(arguments.in)) {
    require(!arguments.ema && arguments.key.empty(), "'", arguments.in,
            "' holds one set of weights: --key and --ema are for files of PyTorch");
  }
  if (is_npz) {
    return write(arguments, formats::NpzReader(fs::path(arguments.in)).tensors(),
                 {{"source", fs::path(arguments.in).filename().string()}}, "");
  }
  if (is_safetensors(arguments.in)) {
    const formats::WeightsReader reader(arguments.in);
    return write(arguments, reader.tensors(), reader.metadata(), "");
  }
  TorchFile file{fs::path(arguments.in)};
  const std::string key = choose_key(file, arguments);
  // What loaders of Hugging Face ask for, and what `gallop inspect` shows.
  formats::Metadata metadata{{"format", "pt"},
                             {"source", fs::path(arguments.in).filename().string()}};
  if (key == "model" || key == "ema") metadata["role"] = key;
  write(arguments, file.tensors(key), metadata, key);
}

const Command registered{[](CLI::App& app) {
  auto arguments = std::make_shared<ConvertArguments>();
  CLI::App* command = app.add_subcommand(
      "convert",
      "turn a PyTorch checkpoint or arrays of numpy into safetensors, without executing anything "
      "in them, or split safetensors into shards");
  command
      ->add_option("in", arguments->in,
                   "file of torch.save (.pt, .pth), of numpy.savez (.npz), or safetensors: a file, "
                   "an index, a folder")
      ->required();
  command->add_option("out", arguments->out, "safetensors file to write")->required();
  command->add_option("--key", arguments->key,
                      "which of several dictionaries of the file, for example model");
  command->add_flag("--ema", arguments->ema, "the moving average of the weights: --key ema");
  command
      ->add_option("--shard-size", arguments->shard_size,
                   "write files of at most this size, for example 5GB, and their index")
      ->transform(CLI::AsSizeValue(true));
  command->callback([arguments] { convert(*arguments); });
}};

}  // namespace
}  // namespace gallop
