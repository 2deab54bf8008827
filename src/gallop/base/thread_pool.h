#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace gallop {

/// The threads of all our kernels. Work is a number of pieces; each thread takes the next one that
/// is left, so a slow core takes fewer, and the caller waits only for threads that have taken one:
/// a thread that gets no core delays nobody. Waiting is a short spin and then sleep.
///
/// One caller at a time is served: a second one, or one inside a piece, does its pieces alone.
/// After fork() the child has no threads and does its pieces alone, too.
class ThreadPool {
 public:
  /// The one of this process, with default_threads(); it is never destroyed.
  static ThreadPool& shared();
  /// OMP_NUM_THREADS where it is a number from 1 to 4096, else the cores that this process may use
  /// and a container's quota allows.
  static int default_threads();

  explicit ThreadPool(int threads) { set_threads(threads); }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool() { end_workers(); }

  /// The caller and threads - 1 others, which start with the first work. Throws Error unless it is
  /// 1 to 4096. Not while work runs.
  void set_threads(int threads);
  int threads() const { return threads_; }

  /// Seconds since the pool began, for benchmarks.
  struct Times {
    double shared = 0;  ///< that callers were in work which all threads share
    double busy = 0;    ///< of all threads in pieces of it
  };
  Times times() const;

  /// Calls body(i) once for each 0 <= i < count, in any order, and returns when all are done. An
  /// exception of a piece is thrown again here; pieces that nobody has taken by then are left out.
  template <class Body>
  void run(int64_t count, const Body& body) {
    run(count, [](const void* b, int64_t i) { (*static_cast<const Body*>(b))(i); }, &body);
  }

 private:
  using Piece = void (*)(const void* body, int64_t i);

  void run(int64_t count, Piece piece, const void* body);
  void start_workers();
  void end_workers();
  void work();
  void take_pieces() noexcept;
  void wait_until_left() const;

  // What workers read, once they have entered.
  Piece piece_ = nullptr;
  const void* body_ = nullptr;
  int64_t count_ = 0;
  std::exception_ptr failure_;
  std::mutex failure_mutex_;
  // Apart, since every thread writes it.
  alignas(64) std::atomic<int64_t> next_{0};
  // A generation, whether it may be entered, and how many workers are inside.
  alignas(64) std::atomic<uint32_t> state_{0};
  std::atomic<uint32_t> left_{0};  // counts the times that the last worker left
  alignas(64) std::mutex caller_;
  int threads_ = 1;
  std::atomic<int64_t> shared_ns_{0}, busy_ns_{0};
  std::atomic<bool> ends_{false};
  std::vector<std::thread> workers_;
};

}  // namespace gallop
