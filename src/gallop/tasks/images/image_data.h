#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "gallop/data/loader.h"
#include "gallop/tasks/images/settings.h"
#include "gallop/tasks/stream.h"

namespace gallop::tasks {

/// The two splits of a data set of images, opened on first use; several threads may ask at once.
class ImageData {
 public:
  struct Args {
    data::DataConfig config;
    uint64_t seed = 0;
    bool named = true;  ///< someone said where the data are; if not, reading them is an Error
    /// What is known of the splits without opening them.
    std::optional<data::DatasetInfo> train, held_out;
  };
  explicit ImageData(Args args) : args_(std::move(args)) {}

  /// What the training split holds, as it is known or found.
  const data::DatasetInfo& info() const;
  /// What the held-out split holds; opens it.
  const data::DatasetInfo& held_out_info() const;
  /// As a file says it. It must be like `info`, and samples of another shape are made so.
  std::shared_ptr<const data::Dataset> split(Split split) const;
  const Args& args() const { return args_; }

  /// Warns of samples that could not be read, of each once.
  void tell(Split split, const std::vector<data::Unreadable>& unreadable) const;

 private:
  std::shared_ptr<const data::Dataset> open(Split split) const;
  const std::shared_ptr<const data::Dataset>& opened(Split split) const;  // under the lock

  Args args_;
  mutable std::mutex mutex_;
  mutable std::optional<data::DatasetInfo> found_;  ///< of the training split, where not known
  mutable std::shared_ptr<const data::Dataset> train_, held_out_;
  mutable data::UnreadableLog unreadable_;
};

/// The training samples as "images" [B, C, H, W] and, where there are classes, "labels" [B]: in the
/// order of data::Order, read ahead in threads.
std::unique_ptr<Stream> training_stream(std::shared_ptr<const ImageData> data);
/// The first `most` samples of the held-out split, the same tensors.
std::unique_ptr<Stream> held_out_stream(std::shared_ptr<const ImageData> data, int64_t most);

}  // namespace gallop::tasks
