#pragma once

#include <zlib.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace gallop::test {

/// A zip file of stored files, name and content each, in the plain form without zip64.
inline std::string zip_bytes(const std::vector<std::pair<std::string, std::string>>& files) {
  const auto number = [](uint64_t v, int n) {  // little-endian
    std::string bytes;
    for (int i = 0; i < n; ++i, v >>= 8) bytes.push_back(static_cast<char>(v & 255));
    return bytes;
  };
  std::string out, directory;
  for (const auto& [name, data] : files) {
    const auto crc = crc32_z(0, reinterpret_cast<const Bytef*>(data.data()), data.size());
    // From the checksum to the sizes of name and extra field, as both records have them.
    const std::string common = number(crc, 4) + number(data.size(), 4) + number(data.size(), 4) +
                               number(name.size(), 2) + number(0, 2);
    directory += "PK\1\2" + number(20, 2) + number(20, 2) + number(0, 8) + common + number(0, 10) +
                 number(out.size(), 4) + name;
    out += "PK\3\4" + number(20, 2) + number(0, 8) + common + name + data;
  }
  return out + directory + "PK\5\6" + number(0, 4) + number(files.size(), 2) +
         number(files.size(), 2) + number(directory.size(), 4) + number(out.size(), 4) +
         number(0, 2);
}

}  // namespace gallop::test
