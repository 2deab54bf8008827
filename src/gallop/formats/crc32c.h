#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace gallop::formats {

/// CRC-32 with the Castagnoli polynomial (RFC 3720, appendix B.4), as TFRecord files use it.
uint32_t crc32c(std::span<const std::byte> bytes);

}  // namespace gallop::formats
