#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "gallop/base/error.h"
#include "gallop/formats/bytes.h"

namespace gallop::formats {

/// A message in protobuf's wire format, field after field.
/// https://protobuf.dev/programming-guides/encoding
class ProtoWriter {
 public:
  void integer(int field, int64_t v) {
    key(field, 0);
    varint(static_cast<uint64_t>(v));
  }
  void real(int field, double v) {
    key(field, 1);
    append_little<uint64_t>(out_, std::bit_cast<uint64_t>(v));
  }
  void real32(int field, float v) {
    key(field, 5);
    append_little<uint32_t>(out_, std::bit_cast<uint32_t>(v));
  }
  void bytes(int field, std::string_view v) {
    key(field, 2);
    varint(v.size());
    out_ += v;
  }
  void message(int field, const ProtoWriter& m) { bytes(field, m.out_); }
  const std::string& str() const { return out_; }

 private:
  void key(int field, int wire_type) { varint(static_cast<uint64_t>(field) << 3 | wire_type); }
  void varint(uint64_t v) {
    for (; v >= 128; v >>= 7) out_ += static_cast<char>(v | 128);
    out_ += static_cast<char>(v);
  }

  std::string out_;
};

/// One field of a message.
struct ProtoField {
  uint64_t number = 0;
  int wire_type = 0;       ///< 0 varint, 1 eight bytes, 2 bytes, 5 four bytes
  uint64_t value = 0;      ///< of types 0, 1 and 5
  std::string_view bytes;  ///< of type 2

  int64_t integer() const { return checked(0), static_cast<int64_t>(value); }
  double real() const { return checked(1), std::bit_cast<double>(value); }
  float real32() const { return checked(5), std::bit_cast<float>(static_cast<uint32_t>(value)); }
  std::string_view string() const { return checked(2), bytes; }

 private:
  void checked(int type) const {
    require(wire_type == type, "protobuf: field ", number, " has wire type ", wire_type, ", not ",
            type);
  }
};

/// Takes a message apart; views into the text it was given. Throws Error where it is damaged.
class ProtoReader {
 public:
  explicit ProtoReader(std::string_view message) : rest_(message) {}

  /// The next field; nothing at the end.
  std::optional<ProtoField> next() {
    if (rest_.empty()) return std::nullopt;
    const uint64_t key = varint();
    ProtoField field{key >> 3, static_cast<int>(key & 7), 0, {}};
    require(field.number != 0, "protobuf: field number 0");
    switch (field.wire_type) {
      case 0:
        field.value = varint();
        break;
      case 1:
        field.value = fixed<uint64_t>();
        break;
      case 2:
        field.bytes = take(varint());
        break;
      case 5:
        field.value = fixed<uint32_t>();
        break;
      default:
        fail("protobuf: unknown wire type ", field.wire_type);
    }
    return field;
  }

 private:
  std::string_view take(uint64_t n) {
    require(n <= rest_.size(), "protobuf: a field ends behind its message");
    const std::string_view v = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return v;
  }
  uint64_t varint() {
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      require(shift < 63 || byte < 2, "protobuf: an integer of more than 64 bits");
      v |= uint64_t{byte & 127u} << shift;
      if (byte < 128) return v;
    }
    fail("protobuf: an integer of more than 10 bytes");
  }
  template <class T>
  T fixed() {
    return read_little<T>(take(sizeof(T)).data());
  }

  std::string_view rest_;
};

}  // namespace gallop::formats
