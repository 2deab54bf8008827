#include "gallop/formats/pickle.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <optional>
#include <unordered_map>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/base/number.h"
#include "gallop/base/text.h"
#include "gallop/formats/bytes.h"

// The opcodes: https://github.com/python/cpython/blob/main/Lib/pickletools.py

namespace gallop::formats {
namespace {

using Kind = PickleValue::Kind;
using Use = PickleGlobal::Use;
using Items = std::vector<const PickleValue*>;

constexpr size_t max_opcodes = size_t{16} << 20;
constexpr size_t longest_known_name = 128;

enum Opcode : uint8_t {
  mark = '(',
  stop = '.',
  pop = '0',
  pop_mark = '1',
  dup = '2',
  float_text = 'F',
  int_text = 'I',
  binint = 'J',
  binint1 = 'K',
  long_text = 'L',
  binint2 = 'M',
  none = 'N',
  persistent_line = 'P',
  persistent_id = 'Q',
  reduce = 'R',
  string_text = 'S',
  binstring = 'T',
  short_binstring = 'U',
  unicode_text = 'V',
  binunicode = 'X',
  append = 'a',
  build = 'b',
  global = 'c',
  dict = 'd',
  appends = 'e',
  get = 'g',
  binget = 'h',
  inst = 'i',
  long_binget = 'j',
  list = 'l',
  empty_list = ']',
  obj = 'o',
  put = 'p',
  binput = 'q',
  long_binput = 'r',
  setitem = 's',
  tuple = 't',
  empty_tuple = ')',
  setitems = 'u',
  empty_dict = '}',
  binbytes = 'B',
  short_binbytes = 'C',
  binfloat = 'G',
  proto = 0x80,
  newobj = 0x81,
  ext1 = 0x82,
  ext2 = 0x83,
  ext4 = 0x84,
  tuple1 = 0x85,
  tuple2 = 0x86,
  tuple3 = 0x87,
  newtrue = 0x88,
  newfalse = 0x89,
  long1 = 0x8a,
  long4 = 0x8b,
  short_binunicode = 0x8c,
  binunicode8 = 0x8d,
  binbytes8 = 0x8e,
  empty_set = 0x8f,
  additems = 0x90,
  frozenset = 0x91,
  newobj_ex = 0x92,
  stack_global = 0x93,
  memoize = 0x94,
  frame = 0x95,
  bytearray8 = 0x96,
  next_buffer = 0x97,
  readonly_buffer = 0x98,
};

/// Names as Python 3 has them; protocol 2 writes those of Python 2.
std::string_view new_name_of_module(std::string_view module) {
  if (module == "__builtin__") return "builtins";
  if (module == "copy_reg") return "copyreg";
  return module;
}

std::string_view new_name_of_builtin(std::string_view name) {
  if (name == "xrange") return "range";
  if (name == "unicode") return "str";
  if (name == "long") return "int";
  return name;
}

/// A name from the file as it is if that is a plain one, else in quotes.
std::string shown_name(std::string_view name) {
  constexpr size_t longest = 80;
  const bool plain =
      !name.empty() && name.size() <= longest && std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_' || c == '.';
      });
  return plain ? std::string(name) : in_quotes(name);
}

/// A global's name, or what it is that would be called.
std::string describe_callable(const PickleValue& v) {
  return v.kind == Kind::global ? name_of_global(v) : "a value that is no function by name";
}

}  // namespace

bool PickleValue::is_global(std::string_view full_name) const {
  return kind == Kind::global && full_name.size() == module.size() + 1 + text.size() &&
         full_name.starts_with(module) && full_name[module.size()] == '.' &&
         full_name.ends_with(text);
}

std::string name_of_global(const PickleValue& global) {
  return shown_name(global.module) + "." + shown_name(global.text);
}

