#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace gallop {

/// A JSON value. Objects keep the order of insertion. Integers stay integers. Parsing is strict (no
/// comments, no duplicate keys, depth at most 256); non-finite numbers are written as null.
class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;

  Json() = default;
  Json(std::nullptr_t) {}
  Json(bool v) : value_(v) {}
  Json(int v) : value_(int64_t{v}) {}
  Json(int64_t v) : value_(v) {}
  Json(uint64_t v) : value_(static_cast<int64_t>(v)) {}
  Json(double v) : value_(v) {}
  Json(const char* v) : value_(std::string(v)) {}
  Json(std::string v) : value_(std::move(v)) {}
  Json(Array v) : value_(std::move(v)) {}
  Json(Object v) : value_(std::move(v)) {}
  static Json object() { return Json(Object{}); }
  static Json array() { return Json(Array{}); }

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  bool is_bool() const { return std::holds_alternative<bool>(value_); }
  bool is_int() const { return std::holds_alternative<int64_t>(value_); }
  bool is_number() const { return is_int() || std::holds_alternative<double>(value_); }
  bool is_string() const { return std::holds_alternative<std::string>(value_); }
  bool is_array() const { return std::holds_alternative<Array>(value_); }
  bool is_object() const { return std::holds_alternative<Object>(value_); }

  /// The value as the named type; throws Error that says what it is instead. An integral double is
  /// an int.
  bool as_bool() const;
  int64_t as_int() const;
  double as_double() const;
  const std::string& as_string() const;
  const Array& as_array() const;
  Array& as_array();
  const Object& as_object() const;
  Object& as_object();

  /// Member of an object: null pointer if absent; `at` throws Error naming the key.
  const Json* find(std::string_view key) const;
  const Json& at(std::string_view key) const;
  /// Sets or replaces a member of an object (a null value becomes an object first).
  Json& operator[](const std::string& key);
  /// Appends to an array (a null value becomes an array first).
  void push_back(Json v);
  /// Elements of an array or members of an object, 0 for the rest.
  size_t size() const;

  /// `indent` < 0: one line.
  std::string dump(int indent = -1) const;
  /// Throws Error with `what` (a file name), line and column.
  static Json parse(std::string_view text, const std::string& what = "JSON");

 private:
  std::variant<std::monostate, bool, int64_t, double, std::string, Array, Object> value_;
};

}  // namespace gallop
