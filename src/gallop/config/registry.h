#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/config/schema.h"

namespace gallop::config {

/// What `gallop components` prints of a registered kind.
struct ComponentInfo {
  std::string category, kind, summary, paper;
  std::function<std::unique_ptr<Struct>()> make_settings;
};

/// Adds a kind; called by static initialisers only. A second registration of the same name is a
/// programmer error and ends the start of the program with both summaries.
void add_component(ComponentInfo info);
/// All kinds of a category sorted by name; empty for an unknown category.
std::vector<const ComponentInfo*> components_of(const std::string& category);
/// All categories sorted by name.
std::vector<std::string> component_categories();
/// The kind, or an Error that names the nearest known one and lists all.
const ComponentInfo& find_component(const std::string& category, const std::string& kind);

/// Registers a kind of `Base` from its own source file:
///
///     const config::Register<Gate, NoSettings> registered{
///         "identity", "weight = logit", "Expert Race, arXiv 2503.16057",
///         [](const NoSettings&, const GateArgs&) { return std::make_unique<IdentityGate>(); }};
///
/// `Base` has `static constexpr const char* category` and `using Args`: what every kind is built
/// from besides its settings.
template <class Base, class Settings>
class Register;

/// Registers a class that is made of what its constructor asks for: (settings, args), (settings),
/// (args) or nothing.
///
///     const config::RegisterKind<Gate, SoftplusGate, SoftplusSettings> registered{
///         "softplus", "weight = log(1 + exp(logit))", "an example"};
template <class Base, class Kind, class Settings = NoSettings>
class RegisterKind;

/// Builds the kind that `component` chose.
template <class Base>
std::unique_ptr<Base> make(const Component& component, const typename Base::Args& args);

// ---------------------------------------------------------------------------------------------

template <class Base>
using Maker = std::function<std::unique_ptr<Base>(const Struct&, const typename Base::Args&)>;

template <class Base>
std::map<std::string, Maker<Base>>& makers() {
  static std::map<std::string, Maker<Base>> instance;
  return instance;
}

template <class Base, class Settings>
class Register {
 public:
  template <class Make>
  Register(const char* kind, const char* summary, const char* paper, Make make) {
    add_component(
        {Base::category, kind, summary, paper, [] { return std::make_unique<Settings>(); }});
    makers<Base>()[kind] = [make = std::move(make)](
                               const Struct& s,
                               const typename Base::Args& args) -> std::unique_ptr<Base> {
      return make(dynamic_cast<const Settings&>(s), args);
    };
  }
};

template <class Base, class Kind, class Settings>
class RegisterKind : public Register<Base, Settings> {
 public:
  RegisterKind(const char* kind, const char* summary, const char* paper)
      : Register<Base, Settings>(
            kind, summary, paper,
            [](const Settings& settings, const typename Base::Args& args) -> std::unique_ptr<Base> {
              if constexpr (std::is_constructible_v<Kind, const Settings&,
                                                    const typename Base::Args&>) {
                return std::make_unique<Kind>(settings, args);
              } else if constexpr (std::is_constructible_v<Kind, const typename Base::Args&>) {
                return std::make_unique<Kind>(args);
              } else if constexpr (std::is_constructible_v<Kind, const Settings&>) {
                return std::make_unique<Kind>(settings);
              } else {
                return std::make_unique<Kind>();
              }
            }) {}
};

template <class Base>
std::unique_ptr<Base> make(const Component& component, const typename Base::Args& args) {
  find_component(Base::category, component.kind());  // a helpful error for an unknown kind
  return makers<Base>().at(component.kind())(component.settings(), args);
}

}  // namespace gallop::config
