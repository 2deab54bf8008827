#include "gallop/formats/pickle.h"

#include <algorithm>
#include <array>
#include <bit>
#include <unordered_map>

#include "gallop/base/error.h"
#include "gallop/base/text.h"

// The opcodes: https://github.com/python/cpython/blob/main/Lib/pickletools.py

namespace gallop::formats {
namespace {

using Kind = PickleValue::Kind;
using Use = PickleGlobal::Use;

constexpr size_t max_pickle = size_t{16} << 20;

enum Opcode : uint8_t {
  mark = '(',
  stop = '.',
  binint = 'J',
  binint1 = 'K',
  binint2 = 'M',
  none = 'N',
  persistent_id = 'Q',
  reduce = 'R',
  binunicode = 'X',
  append = 'a',
  build = 'b',
  global = 'c',
  appends = 'e',
  binget = 'h',
  long_binget = 'j',
  empty_list = ']',
  binput = 'q',
  long_binput = 'r',
  setitem = 's',
  tuple = 't',
  empty_tuple = ')',
  setitems = 'u',
  empty_dict = '}',
  binfloat = 'G',
  proto = 0x80,
  newobj = 0x81,
  tuple1 = 0x85,
  tuple2 = 0x86,
  tuple3 = 0x87,
  newtrue = 0x88,
  newfalse = 0x89,
  long1 = 0x8a,
  short_binunicode = 0x8c,
  stack_global = 0x93,
  memoize = 0x94,
  frame = 0x95,
};

/// Names of the opcodes that are refused, for messages.
struct Refused {
  uint8_t code;
  std::string_view name;
};
constexpr std::array refused{
    Refused{'0', "POP"},
    Refused{'1', "POP_MARK"},
    Refused{'2', "DUP"},
    Refused{'F', "FLOAT"},
    Refused{'I', "INT"},
    Refused{'L', "LONG"},
    Refused{'P', "PERSID"},
    Refused{'S', "STRING"},
    Refused{'T', "BINSTRING"},
    Refused{'U', "SHORT_BINSTRING"},
    Refused{'V', "UNICODE"},
    Refused{'d', "DICT"},
    Refused{'g', "GET"},
    Refused{'i', "INST"},
    Refused{'l', "LIST"},
    Refused{'o', "OBJ"},
    Refused{'p', "PUT"},
    Refused{'B', "BINBYTES"},
    Refused{'C', "SHORT_BINBYTES"},
    Refused{0x82, "EXT1"},
    Refused{0x83, "EXT2"},
    Refused{0x84, "EXT4"},
    Refused{0x8b, "LONG4"},
    Refused{0x8d, "BINUNICODE8"},
    Refused{0x8e, "BINBYTES8"},
    Refused{0x8f, "EMPTY_SET"},
    Refused{0x90, "ADDITEMS"},
    Refused{0x91, "FROZENSET"},
    Refused{0x92, "NEWOBJ_EX"},
    Refused{0x96, "BYTEARRAY8"},
    Refused{0x97, "NEXT_BUFFER"},
    Refused{0x98, "READONLY_BUFFER"},
};

std::string opcode_name(uint8_t code) {
  const auto* found =
      std::find_if(refused.begin(), refused.end(), [&](Refused r) { return r.code == code; });
  return found != refused.end() ? std::string(found->name) : "number " + std::to_string(code);
}

}  // namespace

std::string describe(const PickleValue& v) {
  const std::string count = std::to_string(v.items.size());
  switch (v.kind) {
    case Kind::none:
      return "None";
    case Kind::boolean:
      return v.integer != 0 ? "True" : "False";
    case Kind::integer:
      return "the integer " + std::to_string(v.integer);
    case Kind::real:
      return "the number " + std::to_string(v.real);
    case Kind::text:
      return "the text " + in_quotes(v.text);
    case Kind::tuple:
      return "a tuple of " + count;
    case Kind::list:
      return "a list of " + count;
    case Kind::dict:
      return "a dict of " + std::to_string(v.items.size() / 2);
    case Kind::global:
      return std::string(v.text);
    case Kind::call:
      return "what " + std::string(v.items[0]->text) + " makes";
    case Kind::object:
      return "an object of " + std::string(v.items[0]->text);
    case Kind::persistent:
      return "an object outside the pickle";
  }
  return "";
}

/// The stack machine. Every opcode makes one value at most, so that a pickle cannot grow.
class Pickle::Machine {
 public:
  Machine(std::span<const std::byte> bytes, std::span<const PickleGlobal> globals,
          std::deque<PickleValue>& values)
      : text_(reinterpret_cast<const char*>(bytes.data()), bytes.size()),
        globals_(globals),
        values_(values) {}

