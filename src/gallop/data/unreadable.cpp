#include "gallop/data/unreadable.h"

#include "gallop/base/error.h"
#include "gallop/base/log.h"
#include "gallop/base/random.h"

namespace gallop::data {
namespace {

constexpr uint64_t most_attempts = 100;

}  // namespace

SampleReader::SampleReader(std::shared_ptr<const Dataset> dataset, bool skip_unreadable,
                           uint64_t seed, std::string split)
    : dataset_(std::move(dataset)), skip_(skip_unreadable), seed_(seed), split_(std::move(split)) {}

SampleReader::Taken SampleReader::read(int64_t index, int64_t position, std::span<float> out,
                                       std::vector<Unreadable>& unreadable) const {
  const std::string purpose = "replacement." + split_;
  for (uint64_t attempt = 0;; ++attempt) {
    try {
      return {.index = index, .label = dataset_->read(index, out)};
    } catch (const Error& error) {
      require(skip_, error.what(), " (sample ", index, " of the ", split_,
              " split). Mend it, or go on without it: --set data.on_error=skip");
      require(attempt + 1 < most_attempts, "data.on_error = \"skip\": ", most_attempts,
              " samples of the ", split_,
              " split, one in place of the other, cannot be read, the "
              "last because ",
              error.what());
      unreadable.push_back({.index = index, .reason = error.what()});
    }
    index = static_cast<int64_t>(
        uniform_below(static_cast<uint64_t>(dataset_->info().count),
                      {seed_, purpose, static_cast<uint64_t>(position), attempt}));
  }
}

void UnreadableLog::tell(const std::string& split, const std::vector<Unreadable>& unreadable) {
  for (const Unreadable& sample : unreadable) {
    if (!told_.emplace(split, sample.index).second) continue;
    log_warning(
        "sample ", sample.index, " of the ", split,
        " split cannot be read and another one takes its place (data.on_error): ", sample.reason);
  }
}

}  // namespace gallop::data
