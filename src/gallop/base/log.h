#pragma once

#include <sstream>
#include <string>

namespace gallop {

enum class LogLevel { debug, info, warning, error };

/// Messages below this level are dropped; `info` by default, set by
/// GALLOP_LOG=debug|info|warning|error.
void set_log_level(LogLevel level);
LogLevel log_level();
/// Writes one line to standard error, whole even when several threads log; a progress line that
/// stands on the terminal is cleared first.
void log_line(LogLevel level, const std::string& text);

/// Shows `text` (one line, ASCII, narrower than the terminal) below the log, in place of the one
/// before; empty: takes it away. For a terminal only, see stderr_can_redraw; base/progress.h is the
/// user.
void set_status_line(const std::string& text);
/// Takes it away, and needs no memory for that: for destructors.
void clear_status_line() noexcept;
/// Whether standard error is a terminal on which a line can be redrawn (TERM is set and not
/// "dumb").
bool stderr_can_redraw();
/// The same, and NO_COLOR is not set.
bool stderr_has_color();

template <class... Parts>
void log_debug(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  log_line(LogLevel::debug, text.str());
}
template <class... Parts>
void log_info(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  log_line(LogLevel::info, text.str());
}
template <class... Parts>
void log_warning(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  log_line(LogLevel::warning, text.str());
}

}  // namespace gallop
