#include "gallop/base/stop.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "gallop/base/error.h"

namespace gallop {
namespace {

// A handler may touch lock-free atomics only.
static_assert(std::atomic<bool>::is_always_lock_free);
std::atomic<bool> requested{false};
std::atomic<bool> installed{false};
struct sigaction interrupt_before, terminate_before;

void on_signal(int) {
  const int saved_errno = errno;
  if (requested.exchange(true)) ::_exit(130);
  static constexpr char text[] = "\nstopping; once more to end at once\n";
  [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, text, sizeof text - 1);
  errno = saved_errno;
}

}  // namespace

StopSignals::StopSignals() {
  require(!installed.exchange(true), "StopSignals: another one is alive");
  requested = false;
  struct sigaction action{};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;  // reads and writes in progress go on
  ::sigaction(SIGINT, &action, &interrupt_before);
  ::sigaction(SIGTERM, &action, &terminate_before);
}

StopSignals::~StopSignals() {
  ::sigaction(SIGINT, &interrupt_before, nullptr);
  ::sigaction(SIGTERM, &terminate_before, nullptr);
  requested = false;
  installed = false;
}

bool stop_requested() { return requested.load(std::memory_order_relaxed); }
void request_stop() { requested = true; }

}  // namespace gallop
