#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "gallop/base/thread_pool.h"

namespace gallop::ops {

/// Fewer operations than this take one thread less time than waking another.
constexpr int64_t least_shared_work = 1 << 17;
constexpr int64_t work_of_a_number = 8;

/// Calls body(i) once for each i < count; every thread takes the next one that is left, so tasks
/// may differ in cost. Each must write a place of its own: then no result depends on the threads.
/// `work`: multiply-adds in all; little of it stays on one thread. A number that is moved or goes
/// through a function counts `work_of_a_number`.
template <class Body>
void parallel_each(int64_t count, int64_t work, const Body& body) {
  if (work < least_shared_work) {
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  ThreadPool::shared().run(count, body);
}
template <class Body>
void parallel_each(int64_t count, const Body& body) {
  parallel_each(count, std::numeric_limits<int64_t>::max(), body);
}

/// A range cut into equal parts (the last one may be shorter).
struct Parts {
  int64_t size, part;
  int64_t count() const { return part == 0 ? 0 : (size + part - 1) / part; }
  int64_t begin(int64_t i) const { return i * part; }
  int64_t length(int64_t i) const { return std::min(part, size - i * part); }
};

/// Calls body(begin, end) for the parts of 0 <= i < count, `part` long, with `work_of_a_number` and
/// `width` numbers an i.
template <class Body>
void parallel_parts(int64_t count, int64_t part, int64_t width, const Body& body) {
  const Parts parts{count, part};
  parallel_each(parts.count(), count * width * work_of_a_number, [&](int64_t i) {
    const int64_t begin = parts.begin(i);
    body(begin, begin + parts.length(i));
  });
}

}  // namespace gallop::ops
