#include "gallop/base/cpu.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

#include "gallop/base/proc.h"

namespace gallop {
namespace {

namespace fs = std::filesystem;

/// Calls `visit` with the folder of this process's control group and of each group around it.
/// `controller` is the name of the version 1 hierarchy; empty: version 2.
void visit_groups(const fs::path& root, const std::string& controller,
                  const std::function<void(const fs::path&)>& visit) {
  std::ifstream in(root / "proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {  // "4:memory:/a/b" or "0::/a/b"
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    std::istringstream controllers(line.substr(first + 1, second - first - 1));
    bool matches = controller.empty() && second == first + 1;
    for (std::string name; std::getline(controllers, name, ',');) matches |= name == controller;
    if (!matches) continue;
    const fs::path top = root / "sys/fs/cgroup" / controller;
    // In a container the path may be the host's and not visible: what is not there tells nothing.
    fs::path group = fs::path(line.substr(second + 1)).relative_path();
    while (!group.empty()) {
      visit(top / group);
      group = group.parent_path();
    }
    visit(top);
    return;
  }
}

struct GroupFiles {
  const char *controller, *limit, *usage, *cache;
};
// The cache counts as used but is given up under pressure.
constexpr GroupFiles memory_files[] = {
    {"", "memory.max", "memory.current", "inactive_file"},
    {"memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"}};

}  // namespace

std::set<std::string> cpu_flags(const fs::path& root) {
  std::istringstream words(proc_value(root / "proc/cpuinfo", "flags").value_or(""));
  std::set<std::string> flags;
  for (std::string word; words >> word;) flags.insert(word);
  return flags;
}

CpuInfo cpu_info(const fs::path& root) {
  CpuInfo info;
  info.model = proc_value(root / "proc/cpuinfo", "model name").value_or("unknown");
  const std::set<std::string> flags = cpu_flags(root);
  for (const char* feature :
       {"avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16"})
    if (flags.contains(feature)) info.features.emplace_back(feature);

  cpu_set_t allowed;
  info.cores = ::sched_getaffinity(0, sizeof allowed, &allowed) == 0
                   ? CPU_COUNT(&allowed)
                   : static_cast<int>(std::thread::hardware_concurrency());
  info.cores = std::max(info.cores, 1);
  info.quota = info.cores;
  const auto limit = [&](double quota, double period) {
    if (quota > 0 && period > 0) info.quota = std::min(info.quota, quota / period);
  };
  visit_groups(root, "", [&](const fs::path& group) {
    const std::string line = proc_line(group / "cpu.max");  // "max 100000" or "150000 100000"
    const size_t blank = line.find(' ');
    if (blank == std::string::npos) return;
    limit(
        static_cast<double>(leading_number(line).value_or(0)),
        static_cast<double>(leading_number(std::string_view(line).substr(blank + 1)).value_or(0)));
  });
  visit_groups(root, "cpu", [&](const fs::path& group) {  // quota -1: none
    limit(static_cast<double>(leading_number(proc_line(group / "cpu.cfs_quota_us")).value_or(0)),
          static_cast<double>(leading_number(proc_line(group / "cpu.cfs_period_us")).value_or(0)));
  });
  return info;
}

MemoryInfo memory_info(const fs::path& root) {
  const fs::path meminfo = root / "proc/meminfo";
  MemoryInfo info;
  info.total = proc_number(meminfo, "MemTotal").value_or(0) * 1024;
  info.available = proc_number(meminfo, "MemAvailable").value_or(0) * 1024;
  for (const GroupFiles& files : memory_files) {
    visit_groups(root, files.controller, [&](const fs::path& group) {
      const auto limit = leading_number(proc_line(group / files.limit));  // "max": none
      if (!limit || *limit >= info.total) return;
      const uint64_t usage = leading_number(proc_line(group / files.usage)).value_or(0);
      const uint64_t cache = proc_number(group / "memory.stat", files.cache).value_or(0);
      const uint64_t held = usage - std::min(usage, cache);
      info.total = *limit;
      info.available = std::min(info.available, *limit - std::min(*limit, held));
    });
  }
  return info;
}

uint64_t resident_memory() {
  const std::string line = proc_line("/proc/self/statm");  // pages: size resident ...
  const size_t blank = line.find(' ');
  if (blank == std::string::npos) return 0;
  const auto pages = leading_number(std::string_view(line).substr(blank + 1));
  return pages.value_or(0) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

uint64_t peak_resident_memory() {
  // Not ru_maxrss of getrusage: that one begins with what the parent process held.
  return proc_number("/proc/self/status", "VmHWM").value_or(0) * 1024;
}

}  // namespace gallop
