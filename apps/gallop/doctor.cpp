// gallop doctor: what this build stands on, and whether it works here.
#include <ATen/DeviceAccelerator.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <dlfcn.h>
#include <torch/headeronly/version.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "gallop/base/cpu.h"
#include "gallop/base/error.h"
#include "gallop/base/proc.h"
#include "gallop/base/thread_pool.h"
#include "gallop/command.h"
#include "gallop/ops/precision.h"

namespace gallop {
namespace {

namespace fs = std::filesystem;

constexpr const char* fashion_mnist_folder = "/usr/share/datasets/fashion-mnist";
constexpr int64_t product_size = 1024;

// What stands in the report: facts by name, and what the reader should do something about.
class Report {
 public:
  template <class... Parts>
  void fact(const char* name, const Parts&... parts) {
    std::printf("%-14s %s\n", name, joined(parts...).c_str());
  }
  /// Something works less well than it could.
  template <class... Parts>
  void note(const Parts&... parts) {
    notes_.push_back(joined(parts...));
  }
  /// Training or sampling cannot work.
  template <class... Parts>
  void broken(const Parts&... parts) {
    broken_.push_back(joined(parts...));
  }
  /// Prints what was noted; true if nothing is broken.
  bool close() const {
    for (const auto& text : notes_) std::printf("\nnote: %s\n", text.c_str());
    for (const auto& text : broken_) std::printf("\nbroken: %s\n", text.c_str());
    if (broken_.empty()) std::printf("\nGallop can run here.\n");
    return broken_.empty();
  }