std::string describe(const PickleValue& v) {
  const std::string count = std::to_string(v.items.size());
  switch (v.kind) {
    case Kind::none:
      return "None";
    case Kind::boolean:
      return v.integer != 0 ? "True" : "False";
    case Kind::integer:
      return "the integer " + std::to_string(v.integer);
    case Kind::big_integer:
      return "an integer of more than 64 bits";
    case Kind::real:
      return "the number " + std::to_string(v.real);
    case Kind::text:
      return "the text " + in_quotes(v.text);
    case Kind::bytes:
      return std::to_string(v.text.size()) + " bytes";
    case Kind::tuple:
      return "a tuple of " + count;
    case Kind::list:
      return "a list of " + count;
    case Kind::set:
      return "a set of " + count;
    case Kind::dict:
      return "a dict of " + std::to_string(v.items.size() / 2);
    case Kind::global:
      return name_of_global(v);
    case Kind::call:
      return "what " + describe_callable(*v.items[0]) + " makes";
    case Kind::object:
      return "an object of " + describe_callable(*v.items[0]);
    case Kind::persistent:
      return "an object outside the pickle";
    case Kind::unknown:
      return "a value that is not in the file";
  }
  return "";
}

/// The stack machine. An opcode makes two values at most, so that a pickle cannot grow.
class Pickle::Machine {
 public:
  Machine(std::span<const std::byte> bytes, std::span<const PickleGlobal> globals,
          std::deque<PickleValue>& values)
      : text_(reinterpret_cast<const char*>(bytes.data()), bytes.size()), values_(values) {
    for (const PickleGlobal& g : globals) uses_.emplace(g.name, g.use);
  }

  const PickleValue* run() {
    for (size_t steps = 0;; ++steps) {
      require(steps < max_opcodes, "it has more than the ", max_opcodes, " opcodes allowed");
      const uint8_t code = byte();
      if (code == stop) break;
      step(code);
    }
    require(at_ == text_.size(), "it goes on after its end");
    require(stack_.size() == 1 && marks_.empty(), "it leaves ", stack_.size(), " values and ",
            marks_.size(), " marks instead of one value");
    return stack_.back();
  }

  size_t position() const { return at_; }

 private:
  void step(uint8_t code) {
    if (scalar_opcode(code) || container_opcode(code) || stack_opcode(code) ||
        reference_opcode(code))
      return;
    fail("opcode number ", int{code}, " is none that pickles have");
  }

  bool scalar_opcode(uint8_t code) {
    switch (code) {
      case none:
        return push(Kind::none);
      case newtrue:
        return push_integer(Kind::boolean, 1);
      case newfalse:
        return push_integer(Kind::boolean, 0);
      case binint:
        return push_integer(Kind::integer, static_cast<int32_t>(number<uint32_t>()));
      case binint1:
        return push_integer(Kind::integer, byte());
      case binint2:
        return push_integer(Kind::integer, number<uint16_t>());
      case long1:
        return push_long(take(byte()));
      case long4:
        return push_long(take(number<uint32_t>()));
      case int_text:
      case long_text:
        return push_decimal(line());
      case binfloat:
        return push_float();
      case float_text:
        return push_float(line());
      case binunicode:
      case binstring:
        return push_text(Kind::text, take(number<uint32_t>()));
      case short_binunicode:
      case short_binstring:
        return push_text(Kind::text, take(byte()));
      case binunicode8:
        return push_text(Kind::text, take(number<uint64_t>()));
      case string_text:
      case unicode_text:
        return push_line(line());
      case binbytes:
        return push_text(Kind::bytes, take(number<uint32_t>()));
      case short_binbytes:
        return push_text(Kind::bytes, take(byte()));
      case binbytes8:
      case bytearray8:
        return push_text(Kind::bytes, take(number<uint64_t>()));
      default:
        return false;
    }
  }

