#include "gallop/formats/strided.h"

#include <cstring>

namespace gallop::formats {

bool Strided::row_by_row() const {
  int64_t expected = 1;
  for (size_t d = shape.size(); d-- > 0;) {
    if (shape[d] != 1 && strides[d] != expected) return false;
    expected *= shape[d];
  }
  return true;
}

std::vector<std::byte> gather(const Strided& layout, std::span<const std::byte> data, size_t size) {
  std::vector<std::byte> out(static_cast<size_t>(layout.elements) * size);
  std::vector<int64_t> index(layout.shape.size(), 0);
  int64_t from = layout.offset;
  for (size_t to = 0; to < out.size(); to += size) {
    std::memcpy(out.data() + to, data.data() + static_cast<size_t>(from) * size, size);
    for (size_t d = index.size(); d-- > 0;) {
      from += layout.strides[d];
      if (++index[d] < layout.shape[d]) break;
      from -= layout.strides[d] * layout.shape[d];
      index[d] = 0;
    }
  }
  return out;
}

}  // namespace gallop::formats
