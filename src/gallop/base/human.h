#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gallop {

/// "312 B", "1.5 KiB", "23.4 MiB", ...: three digits at least, in powers of 1024.
std::string human_bytes(uint64_t bytes);
/// "999", "12.3k", "531M", "2.79B": three digits, in powers of 1000, for parameters and FLOPs.
std::string human_count(double count);
/// "0.25 s", "42 s", "3 min 07 s", "2 h 05 min", "3 d 4 h"; "?" for what is negative or not finite.
std::string human_duration(double seconds);
/// "a, b and c"; `last` is the word before the last one.
std::string join_list(const std::vector<std::string>& items, std::string_view last = "and");
/// A shape as "[3, 16, 24]".
std::string shape_text(std::span<const int64_t> shape);

}  // namespace gallop
