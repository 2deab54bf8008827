#pragma once

namespace gallop::test {

/// While one lives, `operator new` on this thread throws std::bad_alloc.
class FailingMemory {
 public:
  FailingMemory();
  ~FailingMemory();
  FailingMemory(const FailingMemory&) = delete;
  FailingMemory& operator=(const FailingMemory&) = delete;
  /// False under sanitizers that have an `operator new` of their own.
  static bool works();
};

}  // namespace gallop::test
