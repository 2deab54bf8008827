#include <algorithm>
#include <cmath>
#include <cstring>
#include <sstream>

#include "gallop/base/error.h"
#include "gallop/base/file.h"
#include "gallop/base/hash.h"
#include "gallop/base/human.h"
#include "gallop/base/json.h"
#include "gallop/config/registry.h"
#include "gallop/config/value.h"
#include "gallop/data/dataset.h"
#include "gallop/data/held_out.h"
#include "gallop/data/identity.h"
#include "gallop/data/passed_over.h"
#include "gallop/data/recognise.h"
#include "gallop/formats/half.h"
#include "gallop/formats/safetensors.h"

// The format is described in docs/data.md.

namespace gallop::data {
namespace {

using formats::DType;
using formats::SafetensorsReader;
using formats::TensorView;

constexpr const char* manifest_name = "manifest.json";
constexpr const char* format_name = "gallop-latents";
constexpr int64_t format_version = 1;
constexpr int64_t largest_side = 65536;  // of a shape, so that no product overflows
constexpr int64_t most_classes = 1 << 24;

struct LatentsSettings : config::Fields<LatentsSettings> {
  std::string path;
  HeldOut held_out;

  void fields(config::Visitor& v) override {
    v.field("path", path,
            "folder of manifest.json and the safetensors files it lists; the splits are its lists "
            "train and test");
    held_out.field(v);
  }
};

struct Manifest {
  std::string encoder, crop;
  double scale_factor = 1;
  std::vector<int64_t> shape;
  int64_t classes = 0;
  std::vector<std::string> class_names, train, test;
};

int64_t integer(const Json& json, const char* what, int64_t least, int64_t most) {
  const int64_t value = json.as_int();
  require(value >= least && value <= most, what, " is ", value, ", allowed are ", least, " to ",
          most);
  return value;
}

std::vector<std::string> strings(const Json* json) {
  std::vector<std::string> result;
  if (json)
    for (const Json& item : json->as_array()) result.push_back(item.as_string());
  return result;
}

Manifest read_manifest(const fs::path& path) {
  const Json json = Json::parse(read_file(path), "'" + path.string() + "'");
  try {
    const std::string& format = json.at("format").as_string();
    require(format == format_name, "format is '", format, "', not '", format_name, "'");
    const int64_t version = json.at("version").as_int();
    require(version == format_version, "version is ", version, "; this program reads ",
            format_version);
    Manifest m;
    m.encoder = json.at("encoder").as_string();
    m.scale_factor = json.at("scale_factor").as_double();
    require(std::isfinite(m.scale_factor) && m.scale_factor > 0, "scale_factor is ", m.scale_factor,
            ", it must be above 0");
    const auto& shape = json.at("shape").as_array();
    require(shape.size() == 3, "shape has ", shape.size(),
            " numbers instead of 3: channels, height and width");
    for (const Json& n : shape) m.shape.push_back(integer(n, "a number of shape", 1, largest_side));
    m.classes = integer(json.at("classes"), "classes", 0, most_classes);
    m.class_names = strings(json.find("class_names"));
    require(m.class_names.empty() || m.class_names.size() == static_cast<size_t>(m.classes),
            "class_names has ", m.class_names.size(), " names, classes is ", m.classes);
    if (const Json* crop = json.find("crop")) m.crop = crop->as_string();
    m.train = strings(&json.at("train"));
    m.test = strings(json.find("test"));
    require(!m.train.empty(), "train lists no file");
    return m;
  } catch (const Error& error) {
    fail("'", path.string(), "': ", error.what());
  }
}

/// Shards that lie beside the manifest and are in none of its lists.
std::vector<std::string> unlisted(const fs::path& folder, const Manifest& manifest) {
  std::vector<fs::path> listed;
  for (const auto* names : {&manifest.train, &manifest.test})
    for (const std::string& name : *names) listed.push_back((folder / name).lexically_normal());
  std::vector<std::string> names;
  for (const fs::path& path : list_folder(folder))
    if (path.extension() == ".safetensors" &&
        std::find(listed.begin(), listed.end(), path.lexically_normal()) == listed.end())
      names.push_back(path.filename().string());
  return unread_files(folder, names, "for manifest.json does not list them");
}

/// One safetensors file: `latents` [count, channels, height, width] and `labels` [count].
class Shard {
 public:
  Shard(const fs::path& path, const Manifest& manifest) : file_(path) {
    latents_ = &tensor("latents");
    const auto& shape = latents_->shape;
    require(shape.size() == 4 && std::equal(shape.begin() + 1, shape.end(), manifest.shape.begin()),
            where(), "'latents' has shape ", shape_text(shape), ", the manifest says [count, ",
            manifest.shape[0], ", ", manifest.shape[1], ", ", manifest.shape[2], "]");
    const DType type = latents_->dtype;
    require(type == DType::F32 || type == DType::F16 || type == DType::BF16, where(),
            "'latents' is ", name_of(type), "; F32, F16 and BF16 are read");
    if (manifest.classes > 0) check_labels(manifest.classes);
  }

  int64_t count() const { return latents_->shape[0]; }

  std::span<const std::byte> label_bytes() const {
    return labels_ ? labels_->data : std::span<const std::byte>();
  }

  int64_t label(int64_t index) const {
    if (!labels_) return -1;
    int64_t value;
    std::memcpy(&value, labels_->data.data() + static_cast<size_t>(index) * sizeof value,
                sizeof value);
    return value;
  }

