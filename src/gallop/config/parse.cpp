#include "gallop/config/parse.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <set>
#include <system_error>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/base/file.h"
#include "gallop/base/human.h"
#include "gallop/base/log.h"
#include "gallop/base/text.h"
#include "gallop/config/describe.h"
#include "gallop/config/follow.h"
#include "gallop/config/print.h"
#include "gallop/config/registry.h"
#include "gallop/config/tree.h"
#include "gallop/config/value.h"

namespace gallop::config {
namespace {

namespace fs = std::filesystem;

constexpr size_t max_files = 64;
constexpr const char* base_key = "base";

std::string join(const std::string& path, const std::string& key) {
  return path.empty() ? key : path + "." + key;
}

/// "[model.mlp]" or "the recipe".
std::string table_name(const std::string& path) {
  return path.empty() ? "the recipe" : "[" + path + "]";
}

template <class... Parts>
[[noreturn]] void fail_at(const std::string& where, const std::string& path, const Node& value,
                          const Parts&... problem) {
  fail(where, ": ", path, " = ", shown(value), ": ", problem...);
}

bool is_registered(const Component& component) {
  const auto kinds = components_of(component.category());
  return std::any_of(kinds.begin(), kinds.end(),
                     [&](const auto* info) { return info->kind == component.kind(); });
}

/// All (path, key) below a struct, to say where a misplaced key belongs.
void collect(Struct& config, const std::string& path,
             std::vector<std::pair<std::string, std::string>>& found) {
  for (const auto& field : describe(config)) {
    const auto here = join(path, field.key);
    found.emplace_back(here, field.key);
    if (field.table) collect(*field.table, here, found);
    if (field.component && is_registered(*field.component)) {
      collect(field.component->settings(), here, found);
    }
  }
}

/// What the user may have meant by an unknown key of the table at `path`.
std::string suggestion(const std::string& key, std::vector<std::string> keys_here, Struct& root,
                       const Component* owner) {
  std::vector<std::string> meant;
  const auto here = nearest(key, keys_here);
  if (!here.empty()) meant.push_back("'" + here + "'");

  std::vector<std::pair<std::string, std::string>> all;
  collect(root, "", all);
  for (const auto& [path, last] : all) {
    if (last == key && meant.size() < 3) meant.push_back(path);
  }
  if (owner) {
    for (const auto* info : components_of(owner->category())) {
      if (info->kind == owner->kind()) continue;
      const auto keys = keys_of(*info->make_settings());
      if (std::find(keys.begin(), keys.end(), key) != keys.end() && meant.size() < 3) {
        meant.push_back("kind = \"" + info->kind + "\", which has it");
      }
    }
  }
  if (meant.empty()) {
    std::vector<std::string> lasts;
    for (const auto& item : all) lasts.push_back(item.second);
    const auto near = nearest(key, lasts);
    for (const auto& [path, last] : all) {
      if (!near.empty() && last == near && meant.empty()) meant.push_back(path);
    }
  }
  std::string text;
  for (const auto& item : meant) text += (text.empty() ? ", did you mean " : " or ") + item;
  if (!text.empty()) return text + "?";
  return keys_here.empty() ? " (it has no keys)" : " (known: " + quoted_list(keys_here) + ")";
}

/// Where a table is applied: its path, the whole recipe, and whether it comes from a file.
struct Place {
  std::string path;
  Struct& root;
  bool in_file;
};

void apply(Struct& config, const Node& table, const Place& place, const Component* owner = nullptr);

/// Sets the fields that one table of one file (or of all overrides) names.
class Applier final : public Visitor {
 public:
  Applier(const Node& table, const Place& place)
      : table_(table), place_(place), path_(place.path) {}

  std::vector<std::string> known;

