#include "gallop/base/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "gallop/base/error.h"

namespace gallop {
namespace {

constexpr size_t max_depth = 256;

const char* kind_of(const Json& v) {
  if (v.is_null()) return "null";
  if (v.is_bool()) return "a boolean";
  if (v.is_int()) return "an integer";
  if (v.is_number()) return "a number";
  if (v.is_string()) return "a string";
  return v.is_array() ? "an array" : "an object";
}

/// Hands out the text and counts what was handed out, which the parser does not tell for every
/// fault.
struct CountingIterator {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* p;
  const char** read;  // farthest position handed out

  reference operator*() const { return *p; }
  CountingIterator& operator++() {
    *read = ++p;
    return *this;
  }
  CountingIterator operator++(int) {
    auto old = *this;
    ++*this;
    return old;
  }
  bool operator==(const CountingIterator& other) const { return p == other.p; }
};

/// Builds the value from the parser's events; `error` is set and the parse stopped at the first
/// fault.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  Json result;
  std::string error;

  bool null() override { return add(Json()); }
  bool boolean(bool v) override { return add(Json(v)); }
  bool number_integer(number_integer_t v) override { return add(Json(int64_t{v})); }
  bool number_unsigned(number_unsigned_t v) override {
    if (v > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      return stop("integer " + std::to_string(v) + " does not fit into 64 bits with sign");
    return add(Json(static_cast<int64_t>(v)));
  }
  bool number_float(number_float_t v, const string_t& text) override {
    // The parser makes a double of an integer that is too long.
    if (text.find_first_of(".eE") == string_t::npos)
      return stop("integer " + text.substr(0, 40) + " does not fit into 64 bits with sign");
    return add(Json(double{v}));
  }
  bool string(string_t& v) override { return add(Json(std::move(v))); }
  bool binary(binary_t&) override { return stop("binary value"); }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    Level& level = stack_.back();
    if (!level.names.insert(name).second) return stop("key \"" + name + "\" is there twice");
    level.key = std::move(name);
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& e) override {
    // "[json.exception...] parse error at line 1, column 2: syntax error while ...": keep the
    // reason.
    const std::string text = e.what();
    const size_t place = text.find(": ");
    return stop(place == std::string::npos ? text : text.substr(place + 2));
  }

 private:
  struct Level {
    Json value;
    std::string key;  // of the member that is read now
    std::unordered_set<std::string> names;
  };

  bool stop(std::string why) {
    error = std::move(why);
    return false;
  }
  bool add(Json v) {
    if (stack_.empty()) {
      result = std::move(v);
      return true;
    }
    Level& top = stack_.back();
    if (top.value.is_array())
      top.value.as_array().push_back(std::move(v));
    else
      top.value.as_object().emplace_back(std::move(top.key), std::move(v));
    return true;
  }
  bool open(Json v) {
    if (stack_.size() == max_depth)
      return stop("nested deeper than " + std::to_string(max_depth) + " levels");
    stack_.push_back({std::move(v), {}, {}});
    return true;
  }
  bool close() {
    Json v = std::move(stack_.back().value);
    stack_.pop_back();
    return add(std::move(v));
  }

