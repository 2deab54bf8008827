#include <algorithm>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "gallop/data/held_out.h"
#include "gallop/data/identity.h"
#include "gallop/data/image_folder.h"
#include "gallop/data/recognise.h"
#include "gallop/data/sample_cache.h"
#include "gallop/data/stored_images.h"
#include "gallop/formats/resize.h"

namespace gallop::data {
namespace {

using formats::Image;

struct FolderSettings : config::Fields<FolderSettings> {
  std::string path;
  int64_t size = 0, channels = 3, cache = 256;
  std::string crop = "adm";
  bool upright = true;
  HeldOut held_out;

  void fields(config::Visitor& v) override {
    v.field(
        "path", path,
        "folder of PNG, JPEG and WebP files, one sub-folder a class, or none for data without "
        "classes; its sub-folders train and test (or val, valid, validation; in any case) are the "
        "splits, where train is there");
    v.field("size", size, "make the images squares of so many pixels; 0: as stored, all alike",
            config::between(0, 4096));
    v.field("crop", crop,
            "how: adm halves large images first, as is usual for ImageNet; bicubic does not; both "
            "scale the shorter side to `size` and keep the centre",
            {"adm", "bicubic"});
    v.field("channels", channels, "3 colour or 1 grey; files are converted", config::between(1, 3));
    v.field("upright", upright,
            "turn images as the camera noted (EXIF orientation); false: leave them as stored");
    held_out.field(v);
    v.effect(config::Effect::free);
    v.field("cache", cache,
            "MiB of memory for images of a split that need not be decoded again; 0: none",
            config::between(0, 1 << 20));
  }
  void validate() const override {
    require(channels != 2, "channels = 2: images have 3 (colour) or 1 (grey)");
  }
};

class FolderDataset : public Dataset {
 public:
  FolderDataset(const FolderSettings& settings, const Args& args)
      : side_(args.side(settings.size)),
        crop_(settings.crop == "adm" ? formats::Crop::adm : formats::Crop::bicubic),
        turn_(settings.upright ? formats::Turn::as_noted : formats::Turn::never),
        cache_(static_cast<size_t>(settings.cache) << 20) {
    require(!settings.path.empty(),
            "task.data.source.path is not set: name the folder of the images");
    const bool train = args.split == "train";
    ImageSplits splits = find_splits(settings.path);
    info_ = {.kind = "folder", .path = settings.path, .channels = settings.channels};
    if (train) info_.notices = std::move(splits.notices);
    info_.class_names = class_names_in(splits.train);
    info_.classes = static_cast<int64_t>(info_.class_names.size());

    const bool held_out = splits.test.empty();
    root_ = train || held_out ? splits.train : splits.test;
    list_ = list_images(root_, info_.class_names);
    if (train || !held_out) add_notices(list_.notices);
    if (held_out) hold_out(settings.held_out, args.split);
    info_.count = static_cast<int64_t>(list_.files.size());
    find_size(args.skip_unreadable);
    info_.content = content_of_files(root_, list_.files);
    if (side_ > 0)
      info_.detail += (info_.detail.empty() ? "" : ", ") + settings.crop + " crop to " +
                      std::to_string(side_) + " pixels";
  }

  const DatasetInfo& info() const override { return info_; }

  int64_t label(int64_t index) const override {
    return list_.labels.empty() ? -1 : list_.labels.at(static_cast<size_t>(index));
  }

  int64_t read(int64_t index, std::span<float> out) const override {
    if (const auto kept = cache_.find(index); !kept.empty()) {
      to_planes(kept, info_.channels, out);
      return label(index);
    }
    Image image = load(index);
    require_size(index, image);
    to_planes(image.pixels, info_.channels, out);
    cache_.keep(index, std::move(image.pixels));
    return label(index);
  }

 private:
  fs::path path(int64_t index) const { return root_ / list_.files.at(static_cast<size_t>(index)); }

  /// Grey becomes colour last, since each channel is cropped for itself.
  Image load(int64_t index) const {
    Image image = formats::read_image(path(index), turn_);
    if (image.channels > info_.channels) image = to_channels(std::move(image), info_.channels);
    if (side_ > 0) image = crop_square(std::move(image), side_, crop_);
    return to_channels(std::move(image), info_.channels);
  }

  void add_notices(const std::vector<std::string>& more) {
    info_.notices.insert(info_.notices.end(), more.begin(), more.end());
  }

  void hold_out(const HeldOut& held_out, const std::string& split) {
    const bool classes = !list_.labels.empty();
    const HeldOut::Parts parts = held_out.parts(
        static_cast<int64_t>(list_.files.size()),
        [&](int64_t i) { return classes ? int64_t{list_.labels[static_cast<size_t>(i)]} : 0; });
    ImageList kept;
    for (const int64_t i : parts.of(split)) {
      kept.files.push_back(std::move(list_.files[static_cast<size_t>(i)]));
      if (classes) kept.labels.push_back(list_.labels[static_cast<size_t>(i)]);
    }
    list_ = std::move(kept);
    info_.detail = parts.detail(held_out);
    if (split == "train") add_notices(parts.notices());
  }

  /// From the first image. Where nothing makes them alike, some more are looked at, so that a
  /// folder of photographs is refused now and not after an hour. One that cannot be read is passed
  /// over here if it may be: whoever reads it tells.
  void find_size(bool skip_unreadable) {
    int64_t first = 0;
    Image image = load_or_none(first, skip_unreadable && info_.count > 1);
    while (image.pixels.empty()) {
      ++first;
      image = load_or_none(first, skip_unreadable && first + 1 < info_.count);
    }
    info_.width = image.width;
    info_.height = image.height;
    cache_.keep(first, std::move(image.pixels));
    constexpr int64_t probes = 16;
    for (int64_t i = 1; i < probes && side_ == 0; ++i) {
      const int64_t index = first + i * (info_.count - 1 - first) / (probes - 1);
      const Image probe = load_or_none(index, skip_unreadable);
      if (!probe.pixels.empty()) require_size(index, probe);
    }
  }

  Image load_or_none(int64_t index, bool skip_unreadable) const {
    try {
      return load(index);
    } catch (const Error&) {
      if (!skip_unreadable) throw;
      return {};
    }
  }

  void require_size(int64_t index, const Image& image) const {
    require(image.width == info_.width && image.height == info_.height, "'", path(index).string(),
            "' has ", image.width, " x ", image.height, " pixels, the first image ", info_.width,
            " x ", info_.height, ": set task.data.source.size to make them alike");
  }

  int64_t side_;
  formats::Crop crop_;
  formats::Turn turn_;
  fs::path root_;
  ImageList list_;
  DatasetInfo info_;
  mutable SampleCache cache_;
};

const config::RegisterKind<Dataset, FolderDataset, FolderSettings> registered{
    "folder", "a folder of PNG, JPEG and WebP images, one sub-folder a class or none", ""};

/// Images here, or one or two folders (split, class) below.
bool holds_images(const fs::path& folder, int depth) {
  const auto entries = list_folder(folder);
  return std::any_of(entries.begin(), entries.end(), is_image_name) ||
         (depth > 0 && std::any_of(entries.begin(), entries.end(), [&](const fs::path& path) {
            return is_folder_of_images(path) && holds_images(path, depth - 1);
          }));
}

const Recognise recognise{"folder", [](const fs::path& path) { return holds_images(path, 2); }};

}  // namespace
}  // namespace gallop::data