  void field(const char* key, bool& value, const char*) override {
    if (const Node* node = find(key)) {
      expect(key, *node, Node::Kind::boolean, "true or false");
      value = node->boolean;
    }
  }
  void field(const char* key, int64_t& value, const char*, Range range) override {
    if (const Node* node = find(key)) value = integer(join(path_, key), *node, range);
  }
  void field(const char* key, double& value, const char*, Range range) override {
    if (const Node* node = find(key)) value = real(join(path_, key), *node, range);
  }
  void field(const char* key, std::optional<int64_t>& value, const char*, Range range) override {
    if (const Node* node = find(key)) value = integer(join(path_, key), *node, range);
  }
  void field(const char* key, std::optional<double>& value, const char*, Range range) override {
    if (const Node* node = find(key)) value = real(join(path_, key), *node, range);
  }
  void field(const char* key, std::string& value, const char*, Choices choices) override {
    const Node* node = find(key);
    if (!node) return;
    auto text = string(join(path_, key), *node);
    if (!choices.empty() && std::find(choices.begin(), choices.end(), text) == choices.end()) {
      fail_at(node->where, join(path_, key), *node, "must be one of ", quoted_list(choices),
              did_you_mean(text, choices));
    }
    value = std::move(text);
  }
  void field(const char* key, std::vector<int64_t>& value, const char*, Range range) override {
    list(key, value, "a list of integers",
         [&](const std::string& path, const Node& node) { return integer(path, node, range); });
  }
  void field(const char* key, std::vector<double>& value, const char*, Range range) override {
    list(key, value, "a list of floats",
         [&](const std::string& path, const Node& node) { return real(path, node, range); });
  }
  void field(const char* key, std::vector<std::string>& value, const char*) override {
    list(key, value, "a list of strings",
         [](const std::string& path, const Node& node) { return string(path, node); });
  }
  void table(const char* key, Struct& value, const char*) override {
    if (const Node* node = find(key)) {
      expect(key, *node, Node::Kind::table, "a table");
      apply(value, *node, {join(path_, key), place_.root, place_.in_file});
    }
  }
  void component(const char* key, Component& value, const char*) override {
    const Node* node = find(key);
    if (!node) return;
    const auto path = join(path_, key);
    if (node->kind != Node::Kind::table) {
      choose(value, path, *node);
      return;
    }
    Node settings = *node;
    auto& members = settings.members;
    const auto kind = std::find_if(members.begin(), members.end(),
                                   [](const auto& member) { return member.key == "kind"; });
    if (kind != members.end()) {
      choose(value, path + ".kind", kind->value);
      members.erase(kind);
    } else {
      check_kind(value.category(), value.kind(), path, *node);
    }
    apply(value.settings(), settings, {path, place_.root, place_.in_file}, &value);
  }

 private:
  const Node* find(const char* key) {
    known.push_back(key);
    for (const auto& member : table_.members) {
      if (member.key == key) return &member.value;
    }
    return nullptr;
  }

  void expect(const char* key, const Node& node, Node::Kind kind, const char* what) const {
    if (node.kind != kind) expected(join(path_, key), node, what);
  }
  [[noreturn]] static void expected(const std::string& path, const Node& node,
                                    const std::string& what) {
    fail_at(node.where, path, node, "expects ", what, ", not ", kind_name(node.kind));
  }

