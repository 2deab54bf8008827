#include "gallop/formats/idx.h"

#include <algorithm>
#include <array>

#include "gallop/base/error.h"
#include "gallop/base/file.h"
#include "gallop/config/registry.h"
#include "gallop/data/passed_over.h"
#include "gallop/data/recognise.h"
#include "gallop/data/stored_images.h"

namespace gallop::data {
namespace {

constexpr const char* fashion_mnist = "/usr/share/datasets/fashion-mnist";
const std::vector<std::string> fashion_mnist_names{
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};

struct IdxSettings : config::Fields<IdxSettings> {
  std::string path = fashion_mnist;
  std::string train_images, train_labels, test_images, test_labels;
  int64_t classes = 0, size = 0;
  std::vector<std::string> class_names;

  void fields(config::Visitor& v) override {
    v.field("path", path,
            "folder of the files; the default is that of Debian's dataset-fashion-mnist");
    v.field("train_images", train_images,
            "images of the train split, plain or gzip; empty: train-images-idx3-ubyte[.gz]");
    v.field("train_labels", train_labels, "their labels; empty: train-labels-idx1-ubyte[.gz]");
    v.field("test_images", test_images,
            "images of the test split; empty: t10k-images-idx3-ubyte[.gz]");
    v.field("test_labels", test_labels, "their labels; empty: t10k-labels-idx1-ubyte[.gz]");
    v.field("classes", classes, "number of classes; 0: the largest label of the train split + 1",
            config::between(0, 256));
    v.field("class_names", class_names,
            "names of the classes; empty: those of Fashion-MNIST at the default path, else none");
    v.field("size", size, "resize to squares of so many pixels; 0: as stored",
            config::between(0, 4096));
  }
  void validate() const override {
    require(
        classes == 0 || class_names.empty() || class_names.size() == static_cast<size_t>(classes),
        "classes = ", classes, " does not fit the ", class_names.size(),
        " names in class_names: leave one of them out");
  }
};

/// The file of a split ("train") and part ("images"): that of the settings, else the first of the
/// usual names that exists; empty if there is none.
fs::path find_file(const IdxSettings& s, const std::string& split, const std::string& part) {
  const bool images = part == "images", train = split == "train";
  const fs::path folder = s.path;
  const std::string& named =
      train ? (images ? s.train_images : s.train_labels) : (images ? s.test_images : s.test_labels);
  if (!named.empty()) return folder / named;
  const std::string stem = (train ? "train-" : "t10k-") + part;
  const std::string end = images ? "idx3-ubyte" : "idx1-ubyte";
  for (const auto& name :
       {stem + "-" + end + ".gz", stem + "-" + end, stem + "." + end + ".gz", stem + "." + end})
    if (is_there(folder / name)) return folder / name;
  return {};
}

fs::path file_of(const IdxSettings& s, const std::string& split, const std::string& part) {
  fs::path found = find_file(s, split, part);
  const std::string usual = (split == "train" ? "train-" : "t10k-") + part +
                            (part == "images" ? "-idx3-ubyte" : "-idx1-ubyte");
  require(!found.empty(), "there is no '", (fs::path(s.path) / usual).string(),
          "', with .gz or without: name the ", part, " of the ", split,
          " split with task.data.source.", split, "_", part,
          ". Fashion-MNIST is Debian's package dataset-fashion-mnist "
          "(apt-get install dataset-fashion-mnist), which puts it in ",
          fashion_mnist);
  return found;
}

/// Files of the folder that are IDX by their name and none of the four.
std::vector<std::string> other_files(const IdxSettings& s) {
  if (!is_folder(s.path)) return {};
  std::vector<fs::path> used;
  for (const char* split : {"train", "test"})
    for (const char* part : {"images", "labels"})
      used.push_back(find_file(s, split, part).lexically_normal());
  std::vector<std::string> names;
  for (const fs::path& path : list_folder(s.path)) {
    const std::string name = path.filename().string();
    const bool is_idx = name.find("idx3-ubyte") != std::string::npos ||
                        name.find("idx1-ubyte") != std::string::npos;
    if (is_idx && std::find(used.begin(), used.end(), path.lexically_normal()) == used.end())
      names.push_back(name);
  }
  return unread_files(s.path, names, "for the splits are other files");
}

std::vector<uint8_t> labels_of(const IdxSettings& s, const std::string& split) {
  return formats::read_idx(file_of(s, split, "labels"), 1).data;
}

/// Of which the labels of both splits are.
int64_t class_count(const IdxSettings& s, const std::vector<std::string>& names) {
  if (s.classes > 0) return s.classes;
  if (!names.empty()) return static_cast<int64_t>(names.size());
  const auto labels = labels_of(s, "train");
  return *std::max_element(labels.begin(), labels.end()) + 1;
}

std::unique_ptr<Dataset> open(const IdxSettings& s, const Dataset::Args& args) {
  const fs::path images_file = file_of(s, args.split, "images");
  const fs::path labels_file = file_of(s, args.split, "labels");
  formats::IdxArray images = formats::read_idx(images_file, 3);
  std::vector<uint8_t> labels = formats::read_idx(labels_file, 1).data;
  const auto count = static_cast<size_t>(images.shape[0]);
  require(labels.size() == count, "'", images_file.string(), "' holds ", count, " images, '",
          labels_file.string(), "' ", labels.size(), " labels: they do not belong together");

  const auto& names = s.class_names.empty() && s.path == fashion_mnist && s.classes == 0
                          ? fashion_mnist_names
                          : s.class_names;
  const int64_t classes = class_count(s, names);
  const auto bad =
      std::find_if(labels.begin(), labels.end(), [&](uint8_t label) { return label >= classes; });
  require(bad == labels.end(), "'", labels_file.string(), "': label ",
          int{bad == labels.end() ? uint8_t{0} : *bad}, " of sample ", bad - labels.begin(),
          " is out of range: there are ", classes, " classes, 0 to ", classes - 1,
          std::find(labels.begin(), labels.end(), 0) == labels.end()
              ? "; do the labels count from 1? They go from 0"
              : "");

  DatasetInfo info{.kind = "idx",
                   .path = s.path,
                   .count = images.shape[0],
                   .channels = 1,
                   .height = images.shape[1],
                   .width = images.shape[2],
                   .classes = classes,
                   .class_names = names,
                   .detail = images_file.filename().string()};
  if (args.split == "train") info.notices = other_files(s);
  crop_all(info, images.data, args.side(s.size));
  return std::make_unique<StoredImages>(std::move(info), std::move(images.data), std::move(labels));
}

const config::Register<Dataset, IdxSettings> registered{
    "idx", "IDX files of images and labels, as MNIST has them; Fashion-MNIST by default",
    "Fashion-MNIST, arXiv 1708.07747", open};

const Recognise recognise{"idx", [](const fs::path& folder) {
                            for (const fs::path& file : list_folder(folder))
                              if (file.filename().string().find("idx3-ubyte") != std::string::npos)
                                return true;
                            return false;
                          }};

}  // namespace
}  // namespace gallop::data