  bool container_opcode(uint8_t code) {
    switch (code) {
      case empty_tuple:
        return push(Kind::tuple);
      case empty_list:
        return push(Kind::list);
      case empty_dict:
        return push(Kind::dict);
      case empty_set:
        return push(Kind::set);
      case tuple:
        return push(Kind::tuple, pop_to_mark());
      case tuple1:
        return push(Kind::tuple, pop_many(1));
      case tuple2:
        return push(Kind::tuple, pop_many(2));
      case tuple3:
        return push(Kind::tuple, pop_many(3));
      case list:
        return push(Kind::list, pop_to_mark());
      case frozenset:
        return push(Kind::set, pop_to_mark());
      case dict: {
        Items items = pop_to_mark();
        push(Kind::dict);
        return add(Kind::dict, std::move(items));
      }
      case append:
        return add(Kind::list, pop_many(1));
      case appends:
        return add(Kind::list, pop_to_mark());
      case additems:
        return add(Kind::set, pop_to_mark());
      case setitem:
        return add(Kind::dict, pop_many(2));
      case setitems:
        return add(Kind::dict, pop_to_mark());
      default:
        return false;
    }
  }

  bool stack_opcode(uint8_t code) {
    switch (code) {
      case proto:
        byte();
        return true;
      case frame:
        take(8);
        return true;
      case readonly_buffer:
        top();
        return true;
      case mark:
        marks_.push_back(stack_.size());
        return true;
      case pop:
        if (!marks_.empty() && stack_.size() == marks_.back()) {
          marks_.pop_back();
        } else {
          pop_many(1);
        }
        return true;
      case pop_mark:
        pop_to_mark();
        return true;
      case dup:
        stack_.push_back(top());
        return true;
      case put:
        memo_[index_in_line()] = top();
        return true;
      case binput:
        memo_[byte()] = top();
        return true;
      case long_binput:
        memo_[number<uint32_t>()] = top();
        return true;
      case memoize: {
        const uint64_t index = memo_.size();
        memo_[index] = top();
        return true;
      }
      case get:
        return push_memo(index_in_line());
      case binget:
        return push_memo(byte());
      case long_binget:
        return push_memo(number<uint32_t>());
      default:
        return false;
    }
  }

  /// What names or would make things.
  bool reference_opcode(uint8_t code) {
    switch (code) {
      case persistent_id:
        return push(Kind::persistent, pop_many(1));
      case persistent_line: {
        push_text(Kind::text, line());
        return push(Kind::persistent, pop_many(1));
      }
      case global: {
        const std::string_view module = line();
        return push_global(module, line());
      }
      case stack_global: {
        const Items names = pop_many(2);
        require(names[0]->kind == Kind::text && names[1]->kind == Kind::text,
                "the name of a global is no text");
        return push_global(names[0]->text, names[1]->text);
      }
      case ext1:
      case ext2:
      case ext4:
        take(size_t{1} << (code - ext1));
        return push(Kind::unknown);
      case next_buffer:
        return push(Kind::unknown);
      case reduce:
        return make_of(Kind::call, pop_many(2));
      case newobj:
        return make_of(Kind::object, pop_many(2));
      case newobj_ex:
        return push(Kind::object, pop_many(3));
      case obj: {
        Items items = pop_to_mark();
        require(!items.empty(), "an object has no class");
        const PickleValue* function = items.front();
        items.erase(items.begin());
        return make_of(Kind::object, {function, &make_aside(Kind::tuple, std::move(items))});
      }
      case inst: {
        const std::string_view module = line();
        const PickleValue& function = global_named(module, line());
        return make_of(Kind::object, {&function, &make_aside(Kind::tuple, pop_to_mark())});
      }
      case build:
        return set_state();
      default:
        return false;
    }
  }

  uint8_t byte() { return static_cast<uint8_t>(take(1)[0]); }

  std::string_view take(uint64_t n) {
    require(n <= text_.size() - at_, "it is cut short");
    const std::string_view taken = text_.substr(at_, n);
    at_ += n;
    return taken;
  }

  template <class T>
  T number() {
    return read_little<T>(take(sizeof(T)).data());
  }

  std::string_view line() {
    const size_t end = text_.find('\n', at_);
    require(end != std::string_view::npos, "it is cut short in a line of text");
    const std::string_view taken = text_.substr(at_, end - at_);
    at_ = end + 1;
    return taken;
  }

  uint64_t index_in_line() {
    const std::string_view digits = line();
    const auto index = whole_number<uint64_t>(digits);
    require(index.has_value(), "the place ", in_quotes(digits), " of its memo is no number");
    return *index;
  }

