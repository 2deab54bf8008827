#pragma once

#include <cstdint>
#include <memory>
#include <new>

namespace gallop::ops {

/// Floats without a first value, at a multiple of 64 bytes. Thread-local ones are the scratch
/// memory of the kernels: they grow to what a thread has needed and stay.
class Buffer {
 public:
  /// Memory for `size` floats; what was in it is lost when it grows.
  float* at_least(int64_t size) {
    if (size > size_) {
      data_.reset();
      data_.reset(new (alignment) float[size]);
      size_ = size;
    }
    return data_.get();
  }

 private:
  static constexpr std::align_val_t alignment{64};
  struct Delete {
    void operator()(float* data) const { operator delete[](data, alignment); }
  };
  std::unique_ptr<float[], Delete> data_;
  int64_t size_ = 0;
};

}  // namespace gallop::ops
