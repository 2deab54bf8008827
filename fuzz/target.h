#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "gallop/base/error.h"

#ifndef GALLOP_LIBFUZZER
#include <gtest/gtest.h>
#endif

// A fuzz target reads bytes as if they came from outside. It may throw Error, and nothing else:
// every other exception, a fault of memory and undefined behaviour are findings.
//
//   GALLOP_FUZZ_TARGET(idx) { formats::decode_idx(bytes, 1, "idx"); }
//
// makes the function that libFuzzer calls (./dev fuzz idx 60) and, in the tests, Fuzz.idx, which
// replays the kept inputs of tests/data/fuzz/idx.

namespace gallop::fuzz {

using Bytes = std::span<const std::byte>;

template <class Read>
void allowing_errors(const Read& read) {
  try {
    read();
  } catch (const Error&) {
  }
}

#ifdef GALLOP_LIBFUZZER
#define GALLOP_FUZZ_TARGET(name)                                            \
  static void fuzz_##name(::gallop::fuzz::Bytes bytes);                     \
  extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) { \
    const auto bytes = std::as_bytes(std::span(data, size));                \
    ::gallop::fuzz::allowing_errors([&] { fuzz_##name(bytes); });           \
    return 0;                                                               \
  }                                                                         \
  static void fuzz_##name([[maybe_unused]] ::gallop::fuzz::Bytes bytes)
#else
/// Runs every file of tests/data/fuzz/<name>; the test fails if there is none.
void replay(const char* name, const std::function<void(Bytes)>& target);

#define GALLOP_FUZZ_TARGET(name)                                   \
  static void fuzz_##name(::gallop::fuzz::Bytes bytes);            \
  TEST(Fuzz, name) { ::gallop::fuzz::replay(#name, fuzz_##name); } \
  static void fuzz_##name([[maybe_unused]] ::gallop::fuzz::Bytes bytes)
#endif

}  // namespace gallop::fuzz
