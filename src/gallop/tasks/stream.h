#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace gallop::tasks {

/// The part of the data that is learned from, and the part that a run is judged by.
enum class Split { train, held_out };

/// Some samples of a stream as named tensors on the CPU, a row each.
struct Batch {
  int64_t first = 0;  ///< the number of the first one in its stream
  int64_t of = 0;     ///< samples in the whole stream; 0: it is endless
  std::map<std::string, at::Tensor> tensors;
  std::vector<int64_t> samples;  ///< their numbers in the data set, for reports
  int64_t replaced = 0;          ///< of them, those that others stand for: they could not be read

  int64_t size() const { return static_cast<int64_t>(samples.size()); }
  /// Throws Error that names the tensors there are where that one is none of them.
  const at::Tensor& at(const std::string& name) const;
};

/// Samples by number: a pure function of data and seed, whoever asks for which of them.
class Stream {
 public:
  virtual ~Stream() = default;
  /// How many there are; 0: the stream is endless.
  virtual int64_t size() const = 0;
  /// The samples `first` to `first` + `count` - 1. One call after the other in equal parts is the
  /// fast way: they are read ahead then. Throws Error for a sample that cannot be read.
  virtual Batch at(int64_t first, int64_t count) = 0;
};

}  // namespace gallop::tasks
