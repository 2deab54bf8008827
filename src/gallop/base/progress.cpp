#include "gallop/base/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <limits>

#include "gallop/base/human.h"
#include "gallop/base/log.h"

namespace gallop {
namespace {

using Output = ProgressOptions::Output;

constexpr double window_seconds = 60;
constexpr double redraw_seconds = 0.2;
constexpr int bar_width = 20;

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int terminal_width() {
  struct winsize size;
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string bar(double part) {
  const int full = std::clamp(static_cast<int>(part * bar_width), 0, bar_width);
  return "[" + std::string(static_cast<size_t>(full), '#') +
         std::string(static_cast<size_t>(bar_width - full), '-') + "]";
}

}  // namespace

void RateMeter::add(double seconds, int64_t done) {
  samples_.emplace_back(seconds, done);
  // The oldest goes once the next is old enough to measure the window. Thinned, so that many fast
  // steps do not pile up: the middle one of three within a hundredth of the window adds nothing.
  while (samples_.size() > 2 && samples_[1].first <= seconds - window_seconds) samples_.pop_front();
  const size_t n = samples_.size();
  if (n >= 3 && samples_[n - 1].first - samples_[n - 3].first < window_seconds / 100)
    samples_.erase(samples_.end() - 2);
}

double RateMeter::rate() const {
  if (samples_.size() < 2) return 0;
  const double seconds = samples_.back().first - samples_.front().first;
  const auto steps = samples_.back().second - samples_.front().second;
  return seconds > 0 ? static_cast<double>(steps) / seconds : 0;
}

Progress::Progress(ProgressOptions options) : options_(std::move(options)), done_(options_.start) {
  if (!options_.clock) options_.clock = steady_seconds;
  if (options_.output == Output::automatic) {
    options_.output = stderr_can_redraw() ? Output::line : Output::plain;
    if (log_level() > LogLevel::info) options_.output = Output::none;
  }
  began_ = options_.clock();
  last_shown_ = options_.output == Output::line ? -std::numeric_limits<double>::infinity() : began_;
  meter_.add(began_, done_);
}

Progress::~Progress() {
  if (!ended_ && options_.output == Output::line) clear_status_line();
}

void Progress::update(int64_t done, const std::string& note) {
  const double now = options_.clock();
  done_ = done;
  note_ = note;
  meter_.add(now, done);
  const double pause = options_.output == Output::line ? redraw_seconds : options_.plain_seconds;
  if (now - last_shown_ >= pause) show(now);
}

void Progress::finish() {
  if (ended_) return;
  ended_ = true;
  if (options_.output == Output::none) return;
  if (options_.output == Output::line) set_status_line("");
  log_line(LogLevel::info, text(options_.clock(), false));
}

std::string Progress::text(double seconds, bool with_bar) const {
  std::string line = options_.label + " " + std::to_string(done_);
  if (options_.total > 0) {
    const double part = static_cast<double>(done_) / static_cast<double>(options_.total);
    line += "/" + std::to_string(options_.total) + " ";
    if (with_bar) line += bar(part) + " ";
    line += std::to_string(static_cast<int>(part * 100)) + "%";
  }
  const double rate = meter_.rate();
  if (rate > 0)
    line += "  " + human_count(rate * options_.units_per_step) + " " + options_.unit + "s/s";
  if (ended_)
    line += "  in " + human_duration(seconds - began_);
  else if (rate > 0 && options_.total > done_)
    line += "  " + human_duration(static_cast<double>(options_.total - done_) / rate) + " left";
  if (!note_.empty()) line += "  " + note_;
  return line;
}

void Progress::show(double seconds) {
  if (options_.output == Output::none) return;
  last_shown_ = seconds;
  if (options_.output == Output::plain) return log_line(LogLevel::info, text(seconds, false));
  // The last column stays free: some terminals wrap when it is written.
  const auto room = static_cast<size_t>(
      std::max(1, (options_.width > 0 ? options_.width : terminal_width()) - 1));
  std::string line = text(seconds, true);
  if (line.size() > room) line = text(seconds, false);
  set_status_line(line.substr(0, room));
}

}  // namespace gallop
