#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace gallop::formats {

/// Whether the bytes begin as a gzip file does.
bool is_gzip(std::span<const std::byte> bytes);

/// Unpacks a gzip file (RFC 1952) that lies in memory, piece by piece. Errors begin with `what` (a
/// file name): damage, a checksum that does not fit, a file that ends early or goes on after its
/// end.
class GzipReader {
 public:
  /// gzip turns one byte into at most so many.
  static constexpr size_t most_expansion = 1032;

  GzipReader(std::span<const std::byte> bytes, std::string what);
  ~GzipReader();
  GzipReader(const GzipReader&) = delete;
  GzipReader& operator=(const GzipReader&) = delete;

  /// Fills `out` and returns its size; less only at the end of the file.
  size_t read(std::span<std::byte> out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gallop::formats
