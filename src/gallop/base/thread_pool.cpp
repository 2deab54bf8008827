#include "gallop/base/thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <utility>

#include "gallop/base/cpu.h"
#include "gallop/base/error.h"
#include "gallop/base/number.h"

namespace gallop {

namespace {

constexpr uint32_t inside = 0xFFFF, open = 1U << 16, one_generation = 1U << 17;
constexpr int most_threads = 4096;

// Times around a wait that is mostly short: between two kernels, and for the last piece of another
// thread. Sleeping and waking takes some ten times as long.
constexpr int spins_between_work = 4000, spins_for_others = 2000;

void relax() {
#ifdef __x86_64__
  __builtin_ia32_pause();
#endif
}

int64_t now_ns() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

thread_local bool inside_a_piece = false;

}  // namespace

ThreadPool& ThreadPool::shared() {
  static ThreadPool& pool = *new ThreadPool(default_threads());  // workers use it until the end
  return pool;
}

int ThreadPool::default_threads() {
  if (const char* variable = std::getenv("OMP_NUM_THREADS")) {
    const auto threads = whole_number<int64_t>(variable);
    if (threads && *threads >= 1 && *threads <= most_threads) return static_cast<int>(*threads);
  }
  const CpuInfo cpu = cpu_info();
  const auto quota = static_cast<int>(std::lround(std::min<double>(cpu.quota, most_threads)));
  return std::clamp(std::min(cpu.cores, quota), 1, most_threads);
}

void ThreadPool::set_threads(int threads) {
  require(threads >= 1 && threads <= most_threads, "threads = ", threads, ": a process has 1 to ",
          most_threads, " of them");
  const std::lock_guard lock(caller_);
  if (threads == threads_) return;
  end_workers();
  threads_ = threads;
}

void ThreadPool::start_workers() {
  // Signals are for the threads of the program.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    while (static_cast<int>(workers_.size()) < threads_ - 1)
      workers_.emplace_back([this] { work(); });
  } catch (...) {  // fewer threads than asked for do the same work
    threads_ = static_cast<int>(workers_.size()) + 1;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void ThreadPool::end_workers() {
  ends_ = true;
  state_.fetch_add(one_generation);
  state_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
  ends_ = false;
}

void ThreadPool::take_pieces() noexcept {
  const int64_t begin = now_ns();
  inside_a_piece = true;
  try {
    for (int64_t i = next_.fetch_add(1, std::memory_order_relaxed); i < count_;
         i = next_.fetch_add(1, std::memory_order_relaxed)) {
      piece_(body_, i);
    }
  } catch (...) {
    next_.store(count_, std::memory_order_relaxed);
    const std::lock_guard lock(failure_mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
  inside_a_piece = false;
  busy_ns_.fetch_add(now_ns() - begin, std::memory_order_relaxed);
}

ThreadPool::Times ThreadPool::times() const {
  return {static_cast<double>(shared_ns_) * 1e-9, static_cast<double>(busy_ns_) * 1e-9};
}

void ThreadPool::work() {
  uint32_t done = 0;  // the generation that has nothing left for this thread
  int spins = 0;
  while (!ends_) {
    uint32_t state = state_.load(std::memory_order_acquire);
    if ((state & open) != 0 && state / one_generation != done) {
      if (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) continue;
      done = state / one_generation;
      take_pieces();
      state = state_.fetch_sub(1, std::memory_order_acq_rel) - 1;
      if ((state & (open | inside)) == 0) {
        left_.fetch_add(1);
        left_.notify_one();
      }
      spins = 0;
    } else if (spins < spins_between_work) {
      ++spins;
      relax();
    } else {
      state_.wait(state);
      spins = 0;
    }
  }
}

void ThreadPool::wait_until_left() const {
  for (int spins = 0; (state_.load(std::memory_order_acquire) & inside) != 0; ++spins) {
    if (spins < spins_for_others) {
      relax();
      continue;
    }
    const uint32_t left = left_.load();
    if ((state_.load(std::memory_order_acquire) & inside) == 0) return;
    left_.wait(left);
  }
}

void ThreadPool::run(int64_t count, Piece piece, const void* body) {
  std::unique_lock lock(caller_, std::defer_lock);
  if (count <= 1 || threads_ == 1 || inside_a_piece || !lock.try_lock()) {
    for (int64_t i = 0; i < count; ++i) piece(body, i);
    return;
  }
  const int64_t begin = now_ns();
  if (workers_.empty()) start_workers();
  piece_ = piece;
  body_ = body;
  count_ = count;
  next_.store(0, std::memory_order_relaxed);
  const uint32_t before = state_.load(std::memory_order_relaxed);
  state_.store(((before / one_generation + 1) * one_generation) | open);
  state_.notify_all();
  take_pieces();
  state_.fetch_and(~open, std::memory_order_acq_rel);
  wait_until_left();
  shared_ns_.fetch_add(now_ns() - begin, std::memory_order_relaxed);
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

}  // namespace gallop
