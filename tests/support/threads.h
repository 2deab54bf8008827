#pragma once

#include <ATen/Parallel.h>

#include "gallop/base/thread_pool.h"

namespace gallop::testing {

/// The threads of our kernels and of libtorch, while it lives.
class Threads {
 public:
  explicit Threads(int count) { set(count); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  ~Threads() {
    ThreadPool::shared().set_threads(pool_);
    at::set_num_threads(torch_);
  }
  static void set(int count) {
    ThreadPool::shared().set_threads(count);
    at::set_num_threads(count);
  }

 private:
  int pool_ = ThreadPool::shared().threads(), torch_ = at::get_num_threads();
};

}  // namespace gallop::testing
