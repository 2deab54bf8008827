#pragma once

#include <cstdint>
#include <memory>
#include <new>

namespace gallop::ops {

/// Numbers without a first value, at a multiple of 64 bytes. Thread-local ones are the scratch
/// memory of the kernels: they grow to what a thread has needed and stay.
template <class T>
class BufferOf {
 public:
  /// Memory for `size` numbers; what was in it is lost when it grows.
  T* at_least(int64_t size) {
    if (size > size_) {
      data_.reset();
      data_.reset(new (alignment) T[size]);
      size_ = size;
    }
    return data_.get();
  }

 private:
  static constexpr std::align_val_t alignment{64};
  struct Delete {
    void operator()(T* data) const { operator delete[](data, alignment); }
  };
  std::unique_ptr<T[], Delete> data_;
  int64_t size_ = 0;
};
using Buffer = BufferOf<float>;

}  // namespace gallop::ops
