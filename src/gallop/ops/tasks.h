#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <limits>

namespace gallop::ops {

/// Fewer operations than this take one thread less time than waking another, and far less where
/// other programs use the cores, too.
constexpr int64_t least_shared_work = 1 << 17;
constexpr int64_t work_of_a_number = 8;

/// Calls body(i) once for each i < count; every thread takes the next one that is left, so tasks
/// may differ in cost. Each must write a place of its own: then no result depends on the threads.
/// `work`: multiply-adds in all; little of it stays on one thread. A number that is moved or goes
/// through a function counts `work_of_a_number`.
template <class Body>
void for_each_task(int64_t count, int64_t work, const Body& body) {
  if (work < least_shared_work) {
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  std::atomic<int64_t> next{0};
  at::parallel_for(0, std::min<int64_t>(count, at::get_num_threads()), 1, [&](int64_t, int64_t) {
    for (int64_t i = next++; i < count; i = next++) body(i);
  });
}
template <class Body>
void for_each_task(int64_t count, const Body& body) {
  for_each_task(count, std::numeric_limits<int64_t>::max(), body);
}

/// A range cut into equal parts (the last one may be shorter).
struct Parts {
  int64_t size, part;
  int64_t count() const { return part == 0 ? 0 : (size + part - 1) / part; }
  int64_t begin(int64_t i) const { return i * part; }
  int64_t length(int64_t i) const { return std::min(part, size - i * part); }
};

}  // namespace gallop::ops
