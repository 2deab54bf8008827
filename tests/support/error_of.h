#pragma once

#include <string>

#include "gallop/base/error.h"

namespace gallop::test {

/// The text of the Error that `f` throws; empty if it throws none.
template <class F>
std::string error_of(F f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace gallop::test
