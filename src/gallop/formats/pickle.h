#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gallop::formats {

/// A value of a pickle. Containers may hold themselves, so whoever follows them counts the depth.
struct PickleValue {
  enum class Kind {
    none,
    boolean,     ///< `integer` is 0 or 1
    integer,     ///< of 64 bits at most
    real,        ///< a float
    text,        ///< a str, in UTF-8
    tuple,       ///< `items`
    list,        ///< `items`
    dict,        ///< `items`: key, value, key, value, ...; also a collections.OrderedDict
    global,      ///< `text`: "module.name" of a function or class that may be named
    call,        ///< `items`: a global and the tuple of its arguments; it was not called
    object,      ///< `items`: its class (a global) and, once it was filled, a dict of its members
    persistent,  ///< `items`: what the file says in place of an object that lies outside
  };
  Kind kind = Kind::none;
  int64_t integer = 0;
  double real = 0;
  std::string_view text;  ///< into the pickle, or into the list of globals
  std::vector<const PickleValue*> items;
};

/// What a value is, for messages: "a dict of 3", "the integer 7".
std::string describe(const PickleValue& value);

/// What a pickle may name, and how it is built.
struct PickleGlobal {
  std::string_view name;  ///< "module.name"
  enum class Use {
    dict,      ///< calling it without arguments gives a dict
    object,    ///< an object whose members are kept
    function,  ///< a call is noted with its arguments
    constant,  ///< stands for itself
  } use;
};

/// Reads a pickle (of protocols 2 to 5, as far as torch.save needs them) as data: containers,
/// numbers, texts, and notes of which globals would be called with what. Nothing is imported,
/// called or executed. A global that is not listed, and an opcode that does more than build data,
/// is an Error that names it. Memory stays below 200 times the size of the pickle, which is at
/// most 16 MiB.
class Pickle {
 public:
  /// `globals` must live as long as this object; so must the bytes. Errors begin with `what`.
  Pickle(std::span<const std::byte> bytes, std::span<const PickleGlobal> globals,
         const std::string& what);
  const PickleValue& root() const { return *root_; }

 private:
  class Machine;
  std::deque<PickleValue> values_;
  const PickleValue* root_ = nullptr;
};

}  // namespace gallop::formats
