#include "tests/support/idx_files.h"

#include <fstream>
#include <string>
#include <vector>

namespace gallop::test {
namespace {

void write(const std::filesystem::path& path, uint8_t dimensions, const std::vector<int64_t>& shape,
           const std::string& bytes) {
  std::string text = {'\0', '\0', '\x08', static_cast<char>(dimensions)};
  for (const int64_t size : shape) {
    for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(size >> shift & 255);
  }
  std::ofstream(path, std::ios::binary) << text + bytes;
}

void write_split(const std::filesystem::path& folder, const std::string& name, int64_t count,
                 int64_t side, int64_t classes) {
  std::string pixels, labels;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t label = i % classes;
    labels += static_cast<char>(label);
    for (int64_t at = 0; at < side * side; ++at) {
      const bool bar = at / side == label * side / classes;
      pixels += static_cast<char>((bar ? 200 : 30) + (i * 31 + at * 17) % 40);
    }
  }
  write(folder / (name + "-images-idx3-ubyte"), 3, {count, side, side}, pixels);
  write(folder / (name + "-labels-idx1-ubyte"), 1, {count}, labels);
}

}  // namespace

void write_idx_files(const std::filesystem::path& folder, int64_t train_count, int64_t test_count,
                     int64_t side, int64_t classes) {
  std::filesystem::create_directories(folder);
  write_split(folder, "train", train_count, side, classes);
  write_split(folder, "t10k", test_count, side, classes);
}

}  // namespace gallop::test