  static int64_t integer(const std::string& path, const Node& node, const Range& range) {
    const size_t sign = node.typed.starts_with('-') ? 1 : 0;
    const bool digits = node.typed.size() > sign &&
                        node.typed.find_first_not_of("0123456789", sign) == std::string::npos;
    if (node.kind == Node::Kind::string && digits) {
      const auto limits = to_text(range);
      fail_at(node.where, path, node, "out of range, must be ", limits,
              limits.empty() ? "at least -2^63" : "", " and below 2^63");
    }
    if (node.kind != Node::Kind::integer) expected(path, node, "an integer");
    check_range(path, node, static_cast<double>(node.integer), range);
    return node.integer;
  }
  static double real(const std::string& path, const Node& node, const Range& range) {
    if (node.kind != Node::Kind::real && node.kind != Node::Kind::integer) {
      expected(path, node, "a number");
    }
    const double value =
        node.kind == Node::Kind::real ? node.real : static_cast<double>(node.integer);
    check_range(path, node, value, range);
    return value;
  }
  static void check_range(const std::string& path, const Node& node, double value,
                          const Range& range) {
    if (contains(range, value)) return;
    const auto limits = to_text(range);
    if (std::isinf(value)) {
      fail_at(node.where, path, node, "must be finite", limits.empty() ? "" : " and " + limits);
    }
    fail_at(node.where, path, node, "out of range, must be ", limits.empty() ? "a number" : limits);
  }
  /// `--set name=7` means the string "7" where a string is wanted.
  static std::string string(const std::string& path, const Node& node) {
    if (node.kind == Node::Kind::string) return node.string;
    if (node.typed.empty()) expected(path, node, "a string");
    return node.typed;
  }
  template <class T, class Read>
  void list(const char* key, std::vector<T>& value, const char* what, Read read) {
    const Node* node = find(key);
    if (!node) return;
    expect(key, *node, Node::Kind::list, what);
    std::vector<T> result;
    for (size_t i = 0; i < node->items.size(); ++i) {
      result.push_back(read(join(path_, key) + "[" + std::to_string(i) + "]", node->items[i]));
    }
    value = std::move(result);
  }
  void choose(Component& component, const std::string& path, const Node& node) const {
    for (const Node& before : node.earlier) choose(component, path, before);
    if (node.kind != Node::Kind::string && node.typed.empty()) {
      expected(path, node, "the name of a " + component.category() + " or a table with `kind`");
    }
    const auto kind = string(path, node);
    check_kind(component.category(), kind, path, node);
    if (kind == component.kind()) return;
    if (!place_.in_file) tell_dropped(component, node);
    component.choose(kind);
  }
  /// The settings of the recipe that an override makes void by another kind.
  static void tell_dropped(const Component& component, const Node& node) {
    if (!is_registered(component)) return;
    Component dropped = component, fresh = component;
    fresh.choose(component.kind());
    const auto changed = differences(fresh.settings(), dropped.settings());
    if (changed.empty()) return;
    std::vector<std::string> lost;
    for (const auto& difference : changed) {
      lost.push_back(difference.key + " = " + difference.after);
    }
    log_info(node.where, ": the ", component.category(), " '", component.kind(),
             "' of the recipe is replaced, and with it ", join_list(lost));
  }
  static void check_kind(const std::string& category, const std::string& kind,
                         const std::string& path, const Node& node) {
    try {
      find_component(category, kind);
    } catch (const Error& error) {
      fail_at(node.where, path, node, error.what());
    }
  }

