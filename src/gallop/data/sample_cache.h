#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

namespace gallop::data {

/// Keeps samples that were costly to read, up to a bound of memory, for several threads. The first
/// come stay: an epoch takes each sample once, so that what makes room for the next is always what
/// is wanted later.
class SampleCache {
 public:
  explicit SampleCache(size_t most_bytes) : most_bytes_(most_bytes) {}

  /// The sample of this index; empty if it is not kept. It stays where it is.
  std::span<const uint8_t> find(int64_t index) const {
    const std::lock_guard lock(mutex_);
    const auto found = samples_.find(index);
    return found == samples_.end() ? std::span<const uint8_t>() : found->second;
  }

  /// Keeps it if there is room.
  void keep(int64_t index, std::vector<uint8_t> sample) {
    const std::lock_guard lock(mutex_);
    const size_t bytes = sample.size() + entry_bytes;
    if (bytes > most_bytes_ - bytes_) return;
    if (samples_.try_emplace(index, std::move(sample)).second) bytes_ += bytes;
  }

 private:
  static constexpr size_t entry_bytes = 96;  // of the map, about

  const size_t most_bytes_;
  mutable std::mutex mutex_;
  size_t bytes_ = 0;
  std::unordered_map<int64_t, std::vector<uint8_t>> samples_;
};

}  // namespace gallop::data