 private:
  template <class... Parts>
  static std::string joined(const Parts&... parts) {
    std::ostringstream text;
    text.precision(1);
    text << std::fixed;
    (text << ... << parts);
    return text.str();
  }
  std::vector<std::string> notes_, broken_;
};

double gibibytes(double bytes) { return bytes / (1024.0 * 1024.0 * 1024.0); }

double meminfo_gibibytes(const char* key) {
  return gibibytes(static_cast<double>(proc_number("/proc/meminfo", key).value_or(0)) * 1024.0);
}

void report_libtorch(Report& report) {
  Dl_info library{};
  const bool found = dladdr(reinterpret_cast<const void*>(&at::get_num_threads), &library) != 0;
  const fs::path file = found ? fs::path(library.dli_fname) : fs::path();
  // A wheel says in version.py which build it is: 2.13.0+cpu, 2.13.0+cu130.
  std::string build;
  std::ifstream version(file.parent_path().parent_path() / "version.py");
  for (std::string line; std::getline(version, line);) {
    if (!line.starts_with("__version__")) continue;
    const auto first = line.find('\''), last = line.rfind('\'');
    if (first < last) build = line.substr(first + 1, last - first - 1);
  }
  report.fact("libtorch", build.empty() ? TORCH_VERSION : build, found ? " in " : "",
              file.parent_path().string());
  if (!build.empty() && !build.starts_with(TORCH_VERSION)) {
    report.broken("this program was built with libtorch " TORCH_VERSION " and runs with ", build,
                  ". Look at LD_LIBRARY_PATH, then build again: ./dev build");
  }
}

void report_cpu(Report& report) {
  const CpuInfo cpu = cpu_info();
  const std::set<std::string> flags = cpu_flags();
  std::string known;
  for (const char* name : {"avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni",
                           "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16"}) {
    if (flags.contains(name)) known += (known.empty() ? "" : " ") + std::string(name);
  }
  report.fact("CPU", cpu.model.empty() ? "unknown" : cpu.model);
  report.fact("CPU features", known.empty() ? "none of those that matter here" : known);
  const std::string missing = ops::bf16_missing();
  report.fact("bf16 products",
              missing.empty() ? "yes: train.precision = \"bf16\"" : "no: " + missing);
  if (!flags.empty() && !flags.contains("avx2")) {
    report.note("this CPU has no AVX2: everything works, several times slower");
  }
  const char* variable = std::getenv("OMP_NUM_THREADS");
  const int threads = ThreadPool::default_threads();
  report.fact("threads", threads, " on ", cpu.cores, " logical CPUs",
              variable ? std::string(", OMP_NUM_THREADS=") + variable : std::string());
  at::set_num_threads(threads);  // of libtorch, for the product below
  if (threads > cpu.cores) {
    report.note("more threads than CPUs: set OMP_NUM_THREADS=", cpu.cores);
  }
}

void report_memory(Report& report) {
  // In a container the limit of its group counts, not the memory of the machine.
  const auto limit = leading_number(proc_line("/sys/fs/cgroup/memory.max"));  // "max": none
  report.fact("memory", meminfo_gibibytes("MemTotal"), " GiB, ", meminfo_gibibytes("MemAvailable"),
              " GiB free",
              limit ? ", limit of this group " +
                          std::to_string(static_cast<int>(gibibytes(static_cast<double>(*limit)))) +
                          " GiB"
                    : std::string());
}

// Seconds of one product of two matrices of ones on `device`: the median of seven after two.
// Throws Error if the result is wrong.
double time_product(const at::Device& device) {
  const at::Tensor a = at::full({product_size, product_size}, 1.0,
                                at::TensorOptions().dtype(at::kFloat).device(device));
  std::vector<double> seconds;
  at::Tensor c;
  for (int i = 0; i < 9; ++i) {
    const auto start = std::chrono::steady_clock::now();
    c = a.matmul(a);
    if (!device.is_cpu()) at::accelerator::synchronizeDevice(device.index());
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    if (i >= 2) seconds.push_back(time.count());
  }
  const double low = c.min().item<double>(), high = c.max().item<double>();
  require(low == product_size && high == product_size, "a product of matrices gave ", low, " to ",
          high, " instead of ", product_size, ": libtorch or the hardware is damaged");
  std::nth_element(seconds.begin(), seconds.begin() + seconds.size() / 2, seconds.end());
  return seconds[seconds.size() / 2];
}

void report_product(Report& report, const at::Device& device, const char* name) {
  const double seconds = time_product(device);
  const double flops = 2.0 * product_size * product_size * product_size;
  report.fact(name, product_size, "^3 float32: ", seconds * 1e3, " ms, ", flops / seconds * 1e-9,
              " GFLOP/s");
}

void report_gpus(Report& report) {
  std::vector<std::string> models;
  std::error_code error;
  for (const auto& gpu : fs::directory_iterator("/proc/driver/nvidia/gpus", error)) {
    models.push_back(proc_value(gpu.path() / "information", "Model").value_or(""));
  }
  const auto type = at::accelerator::getAccelerator();
  const int count = type ? at::accelerator::deviceCount() : 0;
  if (count == 0) {
    report.fact("GPUs", "none that this libtorch can use");
    if (!models.empty()) {
      report.note("the system has ", models.size(), " NVIDIA GPU (", models.front(),
                  "), and this libtorch does not see it: install a torch " TORCH_VERSION
                  " with CUDA and name its folder with GALLOP_TORCH_ROOT (docs/build.md)");
    }
    return;
  }
  report.fact("GPUs", count, " (", c10::DeviceTypeName(*type, true), ")",
              models.empty() ? "" : ", " + models.front());
  for (int index = 0; index < count; ++index) {
    try {
      const auto [free, total] =
          at::accelerator::getMemoryInfo(static_cast<at::DeviceIndex>(index));
      report.fact("GPU memory", gibibytes(static_cast<double>(total)), " GiB, ",
                  gibibytes(static_cast<double>(free)), " GiB free (GPU ", index, ")");
      report_product(report, at::Device(*type, static_cast<at::DeviceIndex>(index)), "GPU product");
    } catch (const std::exception& error) {
      const std::string text = error.what();
      report.note("GPU ", index, " does not work: ", text.substr(0, text.find('\n')));
    }
  }
}

void report_places(Report& report) {
  const bool data = fs::exists(fs::path(fashion_mnist_folder) / "train-images-idx3-ubyte.gz");
  report.fact("Fashion-MNIST", data ? fashion_mnist_folder : "not found");
  if (!data) {
    report.note(
        "the first recipe needs Fashion-MNIST: apt-get install dataset-fashion-mnist (looked in ",
        fashion_mnist_folder, ")");
  }
  // The same rule as in ./dev.
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return fs::path(value ? value : "");
  };
  fs::path cache = variable("GALLOP_CACHE");
  if (cache.empty()) {
    cache = variable("XDG_CACHE_HOME");
    if (cache.empty()) cache = variable("HOME") / ".cache";
    cache /= "gallop";
  }
  report.fact("cache", cache.string(), fs::exists(cache) ? "" : " (not there)");
  std::error_code error;
  const auto space = fs::space(fs::current_path(error), error);
  if (!error) {
    report.fact("disk", gibibytes(static_cast<double>(space.available)), " GiB free in ",
                fs::current_path().string());
    if (gibibytes(static_cast<double>(space.available)) < 1.0) {
      report.note("less than 1 GiB is free here: a run may not find room for its checkpoints");
    }
  }
}

void doctor() {
  Report report;
  report.fact("Gallop", GALLOP_VERSION);
  report_libtorch(report);
  report_cpu(report);
  report_memory(report);
  try {
    report_product(report, at::Device(at::kCPU), "product");
  } catch (const std::exception& error) {
    const std::string text = error.what();
    report.broken("libtorch cannot compute: ", text.substr(0, text.find('\n')),
                  ". Remove the folder of libtorch above and run ./dev setup");
  }
  report_gpus(report);
  report_places(report);
  if (!report.close()) throw Exit{1};
}

const Command registered{[](CLI::App& app) {
  app.add_subcommand(
         "doctor",
         "say what this build stands on: libtorch, CPU, threads, memory, GPUs, one timed "
         "matrix product, where data and cache are")
      ->callback(doctor);
}};

}  // namespace
}  // namespace gallop
