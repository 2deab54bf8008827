#pragma once

#include <functional>
#include <string>

#include "gallop/base/error.h"

namespace gallop::testing {

/// The text of the Error that a call throws, or "no error".
inline std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace gallop::testing
