#include "gallop/formats/event_file.h"

#include "fuzz/memory_file.h"
#include "gallop/formats/crc32c.h"

namespace gallop::formats {
namespace {

std::string little_endian(uint64_t v, int n) {
  std::string bytes;
  for (int i = 0; i < n; ++i) bytes.push_back(static_cast<char>(v >> (8 * i)));
  return bytes;
}

std::string masked_crc(const std::string& bytes) {
  const uint32_t crc = crc32c(std::as_bytes(std::span(bytes)));
  return little_endian((crc >> 15 | crc << 17) + 0xa282ead8u, 4);
}

}  // namespace

// The bytes are a whole file, and then one record of a file whose checksums are right.
GALLOP_FUZZ_TARGET(event_file) {
  fuzz::allowing_errors([&] { read_events(fuzz::MemoryFile(bytes).path()); });
  const std::string event(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::string length = little_endian(event.size(), 8);
  const std::string record = length + masked_crc(length) + event + masked_crc(event);
  read_events(fuzz::MemoryFile(std::as_bytes(std::span(record))).path());
}

}  // namespace gallop::formats