  PickleValue& make_aside(Kind kind, Items items = {}) {
    PickleValue& value = values_.emplace_back();
    value.kind = kind;
    value.items = std::move(items);
    return value;
  }
  PickleValue& make(Kind kind) {
    PickleValue& value = make_aside(kind);
    stack_.push_back(&value);
    return value;
  }

  // Each of these says true, so that an opcode is one line above.
  bool push(Kind kind) {
    make(kind);
    return true;
  }
  bool push(Kind kind, Items items) {
    make(kind).items = std::move(items);
    return true;
  }
  bool push_integer(Kind kind, int64_t integer) {
    make(kind).integer = integer;
    return true;
  }
  bool push_text(Kind kind, std::string_view text) {
    make(kind).text = text;
    return true;
  }

  bool push_long(std::string_view bytes) {
    // Bytes that only repeat the sign are no part of the number.
    const auto negative = [&](size_t i) { return (static_cast<uint8_t>(bytes[i]) & 0x80) != 0; };
    while (bytes.size() > 8 && bytes.back() == (negative(bytes.size() - 2) ? '\xff' : '\0'))
      bytes.remove_suffix(1);
    if (bytes.size() > 8) return push(Kind::big_integer);
    // The sign is that of the highest byte there is, and repeated up to 64 bits.
    std::string all(bytes);
    all.resize(8, !bytes.empty() && negative(bytes.size() - 1) ? '\xff' : '\0');
    return push_integer(Kind::integer, static_cast<int64_t>(read_little<uint64_t>(all.data())));
  }

  bool push_decimal(std::string_view digits) {
    if (digits == "00" || digits == "01") return push_integer(Kind::boolean, digits[1] - '0');
    if (digits.ends_with('L')) digits.remove_suffix(1);
    int64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    require(!digits.empty() && end == digits.data() + digits.size() &&
                error != std::errc::invalid_argument,
            "the integer ", in_quotes(digits), " is none");
    if (error == std::errc::result_out_of_range) return push(Kind::big_integer);
    return push_integer(Kind::integer, value);
  }

  bool push_float() {
    const auto bits = read_big<uint64_t>(take(8).data());
    make(Kind::real).real = std::bit_cast<double>(bits);
    return true;
  }

  bool push_float(std::string_view digits) {
    double value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    require(!digits.empty() && end == digits.data() + digits.size() &&
                error != std::errc::invalid_argument,
            "the number ", in_quotes(digits), " is none");
    make(Kind::real).real = value;
    return true;
  }

  /// A text of protocol 0. One with escapes is kept as bytes, since those are not undone.
  bool push_line(std::string_view text) {
    if (text.size() >= 2 && text.front() == text.back() && (text[0] == '\'' || text[0] == '"'))
      text = text.substr(1, text.size() - 2);
    return push_text(text.find('\\') == text.npos ? Kind::text : Kind::bytes, text);
  }

  bool push_memo(uint64_t index) {
    const auto found = memo_.find(index);
    require(found != memo_.end(), "it takes value ", index, ", which it never kept");
    stack_.push_back(found->second);
    return true;
  }

  PickleValue& global_named(std::string_view module, std::string_view name) {
    PickleValue& value = make_aside(Kind::global);
    value.module = new_name_of_module(module);
    value.text = module == "__builtin__" ? new_name_of_builtin(name) : name;
    value.known = use_of(value).has_value();
    return value;
  }
  bool push_global(std::string_view module, std::string_view name) {
    stack_.push_back(&global_named(module, name));
    return true;
  }

  std::optional<Use> use_of(const PickleValue& function) const {
    if (function.kind != Kind::global) return {};
    if (function.module.size() + function.text.size() > longest_known_name) return {};
    std::string name(function.module);
    name.append(1, '.').append(function.text);
    const auto found = uses_.find(name);
    return found == uses_.end() ? std::nullopt : std::optional<Use>(found->second);
  }

  /// The mutable value at the top.
  PickleValue* top() {
    require(stack_.size() > floor(), "an opcode takes a value that is not there");
    return stack_.back();
  }
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

