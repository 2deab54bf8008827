#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <utility>

namespace gallop {

/// Steps a second over the recent past: the last minute, or the last two steps if they took longer.
class RateMeter {
 public:
  /// `done` steps are done at `seconds`; both never decrease.
  void add(double seconds, int64_t done);
  /// 0 while unknown.
  double rate() const;

 private:
  std::deque<std::pair<double, int64_t>> samples_;
};

struct ProgressOptions {
  enum class Output {
    automatic,  ///< `line` on a terminal that can redraw, else `plain`; `none` where info is not
                ///< logged
    line,       ///< one line, drawn again in place at most five times a second
    plain,      ///< a line of the log every `plain_seconds`
    none
  };
  std::string label;          ///< "train"
  std::string unit = "step";  ///< what the rate counts, "image", ...
  double units_per_step = 1;
  int64_t total = 0;  ///< steps; 0: unknown
  int64_t start = 0;  ///< steps done before this run
  double plain_seconds = 30;
  Output output = Output::automatic;
  int width = 0;                  ///< columns of the terminal; 0: ask it
  std::function<double()> clock;  ///< seconds; empty: a steady clock
};

/// How far a run is, with rate and time left, on standard error:
///   train 120/1600 [##------------------] 7%  412 images/s  7 min 43 s left  loss 0.253
/// The bar, then the end of the note, give way on a narrow terminal. Log lines appear above.
/// Used by one thread.
class Progress {
 public:
  explicit Progress(ProgressOptions options);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` steps of the total are done; `note` is short text such as "loss 0.253".
  void update(int64_t done, const std::string& note = "");
  /// Shows the last state once more and ends; the destructor only takes the line away.
  void finish();

 private:
  std::string text(double seconds, bool with_bar) const;
  void show(double seconds);

  ProgressOptions options_;
  RateMeter meter_;
  int64_t done_;
  std::string note_;
  double began_, last_shown_;
  bool ended_ = false;
};

}  // namespace gallop
