#include "tests/support/failing_memory.h"

#include <cstdlib>
#include <new>

namespace gallop::test {
namespace {

constinit thread_local bool failing = false;

}  // namespace

FailingMemory::FailingMemory() { failing = true; }
FailingMemory::~FailingMemory() { failing = false; }

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
bool FailingMemory::works() { return false; }
#else
bool FailingMemory::works() { return true; }
#endif

}  // namespace gallop::test

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// The library's `operator delete` frees what malloc gave.
void* operator new(std::size_t size) {
  if (gallop::test::failing) throw std::bad_alloc();
  void* const memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
#endif
