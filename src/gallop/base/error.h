#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace gallop {

/// What a user can cause and mend: a bad recipe, a damaged file, impossible sizes.
/// The text says what was wrong, the actual values and the likely cause or next step.
/// `main` prints it as one line and ends with exit status 2.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Joins the parts as a stream would and throws an Error with the result.
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw Error(text.str());
}

/// `fail(parts...)` unless `ok`; the parts are joined only on failure.
template <class... Parts>
void require(bool ok, const Parts&... parts) {
  if (!ok) fail(parts...);
}

}  // namespace gallop
