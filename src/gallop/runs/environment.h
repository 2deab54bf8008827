#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace gallop::runs {

/// What the last bits of results depend on besides recipe and data: "threads", "cpu",
/// "instructions", "libtorch", "device". Kept in state.json.
using Environment = std::map<std::string, std::string>;

/// `device` as libtorch names it: "cpu", "cuda:0".
Environment environment_of(int64_t threads, const std::string& device);

/// What differs, "threads: 2 -> 1"; nothing that either does not know.
std::vector<std::string> differences(const Environment& before, const Environment& now);

}  // namespace gallop::runs
