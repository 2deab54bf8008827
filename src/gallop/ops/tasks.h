#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>

namespace gallop::ops {

/// Calls body(i) once for each i < count; every thread takes the next one that is left, so tasks
/// may differ in cost. Each must write a place of its own: then no result depends on the threads.
template <class Body>
void for_each_task(int64_t count, const Body& body) {
  std::atomic<int64_t> next{0};
  at::parallel_for(0, std::min<int64_t>(count, at::get_num_threads()), 1, [&](int64_t, int64_t) {
    for (int64_t i = next++; i < count; i = next++) body(i);
  });
}

/// A range cut into equal parts (the last one may be shorter).
struct Parts {
  int64_t size, part;
  int64_t count() const { return part == 0 ? 0 : (size + part - 1) / part; }
  int64_t begin(int64_t i) const { return i * part; }
  int64_t length(int64_t i) const { return std::min(part, size - i * part); }
};

}  // namespace gallop::ops
