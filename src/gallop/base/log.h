#pragma once

#include <sstream>
#include <string>

namespace gallop {

enum class LogLevel { debug, info, warning, error };

/// Messages below this level are dropped; `info` by default, set by GALLOP_LOG=debug|info|warning|error.
void set_log_level(LogLevel level);
/// Writes one line to standard error, whole even when several threads log; a progress line that stands
/// on the terminal is cleared first.
void log_line(LogLevel level, const std::string& text);

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
