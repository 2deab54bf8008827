// gallop convert: weights of PyTorch and arrays of numpy to safetensors, safetensors to shards, and
// dense weights to those of a sparse model.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/base/file.h"
#include "gallop/base/human.h"
#include "gallop/base/log.h"
#include "gallop/base/printable.h"
#include "gallop/command.h"
#include "gallop/formats/file_kind.h"
#include "gallop/formats/npz.h"
#include "gallop/formats/shards.h"
#include "gallop/formats/torch_file.h"
#include "gallop/models/denoiser.h"
#include "gallop/models/dit/upcycle.h"
#include "gallop/models/fitted_names.h"
#include "gallop/models/weights.h"
#include "gallop/nn/tensor_io.h"
#include "gallop/number_options.h"
#include "gallop/options.h"
#include "gallop/runs/recipe.h"
#include "gallop/runs/restore.h"

namespace gallop {
namespace {

using formats::FileKind;
using formats::TorchFile;

struct ConvertArguments {
  std::string in, out, key, prefix, upcycle, names = "auto";
  std::vector<std::string> overrides;
  double router_noise = 0.1;
  bool ema = false, noise_given = false;
  uint64_t shard_size = std::numeric_limits<uint64_t>::max();
};

// Told by the first bytes; where these say nothing, by the name, so that the reader can say what is
// wrong with the file.
FileKind kind_of_source(const fs::path& path) {
  if (is_folder(path)) return FileKind::safetensors;
  const FileKind kind = formats::kind_of(path);
  formats::require_kind(path,
                        {FileKind::safetensors, FileKind::json, FileKind::torch, FileKind::npz});
  if (kind == FileKind::json) return FileKind::safetensors;  // an index
  if (kind != FileKind::unknown) return kind;
  if (path.extension() == ".npz") return FileKind::npz;
  const bool named = path.extension() == ".safetensors" || path.extension() == ".json";
  return named ? FileKind::safetensors : FileKind::torch;
}

// The part of the file to convert: the one that was named, or the only one that can be.
std::string choose_key(const TorchFile& file, const ConvertArguments& arguments) {
  const std::string named = arguments.ema ? "ema" : arguments.key;
  const std::vector<TorchFile::Part> parts = file.parts();
  const auto has_key = [&](const auto& part) { return !named.empty() && part.key == named; };
  if (std::any_of(parts.begin(), parts.end(), has_key)) return named;

  constexpr size_t shown = 30;
  std::vector<std::string> weights;
  std::string list;
  for (size_t i = 0; i < parts.size(); ++i) {
    const TorchFile::Part& part = parts[i];
    if (part.weights) weights.push_back(part.key);
    if (i < shown)
      list += "\n  " + (part.key.empty() ? "" : printable(part.key) + ": ") + part.text;
  }
  if (parts.size() > shown) list += "\n  and " + std::to_string(parts.size() - shown) + " more";
  require(named.empty(), "'", arguments.in, "' has no key '", named,
          "' at its top. It holds:", list);
  const char* next = weights.size() > 1
                         ? "\nChoose one: --key NAME, or --ema for the moving average"
                     : parts.size() == 1 && parts[0].text.starts_with("an object of ")
                         ? "\nIt is a whole module: save its state_dict() instead"
                         : "";
  require(weights.size() == 1, "'", arguments.in, "' holds ",
          weights.empty() ? "no dictionary of tensors at its top:" : "several sets of weights:",
          list, next);
  return weights.front();
}

// What the file holds beside the part that is converted, of kinds that are not known.
void tell_unknown(const TorchFile& file, const std::string& key) {
  for (const auto& part : file.parts()) {
    if (part.key == key || part.unknown.empty()) continue;
    log_info(printable_in_quotes(part.key),
             " is not read, and holds values of unknown kinds: ", join_list(part.unknown));
  }
}

// The tensors under a prefix, without it.
void keep_prefixed(std::vector<formats::TensorView>& tensors, const ConvertArguments& arguments) {
  const std::string& prefix = arguments.prefix;
  if (prefix.empty()) return;
  const auto has_prefix = [&](const std::string& name) {
    return name.size() > prefix.size() && name.starts_with(prefix);
  };
  std::string names;
  for (size_t i = 0; i < std::min<size_t>(tensors.size(), 5); ++i)
    names += (i == 0 ? "" : ", ") + tensors[i].name;
  const size_t before = tensors.size();
  std::erase_if(tensors, [&](const auto& tensor) { return !has_prefix(tensor.name); });
  require(!tensors.empty(), "'", arguments.in, "' has no tensor whose name begins with '", prefix,
          "'. It has: ", names);
  for (auto& tensor : tensors) tensor.name.erase(0, prefix.size());
  if (tensors.size() < before)
    log_info(before - tensors.size(), " tensors without the prefix '", prefix, "' are left out");
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

// What is read of a file that may be of several formats; lives as long as its tensors are used.
class Source {
 public:
  explicit Source(const ConvertArguments& arguments) {
    const fs::path path = arguments.in;
    const FileKind kind = kind_of_source(path);
    require(kind == FileKind::torch || (!arguments.ema && arguments.key.empty()), "'", arguments.in,
            "' holds one set of weights: --key and --ema are for files of PyTorch");
    if (kind == FileKind::npz) {
      tensors = npz_.emplace(path).tensors();
      metadata["source"] = path.filename().string();
    } else if (kind == FileKind::safetensors) {
      tensors = weights_.emplace(path).tensors();
      metadata = weights_->metadata();
    } else {
      key = choose_key(torch_.emplace(path), arguments);
      tensors = torch_->tensors(key);
      tell_unknown(*torch_, key);
      // What loaders of Hugging Face ask for, and what `gallop inspect` shows.
      metadata = {{"format", "pt"}, {"source", path.filename().string()}};
      if (key == "model" || key == "ema") metadata["role"] = key;
    }
    keep_prefixed(tensors, arguments);
  }

  std::vector<formats::TensorView> tensors;
  formats::Metadata metadata;
  std::string key;  ///< of a PyTorch file

 private:
  std::optional<formats::NpzReader> npz_;
  std::optional<formats::WeightsReader> weights_;
  std::optional<TorchFile> torch_;
};

void print_upcycled(const models::Upcycled& upcycled) {
  for (const models::UpcycledLayer& layer : upcycled.layers) {
    std::printf("%s: %lld copies of %lld parts, scores start near %.4g", layer.name.c_str(),
                static_cast<long long>(layer.copies), static_cast<long long>(layer.parts),
                layer.constant);
    if (layer.out_scale != 1) std::printf(", last layer times %.4g", layer.out_scale);
    std::printf("\n");
  }
  for (const std::string& name : upcycled.fresh) std::printf("first values: %s\n", name.c_str());
}

void upcycle(const ConvertArguments& arguments, const Source& source) {
  runs::Recipe recipe = runs::load_recipe(arguments.upcycle, arguments.overrides);
  const auto any = runs::make_model(recipe);
  auto* model = dynamic_cast<models::Denoiser*>(any.get());
  require(model != nullptr, "--upcycle knows networks on images (dit), and this recipe has ",
          any->summary());
  model->materialize(static_cast<uint64_t>(recipe.seed), {}, /*gradients=*/false);
  std::map<std::string, at::Tensor> dense;
  for (const auto& view : source.tensors) dense[view.name] = nn::to_tensor(view);
  models::FittedNames fitted =
      models::fit_names(*model, std::move(dense), "'" + arguments.in + "'", arguments.names);
  for (const std::string& note : fitted.notes) log_info(note);
  print_upcycled(models::upcycle(*model, std::move(fitted.tensors), arguments.router_noise));
  std::vector<formats::TensorView> made;
  const auto tensors = models::named_tensors(*model);
  for (const auto& [name, tensor] : tensors) made.push_back(nn::view_of(name, tensor));
  write(arguments, made,
        {{"format", "pt"},
         {"source", fs::path(arguments.in).filename().string()},
         {"upcycled", "with " + fs::path(arguments.upcycle).filename().string()}},
        source.key);
}

void convert(const ConvertArguments& arguments) {
  require(!arguments.ema || arguments.key.empty(), "--ema is --key ema: give one of the two");
  require(!arguments.upcycle.empty() ||
              (arguments.overrides.empty() && !arguments.noise_given && arguments.names == "auto"),
          "--set, --names and --router-noise belong to --upcycle RECIPE");
  const Source source(arguments);
  if (!arguments.upcycle.empty()) return upcycle(arguments, source);
  write(arguments, source.tensors, source.metadata, source.key);
}

const Command registered{[](CLI::App& app) {
  auto arguments = std::make_shared<ConvertArguments>();
  CLI::App* command = app.add_subcommand(
      "convert",
      "turn a PyTorch checkpoint or arrays of numpy into safetensors, without executing anything "
      "in them, split safetensors into shards, or make a sparse model from a dense one");
  command
      ->add_option("in", arguments->in,
                   "file of torch.save (.pt, .pth), of numpy.savez (.npz), or safetensors: a file, "
                   "an index, a folder")
      ->required();
  command->add_option("out", arguments->out, "safetensors file to write")->required();
  command->add_option("--key", arguments->key,
                      "which of several dictionaries of the file, for example model");
  command->add_flag("--ema", arguments->ema, "the moving average of the weights: --key ema");
  command->add_option("--prefix", arguments->prefix,
                      "only tensors whose names begin with this, which is taken off, for example "
                      "ema_model.");
  add_size(*command, "--shard-size", arguments->shard_size,
           "write files of at most this size, for example 5GB, and their index", {.min = 1});
  command->add_option("--upcycle", arguments->upcycle,
                      "make the sparse model of this recipe from dense weights: its experts are "
                      "copies of the MLPs, or parts of them where they are narrower");
  command->add_option("--names", arguments->names,
                      "with --upcycle: whose names the tensors have, a kind of `gallop components "
                      "names`, own, or auto: any that the network's family knows");
  const CLI::Option* noise = add_number(
      *command, "--router-noise", arguments->router_noise,
      "with --upcycle: how far the first scores spread about their constant", config::at_least(0));
  add_overrides(*command, arguments->overrides);
  command->callback([arguments, noise] {
    arguments->noise_given = noise->count() > 0;
    convert(*arguments);
  });
}};

}  // namespace
}  // namespace gallop
