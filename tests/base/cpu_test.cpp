#include "gallop/base/cpu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temporary_directory.h"

namespace gallop {
namespace {

/// A made-up / with the files that tell about the machine.
class CpuRoot : public testing::Test {
 protected:
  void put(const std::string& path, const std::string& content) {
    const auto file = root_ / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << content;
  }
  test::TemporaryDirectory root_;
  static constexpr uint64_t gib = uint64_t{1} << 30;
};

TEST_F(CpuRoot, ModelAndFeatures) {
  put("proc/cpuinfo",
      "processor\t: 0\nmodel\t\t: 1\nmodel name\t: Some CPU 9000\n"
      "flags\t\t: fpu amx_bf16 fma avx2 avx512f avx512_vnni avx512vl\n\n");
  const CpuInfo info = cpu_info(root_.path());
  EXPECT_EQ(info.model, "Some CPU 9000");
  EXPECT_THAT(info.features,
              testing::ElementsAre("avx2", "fma", "avx512f", "avx512_vnni", "amx_bf16"));
  EXPECT_GE(info.cores, 1);
  EXPECT_EQ(info.quota, info.cores);
}

TEST_F(CpuRoot, NothingKnown) {
  const CpuInfo info = cpu_info(root_.path());
  EXPECT_EQ(info.model, "unknown");
  EXPECT_TRUE(info.features.empty());
  EXPECT_EQ(memory_info(root_.path()).total, 0u);
}

TEST_F(CpuRoot, QuotaOfVersion2) {
  put("proc/self/cgroup", "0::/pod/box\n");
  put("sys/fs/cgroup/pod/cpu.max", "50000 100000\n");
  put("sys/fs/cgroup/pod/box/cpu.max", "max 100000\n");
  EXPECT_EQ(cpu_info(root_.path()).quota, 0.5);
}

TEST_F(CpuRoot, QuotaOfVersion1) {
  put("proc/self/cgroup", "5:cpu,cpuacct:/box\n");
  put("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "-1\n");
  put("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cpu_info(root_.path()).quota, cpu_info(root_.path()).cores);
  put("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "75000\n");
  EXPECT_EQ(cpu_info(root_.path()).quota, 0.75);
}

TEST_F(CpuRoot, MemoryOfTheMachine) {
  put("proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB\n");
  EXPECT_EQ(memory_info(root_.path()).total, 16 * gib);
  EXPECT_EQ(memory_info(root_.path()).available, 8 * gib);
}

TEST_F(CpuRoot, MemoryLimitOfVersion2) {
  put("proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n");
  put("proc/self/cgroup", "0::/pod/box\n");
  put("sys/fs/cgroup/pod/box/memory.max", "max\n");
  put("sys/fs/cgroup/pod/memory.max", std::to_string(4 * gib));
  put("sys/fs/cgroup/pod/memory.current", std::to_string(3 * gib));
  put("sys/fs/cgroup/pod/memory.stat", "anon 5\ninactive_file " + std::to_string(2 * gib) + "\n");
  EXPECT_EQ(memory_info(root_.path()).total, 4 * gib);
  EXPECT_EQ(memory_info(root_.path()).available, 3 * gib);  // 4 - (3 - 2 of cache)
}

TEST_F(CpuRoot, MemoryLimitOfVersion1) {
  put("proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 1048576 kB\n");
  // The path is that of the host; inside the container only the top is visible.
  put("proc/self/cgroup", "9:cpu:/\n4:memory:/host/box\n0::/\n");
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", std::to_string(4 * gib));
  put("sys/fs/cgroup/memory/memory.usage_in_bytes", std::to_string(1 * gib));
  EXPECT_EQ(memory_info(root_.path()).total, 4 * gib);
  EXPECT_EQ(memory_info(root_.path()).available, 1 * gib);  // the machine has no more
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712");  // none
  EXPECT_EQ(memory_info(root_.path()).total, 16 * gib);
}

TEST(Cpu, ThisMachine) {
  const MemoryInfo memory = memory_info();
  EXPECT_GT(memory.total, uint64_t{1} << 26);
  EXPECT_LE(memory.available, memory.total);
  EXPECT_GE(cpu_info().cores, 1);
}

TEST(Cpu, ResidentMemoryFollowsUse) {
  const uint64_t before = resident_memory();
  ASSERT_GT(before, 0u);
  {
    std::vector<char> block(64 << 20, 1);
    EXPECT_GT(resident_memory(), before + (48 << 20));
    EXPECT_GT(peak_resident_memory(), before + (48 << 20));
    EXPECT_EQ(block[1000], 1);
  }
#ifndef __SANITIZE_ADDRESS__  // it keeps freed blocks, to find their use
  EXPECT_LT(resident_memory(), before + (32 << 20));
#endif
}

}  // namespace
}  // namespace gallop
