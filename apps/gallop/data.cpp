// gallop data: what a data set holds.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/base/format.h"
#include "gallop/base/printable.h"
#include "gallop/command.h"
#include "gallop/config/describe.h"
#include "gallop/config/parse.h"
#include "gallop/config/value.h"
#include "gallop/data/recognise.h"
#include "gallop/data/sheet.h"
#include "gallop/data/summary.h"
#include "gallop/options.h"
#include "gallop/runs/recipe.h"

namespace gallop {
namespace {

constexpr int64_t most_values = 50'000'000;  // read for mean and deviation: some seconds at most
constexpr int64_t most_classes_listed = 40;
constexpr int64_t sheet_rows = 16, sheet_columns = 10;

struct InfoOptions {
  std::string path, kind, sheet;
  bool all_classes = false;
  std::vector<std::string> overrides;
};

// The data of a task alone, with the same keys as in a recipe.
struct DataOfTask : config::Fields<DataOfTask> {
  data::DataConfig data;
  void fields(config::Visitor& v) override { v.table("data", data, "what is looked at"); }
};
struct DataOnly : config::Fields<DataOnly> {
  DataOfTask task;
  void fields(config::Visitor& v) override { v.table("task", task, "what is learned"); }
  const config::Layout* layout() const override {
    static const config::Layout layout{.version = 2, .renames = {{"data", "task.data"}}};
    return &layout;
  }
};

// Those of a recipe. Throws Error where its task has none of this kind.
data::DataConfig data_of(runs::Recipe recipe) {
  for (const config::FieldInfo& field : config::describe(recipe.task.settings())) {
    if (const auto* data = dynamic_cast<data::DataConfig*>(field.table)) return *data;
  }
  fail("the task '", recipe.task.kind(), "' has no data sets of images to look at");
}

template <class... Parts>
void fact(const char* name, const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  std::printf("%-10s %s\n", name, text.str().c_str());
}

data::DataConfig config_of(const InfoOptions& options) {
  const bool is_recipe = fs::path(options.path).extension() == ".toml";
  require(!is_recipe || options.kind.empty(), "--kind is for folders; the recipe '", options.path,
          "' says its kind itself");
  if (is_recipe) return data_of(runs::load_recipe(options.path, options.overrides));

  // As overrides, so that they and those of --set are of one kind of data.
  std::vector<std::string> overrides = options.overrides;
  const std::vector<std::string> stated = config::keys_of_overrides(overrides, DataOnly().layout());
  const auto says = [&](const char* key) {
    return std::find(stated.begin(), stated.end(), key) != stated.end();
  };
  const bool says_kind = says("task.data.source") || says("task.data.source.kind");
  std::string kind = options.kind;
  if (!options.path.empty())
    override_by_option(overrides, "the path", "task.data.source.path",
                       config::to_text(options.path));
  if (!kind.empty())
    require_not_set(overrides, "--kind", {"task.data.source", "task.data.source.kind"});
  if (kind.empty() && !options.path.empty() && !says_kind)
    kind = data::recognise_kind(options.path);
  if (!kind.empty()) overrides.push_back("task.data.source.kind=" + config::to_text(kind));
  DataOnly config;
  config::load_text(config, "", options.path.empty() ? "the default" : options.path, overrides);
  return config.task.data;
}

std::string numbers(const std::vector<double>& values) {
  std::string text;
  for (const double value : values) text += format("%s%.4f", text.empty() ? "" : "  ", value);
  return text;
}

/// What goes from number to name; names that hold a new line stay on theirs.
void print_classes(const data::Dataset& train, const data::Dataset& test, bool all) {
  const data::DatasetInfo& info = train.info();
  if (info.classes == 0) return fact("classes", "none: for training without labels");
  const auto in_train = data::class_counts(train), in_test = data::class_counts(test);
  const auto [fewest, most] = std::minmax_element(in_train.begin(), in_train.end());
  fact("classes", info.classes, ", each of ", *fewest, " to ", *most, " training samples");
  const auto listed =
      static_cast<size_t>(all ? info.classes : std::min(info.classes, most_classes_listed));
  std::vector<std::string> names(listed);
  size_t longest = 4;
  for (size_t i = 0; i < std::min(listed, info.class_names.size()); ++i) {
    names[i] = printable(info.class_names[i]);
    longest = std::max(longest, columns_of(names[i]));
  }
  const auto row = [&](const std::string& label, const std::string& name, const std::string& count,
                       const std::string& held_out) {
    std::printf("%-10s %5s  %s%*s %8s %8s\n", "", label.c_str(), name.c_str(),
                static_cast<int>(longest - columns_of(name)), "", count.c_str(), held_out.c_str());
  };
  row("label", "name", "train", "test");
  for (size_t i = 0; i < listed; ++i)
    row(std::to_string(i), names[i], std::to_string(in_train[i]), std::to_string(in_test[i]));
  if (listed < in_train.size())
    fact("", "  ... and ", in_train.size() - listed, " more: --classes lists all");
}

void draw_sheet(const data::Dataset& dataset, const std::string& file) {
  const data::DatasetInfo& info = dataset.info();
  const data::Examples examples = data::choose_examples(dataset, sheet_rows, sheet_columns);
  std::vector<formats::Image> images;
  std::vector<float> sample(static_cast<size_t>(info.channels * info.height * info.width));
  for (const int64_t index : examples.indices) {
    dataset.read(index, sample);
    images.push_back(data::to_image(sample, info.channels, info.height, info.width));
  }
  formats::write_png(file,
                     data::make_sheet(images, examples.columns, data::sheet_scale(info.height)));
  fact("sheet", printable(file), ": ", images.size(), " training samples",
       info.classes > 0 ? ", a row each class" : "",
       info.latent ? " (first channel of the latents)" : "");
}

void info(const InfoOptions& options) {
  const data::DataConfig config = config_of(options);
  const auto train = open_dataset(config, {.split = "train"});
  const auto test = open_dataset(config, {.split = "test"});
  const data::DatasetInfo& found = train->info();
  fact(
      "kind", found.kind,
      !options.path.empty() && options.kind.empty() && fs::path(options.path).extension() != ".toml"
          ? ", recognised by its files"
          : "");
  fact("path", printable(found.path));
  if (!found.detail.empty()) fact("detail", printable(found.detail));
  fact("train", found.count, " samples");
  fact("test", test->info().count, " samples");
  fact("shape", found.channels, " x ", found.height, " x ", found.width,
       " (channels, height, width)", found.latent ? ", latents" : ", values in [-1, 1]");
  const data::Moments moments = data::moments(*train, most_values);
  fact("mean", numbers(moments.mean));
  fact("deviation", numbers(moments.deviation), "  (of ", moments.samples, " training samples",
       found.channels > 1 ? ", each channel)" : ")");
  print_classes(*train, *test, options.all_classes);
  for (const data::Dataset* split : {train.get(), test.get()})
    for (const std::string& notice : data::notices(*split, split == train.get() ? "train" : "test"))
      fact("note", notice);
  if (options.sheet.empty())
    fact("sheet", "none: --out FILE draws examples");
  else
    draw_sheet(*train, options.sheet);
}

const Command registered{[](CLI::App& app) {
  auto* data = app.add_subcommand("data", "look at data sets");
  data->require_subcommand(1);
  auto options = std::make_shared<InfoOptions>();
  auto* command = data->add_subcommand(
      "info",
      "say what a data set holds (counts, shapes, classes with number and name, mean and standard "
      "deviation) and what is not read of it, and draw a sheet of examples with --out");
  command->add_option("path", options->path,
                      "a folder of data or a recipe; Fashion-MNIST where left out");
  command->add_option("--kind", options->kind,
                      "kind of the folder (see `gallop components`); recognised by its files where "
                      "left out");
  command->add_option("--out", options->sheet, "PNG of examples to draw; none where left out");
  command->add_flag("--classes", options->all_classes, "list every class, not only the first 40");
  add_overrides(*command, options->overrides);
  command->callback([options] { info(*options); });
}};

}  // namespace
}  // namespace gallop
