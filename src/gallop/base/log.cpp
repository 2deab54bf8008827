#include "gallop/base/log.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <mutex>
#include <new>
#include <string_view>

namespace gallop {
namespace {

LogLevel level_from_environment() {
  const char* value = std::getenv("GALLOP_LOG");
  const std::string_view name = value ? value : "";
  if (name == "debug") return LogLevel::debug;
  if (name == "warning") return LogLevel::warning;
  if (name == "error") return LogLevel::error;
  return LogLevel::info;
}

std::atomic<LogLevel>& threshold() {
  static std::atomic<LogLevel> level{level_from_environment()};
  return level;
}

// Never destroyed: threads may log while the process ends. Made without asking for memory.
template <class T>
T& lasting() {
  alignas(T) static std::byte place[sizeof(T)];
  static T* const object = new (place) T;
  return *object;
}
std::mutex& terminal_mutex() { return lasting<std::mutex>(); }
std::string& shown_status() { return lasting<std::string>(); }

/// Errors are ignored: a log that cannot be written has nowhere to say so.
void write_all(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(STDERR_FILENO, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    text.remove_prefix(static_cast<size_t>(n));
  }
}

/// Blanks instead of an escape sequence: this works on every terminal.
std::string clear_status() {
  const size_t width = shown_status().size();
  return width == 0 ? "" : "\r" + std::string(width, ' ') + "\r";
}

std::string_view prefix_of(LogLevel level, bool color) {
  switch (level) {
    case LogLevel::debug:
      return "debug: ";
    case LogLevel::info:
      return "";
    case LogLevel::warning:
      return color ? "\x1b[33mwarning:\x1b[0m " : "warning: ";
    case LogLevel::error:
      return color ? "\x1b[31merror:\x1b[0m " : "error: ";
  }
  return "";
}

}  // namespace

void set_log_level(LogLevel level) { threshold() = level; }
LogLevel log_level() { return threshold(); }

bool stderr_has_color() {
  const char* no_color = std::getenv("NO_COLOR");
  return stderr_can_redraw() && !(no_color && *no_color);
}

bool stderr_can_redraw() {
  const char* term = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) == 1 && term && *term && std::string_view(term) != "dumb";
}

void log_line(LogLevel level, const std::string& text) {
  if (level < threshold()) return;
  std::string_view body = text;
  while (body.ends_with('\n')) body.remove_suffix(1);
  const std::string_view prefix = prefix_of(level, stderr_has_color());
  std::lock_guard lock(terminal_mutex());
  std::string out = clear_status();
  out.append(prefix).append(body).append("\n").append(shown_status());
  write_all(out);
}

void set_status_line(const std::string& text) {
  std::lock_guard lock(terminal_mutex());
  if (text == shown_status()) return;
  std::string out;
  // Overwriting in place flickers less than clearing first.
  if (!shown_status().empty()) {
    out = "\r" + text;
    if (text.size() < shown_status().size()) {
      out.append(shown_status().size() - text.size(), ' ');
      out.append("\r" + text);
    }
  } else {
    out = text;
  }
  shown_status() = text;
  write_all(out);
}

void clear_status_line() noexcept {
  constexpr std::string_view blanks = "                                ";
  const std::lock_guard lock(terminal_mutex());
  if (shown_status().empty()) return;
  write_all("\r");
  for (size_t left = shown_status().size(); left > 0; left -= std::min(left, blanks.size())) {
    write_all(blanks.substr(0, left));
  }
  write_all("\r");
  shown_status().clear();
}

}  // namespace gallop