  const Node& table_;
  const Place& place_;
  const std::string& path_;
};

/// The overrides that state the keys of a table, for messages.
std::string where_of(const Node& table) {
  std::vector<std::string> places;
  for (const auto& member : table.members) {
    const auto& where = member.value.where;
    if (std::find(places.begin(), places.end(), where) == places.end()) places.push_back(where);
  }
  return join_list(places);
}

void follow(Struct& config, const Node& table, const Place& place) {
  auto* follower = dynamic_cast<Follows*>(&config);
  if (follower == nullptr) return;
  Stated stated{.keys = {}, .in_file = place.in_file};
  for (const auto& member : table.members) stated.keys.push_back(member.key);
  const auto where = [&] { return place.in_file ? table.where : where_of(table); };
  std::string ignored;
  try {
    ignored = follower->follow(stated);
  } catch (const Error& error) {
    fail(where(), ": ", table_name(place.path), ": ", error.what());
  }
  if (!ignored.empty()) log_warning(where(), ": ", table_name(place.path), ": ", ignored);
}

void apply(Struct& config, const Node& table, const Place& place, const Component* owner) {
  const std::string& path = place.path;
  Applier applier(table, place);
  config.fields(applier);
  if (owner) applier.known.push_back("kind");
  if (path.empty()) applier.known.push_back(base_key);
  for (const auto& member : table.members) {
    const auto& known = applier.known;
    if (std::find(known.begin(), known.end(), member.key) != known.end()) continue;
    const auto of = owner
                        ? table_name(path) + " (" + owner->category() + " '" + owner->kind() + "')"
                        : table_name(path);
    fail_at(member.where, join(path, key_text(member.key)), member.value, "unknown key ",
            key_text(member.key), " in ", of, suggestion(member.key, known, place.root, owner));
  }
  follow(config, table, place);
}

/// Tells once of each file or override which of its keys have the names of before.
void tell_renames(const std::string& where, const std::vector<Layout::Rename>& renames) {
  static std::mutex mutex;
  static std::set<std::string> told;
  if (renames.empty()) return;
  std::string list;
  for (const Layout::Rename& rename : renames)
    list += (list.empty() ? "" : ", ") + rename.from + " is now " + rename.to;
  const std::lock_guard lock(mutex);
  if (!told.insert(where + list).second) return;
  log_info(where, ": ", list, " (the names of before still work)");
}

/// Brings a file to the names of now, where it does not say that it has them.
void bring_to_layout(Node& tree, const Layout& layout, const std::string& file) {
  for (const Node::Member& member : tree.members) {
    if (member.key != "format" || member.value.kind != Node::Kind::integer) continue;
    require(member.value.integer <= layout.version, member.value.where,
            ": format = ", member.value.integer,
            " is of a newer version of Gallop; this one reads recipes up to ", layout.version);
    if (member.value.integer == layout.version) return;
  }
  tell_renames(file, rename_keys(tree, layout));
}

/// Loads a file after its bases.
class Loader {
 public:
  explicit Loader(Struct& root) : root_(root) {}

  void text(std::string_view text, const fs::path& file) {
    if (++files_ > max_files) fail(file.string(), ": more than ", max_files, " recipes in one");
    Node tree = parse_toml(text, file.string());
    const auto base = std::find_if(tree.members.begin(), tree.members.end(),
                                   [](const auto& member) { return member.key == base_key; });
    if (base != tree.members.end()) {
      open_.push_back(identity(file));
      bases(base->value, file);
      open_.pop_back();
      tree.members.erase(base);
    }
    if (const Layout* layout = root_.layout()) bring_to_layout(tree, *layout, file.string());
    add_paths(tree, "", stated);
    apply(root_, tree, {"", root_, true});
  }

  std::vector<std::string> stated;  ///< paths of the keys of all files

 private:
  /// The same for two spellings of one file.
  static fs::path identity(const fs::path& file) {
    std::error_code ignored;
    const auto canonical = fs::weakly_canonical(file, ignored);
    return ignored ? file.lexically_normal() : canonical;
  }

  void bases(const Node& node, const fs::path& file) {
    if (node.kind == Node::Kind::list) {
      for (const auto& item : node.items) base(item, file);
    } else {
      base(node, file);
    }
  }

  void base(const Node& node, const fs::path& file) {
    if (node.kind != Node::Kind::string || node.string.empty()) {
      fail_at(node.where, base_key, node, "expects a file name or a list of them, not ",
              node.kind == Node::Kind::string ? "an empty string" : kind_name(node.kind));
    }
    const auto path = (file.parent_path() / node.string).lexically_normal();
    const auto same = identity(path);
    if (std::find(open_.begin(), open_.end(), same) != open_.end()) {
      std::string chain;
      for (const auto& open : open_) chain += open.filename().string() + " -> ";
      fail_at(node.where, base_key, node, "a cycle: ", chain, same.filename().string());
    }
    std::string content;
    try {
      content = read_file(path);
    } catch (const Error& error) {
      fail_at(node.where, base_key, node, error.what());
    }
    text(content, path);
  }

