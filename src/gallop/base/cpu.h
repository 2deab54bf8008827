#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

namespace gallop {

/// The processor as Linux shows it.
struct CpuInfo {
  std::string model;  ///< "unknown" where /proc/cpuinfo has no name
  /// Of avx2, fma, avx512f, avx512_vnni, avx512_bf16, amx_tile, amx_bf16, those that are there, in
  /// this order.
  std::vector<std::string> features;
  int cores = 1;  ///< logical cores this process may run on (its affinity)
  /// Cores' worth of time that control groups (a container) allow; `cores` if there is no such
  /// limit.
  double quota = 1;
};

/// `root` stands for / in tests.
CpuInfo cpu_info(const std::filesystem::path& root = "/");

/// All that the processor can do, by the names of Linux; empty where it does not tell.
std::set<std::string> cpu_flags(const std::filesystem::path& root = "/");

/// Bytes. A limit of a control group, version 1 or 2, counts where it is lower than what the
/// machine has.
struct MemoryInfo {
  uint64_t total = 0;
  uint64_t available = 0;  ///< can be had without swapping, page cache included
};

/// Both are 0 if the system does not tell.
MemoryInfo memory_info(const std::filesystem::path& root = "/");

/// Bytes of memory this process holds now, and the most it ever held; 0 if unknown.
uint64_t resident_memory();
uint64_t peak_resident_memory();

}  // namespace gallop
