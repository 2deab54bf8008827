#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace gallop {

// The small texts in which Linux tells about a machine: files of /proc, and those of control groups
// in /sys/fs/cgroup. What is not there or cannot be read is as good as empty.

/// Its first line.
std::string proc_line(const std::filesystem::path& path);

/// The value after `key` and a colon or blanks, as in /proc/cpuinfo, /proc/meminfo and memory.stat;
/// of the first such line.
std::optional<std::string> proc_value(const std::filesystem::path& path, std::string_view key);

/// The whole number that such a value begins with.
std::optional<uint64_t> proc_number(const std::filesystem::path& path, std::string_view key);

/// The whole number that a text begins with: 4096 of "4096 kB".
std::optional<uint64_t> leading_number(std::string_view text);

}  // namespace gallop
