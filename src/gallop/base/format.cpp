#include "gallop/base/format.h"

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "gallop/base/error.h"

namespace gallop {

std::string format(const char* pattern, ...) {
  std::va_list values, again;
  va_start(values, pattern);
  va_copy(again, values);
  const int size = std::vsnprintf(nullptr, 0, pattern, values);
  va_end(values);
  std::string text(size > 0 ? static_cast<size_t>(size) : 0, '\0');
  if (size > 0) std::vsnprintf(text.data(), text.size() + 1, pattern, again);
  va_end(again);
  require(size >= 0, "cannot format a text as \"", pattern, "\": ", std::strerror(errno));
  return text;
}

}  // namespace gallop
