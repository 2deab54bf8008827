#include "gallop/tasks/images/image_data.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <span>

#include "gallop/base/error.h"
#include "gallop/base/log.h"
#include "gallop/data/identity.h"
#include "gallop/data/summary.h"

namespace gallop::tasks {
namespace {

const char* name_of(Split split) { return split == Split::train ? "train" : "test"; }

}  // namespace

std::shared_ptr<const data::Dataset> ImageData::open(Split split) const {
  require(args_.named,
          "this needs the data, and the recipe names none: give --set task.data.source.kind=... "
          "and --set task.data.source.path=...");
  const auto& known = args_.train ? args_.train : found_;
  data::Dataset::Args args{.split = name_of(split)};
  if (known) {
    args.channels = known->channels;
    args.height = known->height;
    args.width = known->width;
  }
  std::shared_ptr<const data::Dataset> dataset = data::open_dataset(args_.config, args);
  const data::DatasetInfo& found = dataset->info();
  // Sizes without a kind of data are the model's own.
  const bool fits =
      !known || found.classes == known->classes ||
      (known->kind.empty() &&
       (known->classes == 0 || (found.classes > 0 && found.classes < known->classes)));
  require(fits, found.path, ": the ", args.split, " split has ", found.classes,
          " classes, expected are ", known ? known->classes : 0);
  for (const std::string& notice : data::notices(*dataset, args.split)) {
    log_warning("data: ", notice);
  }
  const bool training = split == Split::train;
  if (const auto& seen = training ? args_.train : args_.held_out; seen && !seen->kind.empty()) {
    for (const data::Change& change :
         training ? data::changes(*seen, found) : data::held_out_changes(*seen, found)) {
      log_warning(found.path, ": these are not the data that the weights have seen: ", change.text);
    }
  }
  return dataset;
}

const std::shared_ptr<const data::Dataset>& ImageData::opened(Split split) const {
  auto& dataset = split == Split::train ? train_ : held_out_;
  if (!dataset) dataset = open(split);
  return dataset;
}

const data::DatasetInfo& ImageData::info() const {
  if (args_.train) return *args_.train;
  const std::lock_guard lock(mutex_);
  if (!found_) found_ = opened(Split::train)->info();
  return *found_;
}

const data::DatasetInfo& ImageData::held_out_info() const { return split(Split::held_out)->info(); }

std::shared_ptr<const data::Dataset> ImageData::split(Split split) const {
  const std::lock_guard lock(mutex_);
  return opened(split);
}

void ImageData::tell(Split split, const std::vector<data::Unreadable>& unreadable) const {
  const std::lock_guard lock(mutex_);
  unreadable_.tell(name_of(split), unreadable);
}

namespace {

Batch to_batch(const data::Batch& from, const data::DatasetInfo& info, int64_t first, int64_t of) {
  Batch batch{.first = first,
              .of = of,
              .samples = from.indices,
              .replaced = static_cast<int64_t>(from.unreadable.size())};
  const int64_t count = batch.size();
  at::Tensor x_BCHW =
      at::empty({count, info.channels, info.height, info.width}, at::TensorOptions(at::kFloat));
  require(x_BCHW.numel() == static_cast<int64_t>(from.images.size()), "a batch of ", count,
          " images holds ", from.images.size(), " numbers instead of ", x_BCHW.numel());
  std::copy(from.images.begin(), from.images.end(), x_BCHW.mutable_data_ptr<float>());
  batch.tensors.emplace("images", std::move(x_BCHW));
  if (!from.labels.empty()) {
    at::Tensor y_B = at::empty({count}, at::TensorOptions(at::kLong));
    std::copy(from.labels.begin(), from.labels.end(), y_B.mutable_data_ptr<int64_t>());
    batch.tensors.emplace("labels", std::move(y_B));
  }
  return batch;
}

class TrainingStream : public Stream {
 public:
  explicit TrainingStream(std::shared_ptr<const ImageData> data)
      : data_(std::move(data)), dataset_(data_->split(Split::train)) {}

  int64_t size() const override { return 0; }

  Batch at(int64_t first, int64_t count) override {
    if (!loader_ || first != next_ || count != count_) {
      loader_ = std::make_unique<data::Loader>(dataset_, data_->args().config, count,
                                               data_->args().seed, first);
    }
    const data::Batch batch = loader_->next();
    next_ = first + count;
    count_ = count;
    data_->tell(Split::train, batch.unreadable);
    return to_batch(batch, dataset_->info(), first, 0);
  }

 private:
  std::shared_ptr<const ImageData> data_;
  std::shared_ptr<const data::Dataset> dataset_;
  std::unique_ptr<data::Loader> loader_;
  int64_t next_ = 0, count_ = 0;  // what the loader gives next
};

class HeldOutStream : public Stream {
 public:
  HeldOutStream(std::shared_ptr<const ImageData> data, int64_t most)
      : data_(std::move(data)),
        dataset_(data_->split(Split::held_out)),
        size_(std::min(most, dataset_->info().count)) {}

  int64_t size() const override { return size_; }

  Batch at(int64_t first, int64_t count) override {
    const ImageData::Args& args = data_->args();
    const data::DatasetInfo& info = dataset_->info();
    const auto size = static_cast<size_t>(info.channels * info.height * info.width);
    const data::SampleReader reader(dataset_, args.config.skips_unreadable(), args.seed, "test");
    data::Batch batch;
    batch.images.resize(static_cast<size_t>(count) * size);
    for (int64_t i = 0; i < count; ++i) {
      const std::span<float> image(&batch.images[static_cast<size_t>(i) * size], size);
      const auto [index, label] = reader.read(first + i, first + i, image, batch.unreadable);
      batch.indices.push_back(index);
      if (info.classes > 0) batch.labels.push_back(label);
    }
    data_->tell(Split::held_out, batch.unreadable);
    return to_batch(batch, info, first, size_);
  }

 private:
  std::shared_ptr<const ImageData> data_;
  std::shared_ptr<const data::Dataset> dataset_;
  int64_t size_;
};

}  // namespace

std::unique_ptr<Stream> training_stream(std::shared_ptr<const ImageData> data) {
  return std::make_unique<TrainingStream>(std::move(data));
}

std::unique_ptr<Stream> held_out_stream(std::shared_ptr<const ImageData> data, int64_t most) {
  return std::make_unique<HeldOutStream>(std::move(data), most);
}

}  // namespace gallop::tasks
