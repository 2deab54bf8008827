#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace gallop::config {

/// Inclusive bounds of a number (or of every element of a list); `open_min` excludes the lower one.
struct Range {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool open_min = false;
};
inline Range at_least(double min) { return {.min = min}; }
inline Range between(double min, double max) { return {.min = min, .max = max}; }
inline Range positive() { return {.min = 0, .open_min = true}; }

/// The allowed spellings of a string field; empty: any.
using Choices = std::vector<std::string>;

/// What a new value of a field does to a run that has begun and goes on with it.
enum class Effect {
  free,   ///< it says how work is done, or what is done from here on: what was saved keeps its
          ///< meaning
  state,  ///< what was saved would mean something else: refused unless the key is allowed by name
};

class Struct;
class Component;

/// Receives the fields of a config struct one by one. Parsing, printing, overriding and documenting
/// are each one Visitor, so that a field is listed exactly once (key, member, one line of
/// documentation, range); its default is the member's initial value. An absent optional means
/// "derived from other fields" and prints as a comment.
class Visitor {
 public:
  virtual ~Visitor() = default;
  /// The effect of the fields that follow in this struct. Before the first call it is that of the
  /// field which holds the struct, and `free` in the outermost one.
  void effect(Effect effect) { effect_ = effect; }
  virtual void field(const char* key, bool& value, const char* doc) = 0;
  virtual void field(const char* key, int64_t& value, const char* doc, Range range = {}) = 0;
  virtual void field(const char* key, double& value, const char* doc, Range range = {}) = 0;
  virtual void field(const char* key, std::string& value, const char* doc,
                     Choices choices = {}) = 0;
  virtual void field(const char* key, std::optional<int64_t>& value, const char* doc,
                     Range range = {}) = 0;
  virtual void field(const char* key, std::optional<double>& value, const char* doc,
                     Range range = {}) = 0;
  virtual void field(const char* key, std::vector<int64_t>& value, const char* doc,
                     Range range = {}) = 0;
  virtual void field(const char* key, std::vector<double>& value, const char* doc,
                     Range range = {}) = 0;
  virtual void field(const char* key, std::vector<std::string>& value, const char* doc) = 0;
  /// A nested table, for example [model.mlp].
  virtual void table(const char* key, Struct& value, const char* doc) = 0;
  /// A pluggable part: `gate = "identity"` or `selection = { kind = "race", momentum = 0.99 }`.
  virtual void component(const char* key, Component& value, const char* doc) = 0;

 protected:
  Effect effect_ = Effect::free;
};

/// The form of a recipe: when its keys are renamed, files of before are still read.
struct Layout {
  struct Rename {
    std::string from, to;  ///< dotted paths, of a key or of a table with all below it
  };
  int64_t version = 1;  ///< what the key `format` says of a file that has the new names alone
  std::vector<Rename> renames;
};

/// A typed piece of a recipe. Derive with `struct C : Fields<C>`, list the members in `fields`.
class Struct {
 public:
  virtual ~Struct() = default;
  virtual void fields(Visitor& visitor) = 0;
  virtual std::unique_ptr<Struct> clone() const = 0;
  /// Checks between fields, called once after parsing; throws gallop::Error.
  virtual void validate() const {}
  /// Of the outermost struct of a file; null pointer: its keys have always had these names.
  virtual const Layout* layout() const { return nullptr; }
};

template <class Derived>
class Fields : public Struct {
 public:
  std::unique_ptr<Struct> clone() const override {
    return std::make_unique<Derived>(static_cast<const Derived&>(*this));
  }
};

/// The struct of a component without settings.
struct NoSettings : Fields<NoSettings> {
  void fields(Visitor&) override {}
};

/// A choice among the registered kinds of a category, with the settings of the kind chosen. A
/// value: copying copies the settings.
class Component {
 public:
  /// `category` as in the registry ("selection", "gate", ...), `kind` the default. The settings are
  /// made on first use, so that a Component may be a default member before all kinds are
  /// registered.
  Component(std::string category, std::string kind);
  Component(const Component& other);
  Component& operator=(const Component& other);
  Component(Component&&) noexcept = default;
  Component& operator=(Component&&) noexcept = default;

  const std::string& category() const { return category_; }
  const std::string& kind() const { return kind_; }
  /// Chooses another kind with its default settings; throws Error naming the nearest known kind.
  void choose(const std::string& kind);
  Struct& settings();
  const Struct& settings() const;
  template <class S>
  const S& as() const {
    return dynamic_cast<const S&>(settings());
  }
  template <class S>
  S& as() {
    return dynamic_cast<S&>(settings());
  }

 private:
  std::string category_, kind_;
  mutable std::unique_ptr<Struct> settings_;
};

}  // namespace gallop::config
