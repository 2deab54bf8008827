#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gallop::formats {

/// A value of a pickle. Containers may hold themselves, so whoever follows them counts the depth.
struct PickleValue {
  enum class Kind {
    none,
    boolean,      ///< `integer` is 0 or 1
    integer,      ///< of 64 bits at most
    big_integer,  ///< larger; not kept
    real,         ///< a float
    text,         ///< a str, in UTF-8
    bytes,        ///< bytes or a bytearray, in `text`
    tuple,        ///< `items`
    list,         ///< `items`; also a collections.deque
    set,          ///< `items`; also a frozenset
    dict,         ///< `items`: key, value, key, value, ...; also OrderedDict, Counter, defaultdict
    global,       ///< a function or class, named by `module` and `text`
    call,        ///< `items`: what would be called, its arguments, then what was set afterwards; it
                 ///< was not called
    object,      ///< `items`: its class, the arguments, then what was set afterwards
    persistent,  ///< `items`: what the file says in place of an object that lies outside
    unknown,     ///< made by an opcode that refers to something that a file cannot hold
  };
  Kind kind = Kind::none;
  bool known = false;  ///< of a global: it is among those listed
  int64_t integer = 0;
  double real = 0;
  std::string_view module, text;  ///< into the pickle
  std::vector<const PickleValue*> items;

  /// Whether this is the global "module.name".
  bool is_global(std::string_view full_name) const;
};

/// What a value is, for messages: "a dict of 3", "the integer 7", "what torch.make makes".
std::string describe(const PickleValue& value);
/// "module.name" of a global, fit for a message.
std::string name_of_global(const PickleValue& global);

/// How a global that is known is used.
struct PickleGlobal {
  std::string_view name;  ///< "module.name", as Python 3 names it
  enum class Use {
    dict,  ///< makes a dict: empty, of the dict or the pairs given, for defaultdict after a factory
    list,  ///< makes a list, empty or of the items given
    set,   ///< makes a set, empty or of the items given
    data,  ///< names or makes something that is noted and understood
  } use;
};

/// Reads a pickle of any protocol as data: containers, numbers, texts, and notes of which globals
/// would be called with what. Nothing is imported, called or executed, whatever the globals are;
/// those that are not listed are kept as values of unknown kinds. Throws Error for damage. Memory
/// stays below 200 times the size of the pickle, of which at most 16 Mi opcodes are read.
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