  const PickleValue* run() {
    for (;;) {
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
    switch (code) {
      case proto:
        byte();
        return;
      case frame:
        take(8);
        return;
      case mark:
        marks_.push_back(stack_.size());
        return;
      case none:
        return push(Kind::none);
      case newtrue:
        return push_integer(Kind::boolean, 1);
      case newfalse:
        return push_integer(Kind::boolean, 0);
      case binint:
        return push_integer(Kind::integer, static_cast<int32_t>(little_endian(4)));
      case binint1:
        return push_integer(Kind::integer, static_cast<int64_t>(little_endian(1)));
      case binint2:
        return push_integer(Kind::integer, static_cast<int64_t>(little_endian(2)));
      case long1:
        return push_long(byte());
      case binfloat:
        return push_float();
      case binunicode:
        return push_text(take(little_endian(4)));
      case short_binunicode:
        return push_text(take(byte()));
      case empty_tuple:
        return push(Kind::tuple);
      case empty_list:
        return push(Kind::list);
      case empty_dict:
        return push(Kind::dict);
      case tuple:
        return push(Kind::tuple, pop_to_mark());
      case tuple1:
        return push(Kind::tuple, pop_many(1));
      case tuple2:
        return push(Kind::tuple, pop_many(2));
      case tuple3:
        return push(Kind::tuple, pop_many(3));
      case append:
        return add(Kind::list, pop_many(1));
      case appends:
        return add(Kind::list, pop_to_mark());
      case setitem:
        return add(Kind::dict, pop_many(2));
      case setitems:
        return add(Kind::dict, pop_to_mark());
      case binput:
        memo_[byte()] = top();
        return;
      case long_binput:
        memo_[static_cast<uint32_t>(little_endian(4))] = top();
        return;
      case memoize:
        memo_[static_cast<uint32_t>(memo_.size())] = top();
        return;
      case binget:
        return push_memo(byte());
      case long_binget:
        return push_memo(static_cast<uint32_t>(little_endian(4)));
      case persistent_id:
        return push(Kind::persistent, pop_many(1));
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
      case reduce:
      case newobj:
        return call(code);
      case build:
        return set_state();
      default:
        fail("opcode ", opcode_name(code), " is refused: it is none of those that build tensors ",
             "and containers");
    }
  }

  using Items = std::vector<const PickleValue*>;

  uint8_t byte() { return static_cast<uint8_t>(take(1)[0]); }

  std::string_view take(uint64_t n) {
    require(n <= text_.size() - at_, "it is cut short");
    const std::string_view taken = text_.substr(at_, n);
    at_ += n;
    return taken;
  }

  uint64_t little_endian(size_t n) {
    const std::string_view bytes = take(n);
    uint64_t v = 0;
    for (size_t i = n; i-- > 0;) v = v << 8 | static_cast<uint8_t>(bytes[i]);
    return v;
  }

  std::string_view line() {
    const size_t end = text_.find('\n', at_);
    require(end != std::string_view::npos, "it is cut short in the name of a global");
    const std::string_view taken = text_.substr(at_, end - at_);
    at_ = end + 1;
    return taken;
  }

  PickleValue& make(Kind kind) {
    PickleValue& value = values_.emplace_back();
    value.kind = kind;
    stack_.push_back(&value);
    return value;
  }
  void push(Kind kind) { make(kind); }
  void push(Kind kind, Items items) { make(kind).items = std::move(items); }
  void push_integer(Kind kind, int64_t integer) { make(kind).integer = integer; }
  void push_text(std::string_view text) { make(Kind::text).text = text; }

  void push_long(size_t n) {
    require(n <= 8, "an integer of ", n, " bytes; at most 8 are read");
    const uint64_t bits = little_endian(n);
    // The sign is that of the highest byte there is.
    const int shift = 64 - 8 * static_cast<int>(n);
    push_integer(Kind::integer, n == 0 ? 0 : static_cast<int64_t>(bits << shift) >> shift);
  }

  void push_float() {
    uint64_t bits = 0;
    for (const char c : take(8)) bits = bits << 8 | static_cast<uint8_t>(c);
    make(Kind::real).real = std::bit_cast<double>(bits);
  }

  void push_memo(uint32_t index) {
    const auto found = memo_.find(index);
    require(found != memo_.end(), "it takes value ", index, ", which it never kept");
    stack_.push_back(found->second);
  }

  void push_global(std::string_view module, std::string_view name) {
    const std::string full = std::string(module) + "." + std::string(name);
    const auto found = std::find_if(globals_.begin(), globals_.end(),
                                    [&](const PickleGlobal& g) { return g.name == full; });
    require(found != globals_.end(), "the global ", in_quotes(full),
            " is refused: it is none of those that tensors and containers need");
    make(Kind::global).text = found->name;
  }

  Use use_of(const PickleValue& global) const {
    return std::find_if(globals_.begin(), globals_.end(),
                        [&](const PickleGlobal& g) { return g.name == global.text; })
        ->use;
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

  void add(Kind kind, const Items& items) {
    PickleValue* container = top();
    require(container->kind == kind, "an opcode fills a ", kind == Kind::list ? "list" : "dict",
            " and finds ", describe(*container));
    require(kind == Kind::list || items.size() % 2 == 0, "a dict gets a key without a value");
    container->items.insert(container->items.end(), items.begin(), items.end());
  }

  void call(uint8_t code) {
    const Items items = pop_many(2);
    require(items[0]->kind == Kind::global, "it calls ", describe(*items[0]),
            ", which is no function");
    require(items[1]->kind == Kind::tuple, "it calls ", items[0]->text, " with ",
            describe(*items[1]));
    const Use use = use_of(*items[0]);
    if (use == Use::dict && items[1]->items.empty()) return push(Kind::dict);
    if (use == Use::object && code == newobj && items[1]->items.empty())
      return push(Kind::object, {items[0]});
    require(use == Use::function && code == reduce, "it makes ", items[0]->text, " out of ",
            describe(*items[1]), ", which is refused");
    push(Kind::call, items);
  }

  /// Members of an object are kept, those of a dict (an OrderedDict of torch has a version)
  /// dropped.
  void set_state() {
    const Items state = pop_many(1);
    PickleValue* target = top();
    require(
        (target->kind == Kind::object && target->items.size() == 1) || target->kind == Kind::dict,
        "it sets members of ", describe(*target), ", which is refused");
    require(state[0]->kind == Kind::dict, "it sets members of ", describe(*target), " by ",
            describe(*state[0]));
    if (target->kind == Kind::object) target->items.push_back(state[0]);
  }

  std::string_view text_;
  std::span<const PickleGlobal> globals_;
  std::deque<PickleValue>& values_;
  std::vector<PickleValue*> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint32_t, PickleValue*> memo_;
  size_t at_ = 0;
};

Pickle::Pickle(std::span<const std::byte> bytes, std::span<const PickleGlobal> globals,
               const std::string& what) {
  require(bytes.size() <= max_pickle, what, " has ", bytes.size(), " bytes, more than the ",
          max_pickle, " allowed");
  Machine machine(bytes, globals, values_);
  try {
    root_ = machine.run();
  } catch (const Error& error) {
    fail(what, " at byte ", machine.position(), ": ", error.what());
  }
}

}  // namespace gallop::formats
