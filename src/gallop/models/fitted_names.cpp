#include "gallop/models/fitted_names.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/models/name_adapter.h"

namespace gallop::models {
namespace {

using Tensors = std::map<std::string, at::Tensor>;
using Names = std::unordered_set<std::string>;

/// What wrappers of a module add to the names of its tensors.
constexpr std::array<std::string_view, 5> wrappers{"module", "_orig_mod", "_fsdp_wrapped_module",
                                                   "_checkpoint_wrapped_module", "_forward_module"};

/// The name without the parts that wrappers add; these, each with its dot, are added to `removed`.
std::string unwrapped(const std::string& name, std::set<std::string>& removed) {
  std::string bare;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string part = name.substr(begin, end - begin);
    begin = end + 1;
    if (std::find(wrappers.begin(), wrappers.end(), part) != wrappers.end()) {
      removed.insert(part + ".");
      continue;
    }
    bare += (bare.empty() ? "" : ".") + part;
  }
  return bare;
}

/// What stands before the longest end of a name, behind a dot, that the model has.
std::optional<std::string> prefix_of(const std::string& name, const Names& known) {
  for (size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1))
    if (known.contains(name.substr(dot + 1))) return name.substr(0, dot + 1);
  return {};
}

std::string quoted(const std::string& text) { return "'" + text + "'"; }

std::string count_of(size_t n, const char* noun) {
  return std::to_string(n) + " " + noun + (n == 1 ? "" : "s");
}

/// Gives `from` the name `to` unless that is taken.
bool rename(Tensors& tensors, const std::string& from, const std::string& to) {
  if (tensors.contains(to)) return false;
  auto node = tensors.extract(from);
  node.key() = to;
  tensors.insert(std::move(node));
  return true;
}

/// What wrappers put inside of names: "blocks.0._orig_mod.attn.qkv.weight".
void unwrap(Tensors& tensors, const Names& known, std::vector<std::string>& notes) {
  std::vector<std::pair<std::string, std::string>> renamed;
  std::set<std::string> all;
  for (const auto& [name, tensor] : tensors) {
    if (known.contains(name)) continue;
    std::set<std::string> removed;
    const std::string bare = unwrapped(name, removed);
    // What stands before a whole name is a prefix, which is looked at as one.
    if (removed.empty() || name.ends_with(bare) || prefix_of(name, known)) continue;
    if (!known.contains(bare) && !prefix_of(bare, known)) continue;
    renamed.emplace_back(name, bare);
    all.merge(removed);
  }
  size_t count = 0;
  for (const auto& [from, to] : renamed) count += rename(tensors, from, to) ? 1 : 0;
  if (count == 0) return;
  std::string list;
  for (const std::string& part : all) list += (list.empty() ? "" : ", ") + quoted(part);
  notes.push_back(list + (all.size() == 1 ? " is" : " are") + " taken out of " +
                  count_of(count, "name"));
}

struct Candidate {
  std::string prefix;
  std::vector<std::string> names;  ///< of the model, each behind the prefix in the file
};

/// The prefixes before the model's names, most names first. One before few names is by chance: an
/// encoder's "encoder.pos_embed".
std::vector<Candidate> candidates(const Tensors& tensors, const Names& known) {
  std::map<std::string, std::vector<std::string>> found;
  for (const auto& [name, tensor] : tensors) {
    if (known.contains(name)) continue;
    if (const auto prefix = prefix_of(name, known))
      found[*prefix].push_back(name.substr(prefix->size()));
  }
  std::vector<Candidate> list;
  for (auto& [prefix, names] : found) {
    const bool before_all = names.size() == tensors.size();
    if (before_all || names.size() * 4 >= known.size()) list.push_back({prefix, std::move(names)});
  }
  std::stable_sort(list.begin(), list.end(), [](const Candidate& a, const Candidate& b) {
    return a.names.size() > b.names.size();
  });
  return list;
}

void take_prefix_off(Tensors& tensors, const Names& known, std::vector<std::string>& notes,
                     const std::string& what) {
  std::vector<Candidate> list = candidates(tensors, known);
  // A second set of weights beside one without a prefix stays under its names.
  std::erase_if(list, [&](const Candidate& c) {
    return std::any_of(c.names.begin(), c.names.end(),
                       [&](const std::string& name) { return tensors.contains(name); });
  });
  if (list.empty()) return;
  std::string several;
  for (const Candidate& c : list) {
    if (c.names.size() * 2 > list.front().names.size())
      several += (several.empty() ? "" : ", ") + quoted(c.prefix) + " (" +
                 count_of(c.names.size(), "tensor") + ")";
  }
  const bool alone = list.size() == 1 || list[1].names.size() * 2 <= list.front().names.size();
  require(alone, what, " holds tensors of this model under several prefixes: ", several,
          ". Take one set out: gallop convert FILE OUT.safetensors --prefix ", list.front().prefix);
  // Off all names that have it: what the model lacks belongs to the same set.
  const std::string& prefix = list.front().prefix;
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors)
    if (name.size() > prefix.size() && name.starts_with(prefix)) names.push_back(name);
  size_t count = 0;
  for (const std::string& name : names)
    count += rename(tensors, name, name.substr(prefix.size())) ? 1 : 0;
  notes.push_back(quoted(prefix) + " is taken off " + count_of(count, "name"));
}

// Names of published releases as ours.
Tensors adapted(const Model& model, Tensors tensors, const std::string& what,
                const std::string& names, std::vector<std::string>& notes) {
  const std::vector<std::string> known = model.adapters();
  const bool every = names == "auto";
  if (!every && std::find(known.begin(), known.end(), names) == known.end()) {
    name_adapter(names);  // one that nobody knows is told with the nearest
    fail(what, ": names of '", names, "' are none of this family (", model.summary(),
         "), which reads ", known.empty() ? "its own only" : "those of " + join_list(known));
  }
  for (const std::string& kind : every ? known : std::vector<std::string>{names}) {
    const auto adapter = name_adapter(kind);
    if (!has_names_of(*adapter, tensors)) {
      require(every, what, " has no tensor named as in '", kind, "', its first one is ",
              tensors.empty() ? "missing: it is empty" : tensors.begin()->first);
      continue;
    }
    tensors = with_our_names(*adapter, std::move(tensors));
    notes.push_back("names of '" + kind + "' are read as ours");
  }
  return tensors;
}

}  // namespace

FittedNames fit_names(const Model& model, Tensors tensors, const std::string& what,
                      const std::string& names) {
  Names known;
  for (const nn::Parameter* parameter : model.parameters()) known.insert(parameter->name());
  const auto all_known = [&](const Tensors& named) {
    return std::all_of(named.begin(), named.end(),
                       [&](const auto& entry) { return known.contains(entry.first); });
  };
  FittedNames fitted{.tensors = std::move(tensors), .notes = {}};
  if (names == "auto" && all_known(fitted.tensors)) return fitted;
  if (names != "own")
    fitted.tensors = adapted(model, std::move(fitted.tensors), what, names, fitted.notes);
  if (all_known(fitted.tensors)) return fitted;
  unwrap(fitted.tensors, known, fitted.notes);
  take_prefix_off(fitted.tensors, known, fitted.notes, what);
  return fitted;
}

}  // namespace gallop::models