  std::vector<Level> stack_;
};

// dump() of nlohmann::json serves for texts alone: on one line it leaves out the spaces after
// commas and colons, and it writes 100000.0 and 0.0001 where the files there are have 1e+05 and
// 1e-04.

void write_string(const std::string& s, std::string& out) {
  out += nlohmann::json(s).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void write_double(double v, std::string& out) {
  if (!std::isfinite(v)) {
    out += "null";
    return;
  }
  char text[32];
  const auto end =
      std::to_chars(text, text + sizeof text, v).ptr;  // shortest that reads back equal
  out.append(text, end);
  if (std::find_if(text, end, [](char c) { return c == '.' || c == 'e'; }) == end) out += ".0";
}

void new_line(int indent, int depth, std::string& out) {
  if (indent < 0) return;
  out += '\n';
  out.append(static_cast<size_t>(indent) * static_cast<size_t>(depth), ' ');
}

void write(const Json& v, int indent, int depth, std::string& out) {
  if (v.is_null()) {
    out += "null";
  } else if (v.is_bool()) {
    out += v.as_bool() ? "true" : "false";
  } else if (v.is_int()) {
    out += std::to_string(v.as_int());
  } else if (v.is_number()) {
    write_double(v.as_double(), out);
  } else if (v.is_string()) {
    write_string(v.as_string(), out);
  } else {
    const char* separator = "";
    const auto begin_item = [&] {
      out += separator;
      new_line(indent, depth + 1, out);
      separator = indent < 0 ? ", " : ",";
    };
    out += v.is_array() ? '[' : '{';
    if (v.is_array()) {
      for (const Json& element : v.as_array()) {
        begin_item();
        write(element, indent, depth + 1, out);
      }
    } else {
      for (const auto& [key, member] : v.as_object()) {
        begin_item();
        write_string(key, out);
        out += ": ";
        write(member, indent, depth + 1, out);
      }
    }
    if (v.size() > 0) new_line(indent, depth, out);
    out += v.is_array() ? ']' : '}';
  }
}

}  // namespace

bool Json::as_bool() const {
  require(is_bool(), "JSON: expected a boolean, found ", kind_of(*this));
  return std::get<bool>(value_);
}

int64_t Json::as_int() const {
  if (const auto* i = std::get_if<int64_t>(&value_)) return *i;
  const auto* d = std::get_if<double>(&value_);
  require(d != nullptr, "JSON: expected an integer, found ", kind_of(*this));
  require(*d >= -0x1p63 && *d < 0x1p63 && std::trunc(*d) == *d, "JSON: expected an integer, found ",
          *d);
  return static_cast<int64_t>(*d);
}

double Json::as_double() const {
  if (const auto* i = std::get_if<int64_t>(&value_)) return static_cast<double>(*i);
  const auto* d = std::get_if<double>(&value_);
  require(d != nullptr, "JSON: expected a number, found ", kind_of(*this));
  return *d;
}

const std::string& Json::as_string() const {
  require(is_string(), "JSON: expected a string, found ", kind_of(*this));
  return std::get<std::string>(value_);
}

const Json::Array& Json::as_array() const {
  require(is_array(), "JSON: expected an array, found ", kind_of(*this));
  return std::get<Array>(value_);
}
Json::Array& Json::as_array() { return const_cast<Array&>(std::as_const(*this).as_array()); }

const Json::Object& Json::as_object() const {
  require(is_object(), "JSON: expected an object, found ", kind_of(*this));
  return std::get<Object>(value_);
}
Json::Object& Json::as_object() { return const_cast<Object&>(std::as_const(*this).as_object()); }

const Json* Json::find(std::string_view key) const {
  for (const auto& [name, value] : as_object())
    if (name == key) return &value;
  return nullptr;
}

const Json& Json::at(std::string_view key) const {
  const Json* member = find(key);
  require(member != nullptr, "JSON: the object has no member \"", key, "\"");
  return *member;
}

Json& Json::operator[](const std::string& key) {
  if (is_null()) value_ = Object{};
  Object& object = as_object();
  for (auto& [name, value] : object)
    if (name == key) return value;
  return object.emplace_back(key, Json()).second;
}

void Json::push_back(Json v) {
  if (is_null()) value_ = Array{};
  as_array().push_back(std::move(v));
}

size_t Json::size() const {
  if (is_array()) return std::get<Array>(value_).size();
  return is_object() ? std::get<Object>(value_).size() : 0;
}

std::string Json::dump(int indent) const {
  std::string out;
  write(*this, indent, 0, out);
  return out;
}

Json Json::parse(std::string_view text, const std::string& what) {
  Builder builder;
  const char* const begin = text.data();
  // The parser takes a zero byte for the end of the text.
  const size_t end = std::min(text.find('\0'), text.size());
  const char* read = begin;
  if (nlohmann::json::sax_parse(CountingIterator{begin, &read},
                                CountingIterator{begin + end, &read}, &builder)) {
    if (end == text.size()) return std::move(builder.result);
    builder.error = "zero byte";
    read = begin + end + 1;
  }
  // `read` is one past the character at which the fault showed.
  const std::string_view before = text.substr(0, read == begin ? 0 : read - begin - 1);
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const size_t column = before.size() - (before.rfind('\n') + 1) + 1;  // npos + 1 = 0
  fail(what, ": line ", line, ", column ", column, ": ", builder.error);
}

}  // namespace gallop