  Items pop_many(size_t n) {
    require(stack_.size() - floor() >= n, "an opcode takes ", n, " values where there are ",
            stack_.size() - floor());
    return cut(stack_.size() - n);
  }
  Items pop_to_mark() {
    require(!marks_.empty(), "an opcode takes the values since a mark that was never set");
    const size_t from = marks_.back();
    marks_.pop_back();
    return cut(from);
  }
  Items cut(size_t from) {
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(from);
    Items items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    return items;
  }

  static bool is_made(const PickleValue& value) {
    return value.kind == Kind::call || value.kind == Kind::object;
  }

  bool add(Kind kind, Items items) {
    PickleValue* container = top();
    if (is_made(*container)) {  // of a class of its own that is a list, a set or a dict
      container->items.push_back(&make_aside(kind, std::move(items)));
      return true;
    }
    require(container->kind == kind, "an opcode fills a ",
            kind == Kind::list  ? "list"
            : kind == Kind::set ? "set"
                                : "dict",
            " and finds ", describe(*container));
    require(kind != Kind::dict || items.size() % 2 == 0, "a dict gets a key without a value");
    container->items.insert(container->items.end(), items.begin(), items.end());
    return true;
  }

  bool make_of(Kind kind, Items items) {
    const std::optional<Use> use = use_of(*items[0]);
    if (use && *use != Use::data && items[1]->kind == Kind::tuple) {
      const Kind container = *use == Use::dict   ? Kind::dict
                             : *use == Use::list ? Kind::list
                                                 : Kind::set;
      if (auto contents = contents_of(container, *items[0], items[1]->items))
        return push(container, std::move(*contents));
    }
    return push(kind, std::move(items));
  }

  /// What a container that is made from `arguments` holds; nothing if that is not known.
  std::optional<Items> contents_of(Kind kind, const PickleValue& function, const Items& arguments) {
    size_t at = 0;
    if (function.is_global("collections.defaultdict") && !arguments.empty()) at = 1;
    if (arguments.size() <= at) return Items();
    const PickleValue& from = *arguments[at];
    if (kind == Kind::dict && from.kind == Kind::dict) return copy(from.items);
    if (from.kind != Kind::list && from.kind != Kind::tuple && from.kind != Kind::set) return {};
    if (kind != Kind::dict) return copy(from.items);
    Items pairs;
    if (!may_copy(2 * from.items.size())) return {};
    for (const PickleValue* pair : from.items) {
      if ((pair->kind != Kind::tuple && pair->kind != Kind::list) || pair->items.size() != 2)
        return {};
      pairs.insert(pairs.end(), pair->items.begin(), pair->items.end());
    }
    return pairs;
  }

  std::optional<Items> copy(const Items& items) {
    return may_copy(items.size()) ? std::optional<Items>(items) : std::nullopt;
  }
  /// All copies together are of no more items than the pickle has bytes.
  bool may_copy(size_t items) {
    if (items > text_.size() - copied_) return false;
    copied_ += items;
    return true;
  }

  /// Members of an object are kept, those of a container (an OrderedDict of torch has a version)
  /// dropped.
  bool set_state() {
    const Items state = pop_many(1);
    PickleValue* target = top();
    const bool is_container =
        target->kind == Kind::dict || target->kind == Kind::list || target->kind == Kind::set;
    require(is_container || is_made(*target) || target->kind == Kind::unknown,
            "it sets members of ", describe(*target), ", which has none");
    if (is_made(*target)) target->items.push_back(state[0]);
    return true;
  }

  std::string_view text_;
  std::deque<PickleValue>& values_;
  std::unordered_map<std::string_view, Use> uses_;
  std::vector<PickleValue*> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, PickleValue*> memo_;
  size_t at_ = 0, copied_ = 0;
};

Pickle::Pickle(std::span<const std::byte> bytes, std::span<const PickleGlobal> globals,
               const std::string& what) {
  Machine machine(bytes, globals, values_);
  try {
    root_ = machine.run();
  } catch (const Error& error) {
    fail(what, " at byte ", machine.position(), ": ", error.what());
  }
}

}  // namespace gallop::formats