  Struct& root_;
  std::vector<fs::path> open_;
  size_t files_ = 0;
};

Node to_node(const Json& json, const std::string& where) {
  Node node;
  node.where = where;
  if (json.is_object()) {
    for (const auto& [key, value] : json.as_object())
      node.members.push_back({key, where, to_node(value, where)});
  } else if (json.is_array()) {
    node.kind = Node::Kind::list;
    for (const Json& item : json.as_array()) node.items.push_back(to_node(item, where));
  } else if (json.is_bool()) {
    node.kind = Node::Kind::boolean;
    node.boolean = json.as_bool();
  } else if (json.is_int()) {
    node.kind = Node::Kind::integer;
    node.integer = json.as_int();
    node.typed = json.dump();  // a number may stand where a string is wanted: a seed
  } else if (json.is_number()) {
    node.kind = Node::Kind::real;
    node.real = json.as_double();
  } else {
    require(json.is_string(), where, ": null is no value of a setting: leave the key out");
    node.kind = Node::Kind::string;
    node.string = json.as_string();
  }
  return node;
}

/// All overrides as one tree.
Node merged(const std::vector<std::string>& overrides, const Layout* layout) {
  Node all;
  for (const auto& text : overrides) {
    Node tree = parse_override(text);
    if (tree.members[0].key == base_key) {
      fail(tree.where, ": the base of a recipe can only be given in its file");
    }
    const std::string where = tree.members[0].where;
    if (layout != nullptr) tell_renames(where, rename_keys(tree, *layout));
    merge_override(all, std::move(tree));
  }
  return all;
}

void validate_at(Struct& config, const std::string& name, const std::string& path) {
  for (const auto& field : describe(config)) {
    const auto here = join(path, field.key);
    if (field.table) validate_at(*field.table, name, here);
    if (field.component) {
      if (!is_registered(*field.component)) {
        try {
          find_component(field.component->category(), field.component->kind());
        } catch (const Error& error) {
          fail(name, ": ", here, ": ", error.what());
        }
      }
      validate_at(field.component->settings(), name, here);
    }
  }
  try {
    config.validate();
  } catch (const Error& error) {
    fail(name, ": ", table_name(path), ": ", error.what());
  }
}

}  // namespace

std::vector<std::string> load_text(Struct& into, std::string_view text, const std::string& name,
                                   const std::vector<std::string>& overrides) {
  Loader loader(into);
  loader.text(text, name);
  const Node tree = merged(overrides, into.layout());
  apply(into, tree, {"", into, false});
  validate(into, name);
  add_paths(tree, "", loader.stated);
  return std::move(loader.stated);
}

std::vector<std::string> load(Struct& into, const fs::path& recipe,
                              const std::vector<std::string>& overrides) {
  return load_text(into, read_file(recipe), recipe.string(), overrides);
}

std::vector<std::string> keys_of_overrides(const std::vector<std::string>& overrides,
                                           const Layout* layout) {
  std::vector<std::string> paths;
  add_paths(merged(overrides, layout), "", paths);
  return paths;
}

std::vector<std::string> load_json(Struct& into, const Json& values, const std::string& name) {
  require(values.is_object(), name, ": settings are a JSON object");
  const Node tree = to_node(values, name);
  apply(into, tree, {"", into, false});
  validate(into, name);
  std::vector<std::string> stated;
  add_paths(tree, "", stated);
  return stated;
}

bool is_stated(const std::vector<std::string>& paths, std::string_view key) {
  return std::any_of(paths.begin(), paths.end(), [&](const std::string& path) {
    return path == key ||
           (path.size() > key.size() && path.starts_with(key) && path[key.size()] == '.');
  });
}

void validate(Struct& config, const std::string& name) { validate_at(config, name, ""); }

}  // namespace gallop::config
