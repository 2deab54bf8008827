#include <algorithm>

#include "gallop/base/error.h"
#include "gallop/base/file.h"
#include "gallop/config/registry.h"
#include "gallop/data/passed_over.h"
#include "gallop/data/recognise.h"
#include "gallop/data/stored_images.h"

// The binary version of https://www.cs.toronto.edu/~kriz/cifar.html: records of one byte of label
// and 32 x 32 bytes of each red, green and blue.

namespace gallop::data {
namespace {

constexpr size_t side = 32, plane = side * side, record_size = 1 + 3 * plane;
constexpr int64_t class_count = 10;
constexpr const char* usual_folder = "cifar-10-batches-bin";

struct Cifar10Settings : config::Fields<Cifar10Settings> {
  std::string path;
  int64_t size = 0;

  void fields(config::Visitor& v) override {
    v.field("path", path,
            "folder of data_batch_1.bin to data_batch_5.bin (the train split) and test_batch.bin "
            "(the test split), or the one that holds cifar-10-batches-bin");
    v.field("size", size, "resize to squares of so many pixels; 0: as stored",
            config::between(0, 4096));
  }
};

fs::path folder_of(const fs::path& path) {
  return is_folder(path / usual_folder) ? path / usual_folder : path;
}

/// Appends the pictures (interleaved) and labels of one file.
void read_batch(const fs::path& path, std::vector<uint8_t>& pixels, std::vector<uint8_t>& labels) {
  const MappedFile file(path);
  const auto bytes = file.bytes();
  require(!bytes.empty() && bytes.size() % record_size == 0, "'", path.string(), "' has ",
          bytes.size(), " bytes, which is no multiple of the ", record_size,
          " of a CIFAR-10 picture; is it cut short, or of another data set?");
  pixels.reserve(pixels.size() + bytes.size());
  for (size_t at = 0; at < bytes.size(); at += record_size) {
    const auto* record = reinterpret_cast<const uint8_t*>(bytes.data() + at);
    require(record[0] < class_count, "'", path.string(), "': label ", int{record[0]},
            " of picture ", at / record_size, " is out of range: CIFAR-10 has classes 0 to 9");
    labels.push_back(record[0]);
    for (size_t i = 0; i < plane; ++i)
      for (size_t c = 0; c < 3; ++c) pixels.push_back(record[1 + c * plane + i]);
  }
}

constexpr const char* test_file = "test_batch.bin";
const std::vector<std::string> train_files{"data_batch_1.bin", "data_batch_2.bin",
                                           "data_batch_3.bin", "data_batch_4.bin",
                                           "data_batch_5.bin"};

/// Further batches that someone may have put beside the six.
std::vector<std::string> other_batches(const fs::path& folder) {
  std::vector<std::string> names;
  for (const fs::path& path : list_folder(folder)) {
    const std::string name = path.filename().string();
    if (path.extension() == ".bin" && name != test_file &&
        std::find(train_files.begin(), train_files.end(), name) == train_files.end())
      names.push_back(name);
  }
  return unread_files(folder, names, "for they are none of the six files of CIFAR-10");
}

std::unique_ptr<Dataset> open(const Cifar10Settings& s, const Dataset::Args& args) {
  require(!s.path.empty(),
          "task.data.source.path is not set: name the folder of CIFAR-10's .bin files");
  const fs::path folder = folder_of(s.path);
  std::vector<uint8_t> pixels, labels;
  if (args.split == "test") {
    read_batch(folder / test_file, pixels, labels);
  } else {
    for (const std::string& name : train_files) read_batch(folder / name, pixels, labels);
  }
  DatasetInfo info{.kind = "cifar10",
                   .path = folder.string(),
                   .count = static_cast<int64_t>(labels.size()),
                   .channels = 3,
                   .height = side,
                   .width = side,
                   .classes = class_count,
                   .class_names = {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog",
                                   "horse", "ship", "truck"}};
  if (args.split == "train") info.notices = other_batches(folder);
  crop_all(info, pixels, args.side(s.size));
  return std::make_unique<StoredImages>(std::move(info), std::move(pixels), std::move(labels));
}

const config::Register<Dataset, Cifar10Settings> registered{
    "cifar10", "the binary files of CIFAR-10", "Learning Multiple Layers of Features (2009)", open};

const Recognise recognise{
    "cifar10", [](const fs::path& path) { return is_there(folder_of(path) / "data_batch_1.bin"); }};

}  // namespace
}  // namespace gallop::data