  void read(int64_t index, double scale, std::span<float> out) const {
    const size_t size = out.size() * size_of(latents_->dtype);
    const auto bytes = latents_->data.subspan(static_cast<size_t>(index) * size, size);
    if (latents_->dtype == DType::F32) {
      std::memcpy(out.data(), bytes.data(), size);
    } else {
      const auto wide =
          latents_->dtype == DType::F16 ? formats::from_float16 : formats::from_bfloat16;
      for (size_t i = 0; i < out.size(); ++i) {
        uint16_t half;
        std::memcpy(&half, bytes.data() + 2 * i, sizeof half);
        out[i] = wide(half);
      }
    }
    bool finite = true;
    for (float& x : out) {
      x *= static_cast<float>(scale);
      finite = finite && std::isfinite(x);
    }
    require(finite, where(), "latent ", index, " holds a number that is not finite");
  }

 private:
  std::string where() const { return "'" + file_.path().string() + "': "; }

  const TensorView& tensor(const char* name) const {
    const TensorView* found = file_.find(name);
    require(found, where(), "there is no tensor '", name, "'");
    return *found;
  }

  void check_labels(int64_t classes) {
    labels_ = &tensor("labels");
    require(labels_->dtype == DType::I64 && labels_->shape == std::vector{count()}, where(),
            "'labels' is ", name_of(labels_->dtype), " ", shape_text(labels_->shape),
            " instead of ", "I64 [", count(), "]");
    int64_t i = 0;
    while (i < count() && label(i) >= 0 && label(i) < classes) ++i;
    require(i == count(), where(), "label ", i < count() ? label(i) : 0, " of latent ", i,
            " is out of range: the manifest says ", classes, " classes");
  }

  SafetensorsReader file_;
  const TensorView* latents_ = nullptr;
  const TensorView* labels_ = nullptr;
};

class LatentsDataset : public Dataset {
 public:
  LatentsDataset(const LatentsSettings& settings, const Args& args) {
    require(!settings.path.empty(),
            "task.data.source.path is not set: name the folder of the latents");
    const fs::path folder = settings.path;
    const Manifest manifest = read_manifest(folder / manifest_name);
    const bool own_test = !manifest.test.empty();
    scale_ = manifest.scale_factor;
    Hasher content;
    content.add(config::to_text(scale_) + "\n");
    for (const auto& name : args.split == "test" && own_test ? manifest.test : manifest.train) {
      shards_.push_back(std::make_unique<Shard>(folder / name, manifest));
      add_file(content, folder, name);
      content.add(shards_.back()->label_bytes());
      ends_.push_back((ends_.empty() ? 0 : ends_.back()) + shards_.back()->count());
    }
    HeldOut::Parts parts;
    if (!own_test) {
      parts = settings.held_out.parts(ends_.back(), [&](int64_t position) {
        const auto [shard, at] = find_stored(position);
        return shard.label(at);
      });
      held_out_ = parts.of(args.split);
    }

    std::ostringstream detail;
    detail << "encoder " << manifest.encoder << ", scale factor " << scale_;
    if (!manifest.crop.empty()) detail << ", crop " << manifest.crop;
    if (!own_test) detail << ", " << parts.detail(settings.held_out);
    info_ = {.kind = "latents",
             .path = settings.path,
             .count = own_test ? ends_.back() : static_cast<int64_t>(held_out_.size()),
             .channels = manifest.shape[0],
             .height = manifest.shape[1],
             .width = manifest.shape[2],
             .classes = manifest.classes,
             .class_names = manifest.class_names,
             .latent = true,
             .detail = detail.str(),
             .content = content.hex()};
    if (args.split == "train") {
      info_.notices = unlisted(folder, manifest);
      for (std::string& notice : parts.notices()) info_.notices.push_back(std::move(notice));
    }
  }

  const DatasetInfo& info() const override { return info_; }

  int64_t label(int64_t index) const override {
    const auto [shard, at] = find(index);
    return shard.label(at);
  }

  int64_t read(int64_t index, std::span<float> out) const override {
    const auto [shard, at] = find(index);
    require(out.size() == static_cast<size_t>(info_.channels * info_.height * info_.width),
            "a latent does not fit into ", out.size(), " values");
    shard.read(at, scale_, out);
    return shard.label(at);
  }

 private:
  std::pair<const Shard&, int64_t> find(int64_t index) const {
    require(index >= 0 && index < info_.count, "there is no latent ", index, " among ",
            info_.count);
    return find_stored(held_out_.empty() ? index : held_out_[static_cast<size_t>(index)]);
  }

  /// Of the samples of all shards, whatever their split.
  std::pair<const Shard&, int64_t> find_stored(int64_t position) const {
    const auto n = std::upper_bound(ends_.begin(), ends_.end(), position) - ends_.begin();
    return {*shards_[static_cast<size_t>(n)],
            position - (n > 0 ? ends_[static_cast<size_t>(n) - 1] : 0)};
  }

  double scale_ = 1;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::vector<int64_t> ends_;      // samples up to the end of each shard
  std::vector<int64_t> held_out_;  // positions of the split; empty: all
  DatasetInfo info_;
};

const config::RegisterKind<Dataset, LatentsDataset, LatentsSettings> registered{
    "latents", "latents of an image encoder in safetensors files with a manifest.json",
    "Latent diffusion, arXiv 2112.10752"};

const Recognise recognise{"latents",
                          [](const fs::path& folder) { return is_there(folder / manifest_name); }};

}  // namespace
}  // namespace gallop::data
