#include <algorithm>
#include <cctype>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "gallop/config/value.h"
#include "gallop/data/held_out.h"
#include "gallop/data/recognise.h"
#include "gallop/data/stored_images.h"
#include "gallop/formats/resize.h"

namespace gallop::data {
namespace {

using formats::Image;

constexpr int deepest = 16;

struct FolderSettings : config::Fields<FolderSettings> {
  std::string path;
  int64_t size = 0, channels = 3;
  std::string crop = "adm";
  HeldOut held_out;

  void fields(config::Visitor& v) override {
    v.field(
        "path", path,
        "folder of PNG and JPEG files, one sub-folder a class, or none for data without classes; "
        "its sub-folders train and test (or val) are the splits, where train is there");
    v.field("size", size, "make the images squares of so many pixels; 0: as stored, all alike",
            config::between(0, 4096));
    v.field("crop", crop,
            "how: adm halves large images first, as is usual for ImageNet; bicubic does not; both "
            "scale the shorter side to `size` and keep the centre",
            {"adm", "bicubic"});
    v.field("channels", channels, "3 colour or 1 grey; files are converted", config::between(1, 3));
    held_out.field(v);
  }
  void validate() const override {
    require(channels != 2, "channels = 2: images have 3 (colour) or 1 (grey)");
  }
};

bool is_hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

bool is_image(const fs::path& path) {
  std::string end = path.extension().string();
  std::transform(end.begin(), end.end(), end.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return (end == ".png" || end == ".jpg" || end == ".jpeg") && !is_hidden(path);
}

bool is_folder(const fs::path& path) {
  std::error_code error;
  return !is_hidden(path) && !is_image(path) && fs::is_directory(path, error);
}

/// The files of a split in file order (by class, then by name) with their labels.
struct Listing {
  std::vector<std::string> files;  // below the folder of the split
  std::vector<int32_t> labels;     // empty: no classes
};

void collect(const fs::path& root, const fs::path& below, int depth,
             std::vector<std::string>& files) {
  require(depth < deepest, "'", (root / below).string(), "' lies more than ", deepest,
          " folders deep; does a link lead in a circle?");
  for (const fs::path& path : list_folder(root / below)) {
    const fs::path here = below / path.filename();
    if (is_image(path))
      files.push_back(here.string());
    else if (is_folder(path))
      collect(root, here, depth + 1, files);
  }
}

std::vector<std::string> class_names_in(const fs::path& folder) {
  std::vector<std::string> names;
  bool images = false;
  for (const fs::path& path : list_folder(folder)) {
    if (is_folder(path)) names.push_back(path.filename().string());
    images = images || is_image(path);
  }
  require(names.empty() || !images, "'", folder.string(),
          "' holds images and sub-folders: either give each class a sub-folder, or have none");
  return names;
}

Listing list_images(const fs::path& folder, const std::vector<std::string>& classes) {
  Listing listing;
  const auto found = class_names_in(folder);
  require(found.empty() == classes.empty(), "'", folder.string(), "' has ",
          found.empty() ? "no sub-folders" : "sub-folders for classes",
          ", and the train split has ", classes.empty() ? "none" : "some");
  if (classes.empty()) {
    for (const fs::path& path : list_folder(folder))
      if (is_image(path)) listing.files.push_back(path.filename().string());
    require(!listing.files.empty(), "'", folder.string(),
            "' holds no images: no .png, .jpg or .jpeg file, nor sub-folders of them");
  }
  for (const std::string& name : found) {
    const auto known = std::lower_bound(classes.begin(), classes.end(), name);
    require(known != classes.end() && *known == name, "'", (folder / name).string(),
            "' is no class of the train split", config::did_you_mean(name, classes));
    collect(folder, name, 0, listing.files);
    const auto before = listing.labels.size();
    listing.labels.resize(listing.files.size(), static_cast<int32_t>(known - classes.begin()));
    require(listing.labels.size() > before, "the class folder '", (folder / name).string(),
            "' holds no images (.png, .jpg or .jpeg)");
  }
  return listing;
}

class FolderDataset : public Dataset {
 public:
  FolderDataset(const FolderSettings& settings, const Args& args)
      : side_(args.side(settings.size)),
        crop_(settings.crop == "adm" ? formats::Crop::adm : formats::Crop::bicubic) {
    require(!settings.path.empty(), "data.source.path is not set: name the folder of the images");
    const fs::path root = settings.path;
    const bool split = is_folder(root / "train");
    root_ = split ? root / "train" : root;
    info_ = {.kind = "folder", .path = settings.path, .channels = settings.channels};
    info_.class_names = class_names_in(root_);
    info_.classes = static_cast<int64_t>(info_.class_names.size());

    fs::path test;
    for (const char* name : {"test", "val"})
      if (split && test.empty() && is_folder(root / name)) test = root / name;
    if (args.split == "test" && !test.empty()) root_ = test;
    listing_ = list_images(root_, info_.class_names);
    if (test.empty()) {
      hold_out(settings.held_out, args.split);
      info_.detail = "1 in " + std::to_string(settings.held_out.every()) + " held out";
    }
    info_.count = static_cast<int64_t>(listing_.files.size());
    require(info_.count > 0, "'", root_.string(),
            "' holds a single image, and that is held out: it "
            "takes two or more");
    find_size();
    if (side_ > 0)
      info_.detail += (info_.detail.empty() ? "" : ", ") + settings.crop + " crop to " +
                      std::to_string(side_) + " pixels";
  }

  const DatasetInfo& info() const override { return info_; }

  int64_t label(int64_t index) const override {
    return listing_.labels.empty() ? -1 : listing_.labels.at(static_cast<size_t>(index));
  }

  int64_t read(int64_t index, std::span<float> out) const override {
    const Image image = load(index);
    require(image.width == info_.width && image.height == info_.height, "'", path(index).string(),
            "' has ", image.width, " x ", image.height, " pixels, the first image ", info_.width,
            " x ", info_.height, ": set data.source.size to make them alike");
    to_planes(image.pixels, info_.channels, out);
    return label(index);
  }

 private:
  fs::path path(int64_t index) const {
    return root_ / listing_.files.at(static_cast<size_t>(index));
  }

  Image load(int64_t index) const {
    const Image image = to_channels(formats::read_image(path(index)), info_.channels);
    return side_ > 0 ? crop_square(image, side_, crop_) : image;
  }

  void hold_out(const HeldOut& held_out, const std::string& split) {
    Listing kept;
    for (const int64_t i : held_out.positions(static_cast<int64_t>(listing_.files.size()), split)) {
      kept.files.push_back(std::move(listing_.files[static_cast<size_t>(i)]));
      if (!listing_.labels.empty()) kept.labels.push_back(listing_.labels[static_cast<size_t>(i)]);
    }
    listing_ = std::move(kept);
  }

  /// From the first image. Where nothing makes them alike, some more are looked at, so that a
  /// folder of photographs is refused now and not after an hour.
  void find_size() {
    const Image first = load(0);
    info_.width = first.width;
    info_.height = first.height;
    constexpr int64_t probes = 16;
    std::vector<float> sample(static_cast<size_t>(info_.channels * info_.height * info_.width));
    for (int64_t i = 1; i < probes && side_ == 0; ++i)
      read(i * (info_.count - 1) / (probes - 1), sample);
  }

  int64_t side_;
  formats::Crop crop_;
  fs::path root_;
  Listing listing_;
  DatasetInfo info_;
};

const config::Register<Dataset, FolderSettings> registered{
    "folder", "a folder of PNG and JPEG images, one sub-folder a class or none", "",
    [](const auto& settings, const auto& args) {
      return std::make_unique<FolderDataset>(settings, args);
    }};

/// Images here, or one or two folders (split, class) below.
bool holds_images(const fs::path& folder, int depth) {
  const auto entries = list_folder(folder);
  return std::any_of(entries.begin(), entries.end(), is_image) ||
         (depth > 0 && std::any_of(entries.begin(), entries.end(), [&](const fs::path& path) {
            return is_folder(path) && holds_images(path, depth - 1);
          }));
}

const Recognise recognise{"folder", [](const fs::path& path) { return holds_images(path, 2); }};

}  // namespace
}  // namespace gallop::data
