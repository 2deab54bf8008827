#include "gallop/config/tree.h"

#include <toml++/toml.h>
#include <algorithm>
#include <memory>
#include <sstream>

#include "gallop/base/error.h"
#include "gallop/base/number.h"
#include "gallop/config/value.h"

namespace gallop::config {
namespace {

constexpr size_t max_text = size_t{1} << 20;
constexpr size_t max_key_parts = 16;
constexpr size_t max_key = 200;
constexpr int max_depth = 64;

std::string place(const std::string& name, const toml::source_position& position) {
  std::ostringstream text;
  text << name << ":" << position.line << ":" << position.column;
  return text.str();
}

/// toml++ limits the nesting of values, not the parts of a dotted key, and frees its tables by
/// recursion: a key of a million parts would end the program. Strings and comments are skipped.
void check_keys(std::string_view text, const std::string& name) {
  size_t dots = 0;
  size_t line = 1;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"' || c == '\'') {
      const std::string_view three(text.data() + i, std::min<size_t>(3, text.size() - i));
      const bool multi = three == std::string(3, c);
      const auto closing = std::string(multi ? 3 : 1, c);
      for (i += closing.size(); i < text.size() && text.substr(i, closing.size()) != closing; ++i) {
        if (text[i] == '\n' && !multi) break;
        if (text[i] == '\\' && c == '"' && i + 1 < text.size()) ++i;
        if (text[i] == '\n') ++line;
      }
      if (i < text.size() && text[i] == '\n') {
        --i;  // unterminated: the parser says so
      } else if (multi) {
        i += 2;
        while (i + 1 < text.size() && text[i + 1] == c) ++i;  // """"" ends with two quotes inside
      }
    } else if (c == '#') {
      i = std::min(text.find('\n', i), text.size()) - 1;
    } else if (c == '.') {
      if (++dots >= max_key_parts) {
        fail(name, ":", line, ": a key of more than ", max_key_parts, " parts");
      }
    } else if (c == '\n' || c == '=' || c == ',' || c == '[' || c == '{') {
      dots = 0;
      line += c == '\n';
    }
  }
}

Node convert(const toml::node& from, const std::string& name, int depth) {
  Node node;
  node.where = place(name, from.source().begin);
  require(depth < max_depth, node.where, ": values are nested deeper than ", max_depth, " levels");
  if (const auto* table = from.as_table()) {
    struct Item {
      toml::source_position begin;
      Node::Member member;
    };
    std::vector<Item> items;
    for (const auto& [key, value] : *table) {
      const auto begin = key.source().begin;
      require(key.str().size() <= max_key, place(name, begin), ": a key of ", key.str().size(),
              " bytes, at most ", max_key, " are allowed");
      items.push_back(
          {begin, {std::string(key.str()), place(name, begin), convert(value, name, depth + 1)}});
    }
    std::stable_sort(items.begin(), items.end(),
                     [](const Item& a, const Item& b) { return a.begin < b.begin; });
    for (auto& item : items) node.members.push_back(std::move(item.member));
  } else if (const auto* list = from.as_array()) {
    node.kind = Node::Kind::list;
    for (const auto& item : *list) node.items.push_back(convert(item, name, depth + 1));
  } else if (const auto* boolean = from.as_boolean()) {
    node.kind = Node::Kind::boolean;
    node.boolean = boolean->get();
  } else if (const auto* integer = from.as_integer()) {
    node.kind = Node::Kind::integer;
    node.integer = integer->get();
  } else if (const auto* real = from.as_floating_point()) {
    node.kind = Node::Kind::real;
    node.real = real->get();
  } else if (const auto* string = from.as_string()) {
    node.kind = Node::Kind::string;
    node.string = string->get();
  } else {
    node.kind = Node::Kind::date;
  }
  return node;
}

/// The last position not after `at` at which a UTF-8 character starts.
size_t character_start(std::string_view text, size_t at) {
  while (at > 0 && (text[at] & 0xC0) == 0x80) --at;
  return at;
}

void set_where(Node& node, const std::string& where) {
  node.where = where;
  for (auto& item : node.items) set_where(item, where);
  for (auto& member : node.members) {
    member.where = where;
    set_where(member.value, where);
  }
}

std::string trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return "";
  return std::string(text.substr(first, text.find_last_not_of(" \t") - first + 1));
}

/// The value of `v = text` if that is TOML and nothing but one value.
bool parse_value(std::string_view text, Node& value) {
  try {
    Node table = parse_toml("v = " + std::string(text), "");
    if (table.members.size() != 1 || table.members[0].key != "v") return false;
    value = std::move(table.members[0].value);
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

const char* kind_name(Node::Kind kind) {
  switch (kind) {
    case Node::Kind::boolean:
      return "a boolean";
    case Node::Kind::integer:
      return "an integer";
    case Node::Kind::real:
      return "a float";
    case Node::Kind::string:
      return "a string";
    case Node::Kind::list:
      return "a list";
    case Node::Kind::table:
      return "a table";
    case Node::Kind::date:
      return "a date or time";
  }
  return "a value";
}

std::string shown(const Node& node) {
  constexpr size_t limit = 60;
  std::string text;
  switch (node.kind) {
    case Node::Kind::boolean:
      return to_text(node.boolean);
    case Node::Kind::integer:
      return to_text(node.integer);
    case Node::Kind::real:
      return to_text(node.real);
    case Node::Kind::date:
      return "(date or time)";
    case Node::Kind::string:
      if (node.string.size() <= limit) return to_text(node.string);
      return to_text(node.string.substr(0, character_start(node.string, limit))) + "...";
    case Node::Kind::list:
      for (const auto& item : node.items) {
        if (text.size() > limit) return "[" + text + ", ...]";
        text += (text.empty() ? "" : ", ") + shown(item);
      }
      return "[" + text + "]";
    case Node::Kind::table:
      for (const auto& member : node.members) {
        if (text.size() > limit) return "{ " + text + ", ... }";
        text += (text.empty() ? "" : ", ") + key_text(member.key) + " = " + shown(member.value);
      }
      return text.empty() ? "{}" : "{ " + text + " }";
  }
  return text;
}

Node parse_toml(std::string_view text, const std::string& name) {
  require(text.size() <= max_text, name, ": ", text.size(), " bytes; a recipe has at most ",
          max_text);
  check_keys(text, name);
  try {
    return convert(toml::parse(text, name), name, 0);
  } catch (const toml::parse_error& error) {
    fail(place(name, error.source().begin), ": not valid TOML: ", error.description());
  }
}

Node parse_override(const std::string& text) {
  const auto where =
      "--set " + (text.size() > 120 ? text.substr(0, character_start(text, 120)) + "..." : text);
  const auto equals = text.find('=');
  require(equals != std::string::npos, where, ": expected key=value, for example model.depth=6");
  std::vector<std::string> parts;
  std::stringstream keys(text.substr(0, equals) + ".");
  for (std::string part; std::getline(keys, part, '.');) {
    parts.push_back(trimmed(part));
    require(parts.back().size() <= max_key, where, ": a key of more than ", max_key, " bytes");
    require(!parts.back().empty(), where, ": a part of the key before '=' is empty");
    require(parts.size() <= max_key_parts, where, ": a key of more than ", max_key_parts, " parts");
  }
  const auto typed = trimmed(std::string_view(text).substr(equals + 1));
  Node node;
  if (const auto decimal = whole_number<int64_t>(typed)) {  // 010 is ten, which TOML does not know
    node.kind = Node::Kind::integer;
    node.integer = *decimal;
  } else if (!parse_value(typed, node)) {
    require(parse_value(to_text(typed), node), where, ": the value is too long or not valid UTF-8");
  }
  node.typed = typed;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    Node table;
    table.members.push_back({*part, "", std::move(node)});
    node = std::move(table);
  }
  set_where(node, where);
  return node;
}

namespace {

Node::Member* find_member(Node& table, const std::string& key) {
  const auto found = std::find_if(table.members.begin(), table.members.end(),
                                  [&](const Node::Member& member) { return member.key == key; });
  return found == table.members.end() ? nullptr : &*found;
}

/// { kind = value }
Node table_of_kind(Node&& value) {
  Node table;
  table.where = value.where;
  const std::string where = value.where;
  table.members.push_back({"kind", where, std::move(value)});
  return table;
}

}  // namespace

void merge_override(Node& into, Node&& later) {
  const bool was_table = into.kind == Node::Kind::table, is_table = later.kind == Node::Kind::table;
  if (!was_table && !is_table) {
    later.earlier = std::move(into.earlier);
    into.earlier.clear();
    later.earlier.push_back(std::move(into));
    into = std::move(later);
    return;
  }
  if (!was_table) into = table_of_kind(std::move(into));
  if (!is_table) later = table_of_kind(std::move(later));
  for (Node::Member& member : later.members) {
    if (Node::Member* known = find_member(into, member.key)) {
      merge_override(known->value, std::move(member.value));
    } else {
      into.members.push_back(std::move(member));
    }
  }
}

namespace {

/// "task.model" -> "task" and "model"; a path of one key is below the table itself.
std::pair<std::string, std::string> split_last(const std::string& path) {
  const size_t dot = path.rfind('.');
  if (dot == std::string::npos) return {"", path};
  return {path.substr(0, dot), path.substr(dot + 1)};
}

/// What stands at a path; null pointer where there is nothing.
Node* find_path(Node& table, const std::string& path) {
  Node* node = &table;
  for (size_t begin = 0; begin <= path.size() && node != nullptr && !path.empty();) {
    const size_t end = std::min(path.find('.', begin), path.size());
    Node::Member* member = node->kind == Node::Kind::table
                               ? find_member(*node, path.substr(begin, end - begin))
                               : nullptr;
    node = member == nullptr ? nullptr : &member->value;
    begin = end + 1;
  }
  return node;
}

/// Two nodes of one key under two names: tables are joined, where they share no key.
void join(Node& into, Node&& more, const Layout::Rename& rename) {
  const auto fail_both = [&](const std::string& where) {
    fail(where, ": ", rename.from, " is the name that ", rename.to,
         " had before, and both are stated: leave one of the two out");
  };
  if (into.kind != Node::Kind::table || more.kind != Node::Kind::table) fail_both(more.where);
  for (Node::Member& member : more.members) {
    if (find_member(into, member.key) != nullptr) fail_both(member.where);
    into.members.push_back(std::move(member));
  }
}

}  // namespace

std::vector<Layout::Rename> rename_keys(Node& table, const Layout& layout) {
  std::vector<Layout::Rename> done;
  for (const Layout::Rename& rename : layout.renames) {
    const auto [above, key] = split_last(rename.from);
    Node* parent = find_path(table, above);
    if (parent == nullptr || parent->kind != Node::Kind::table) continue;
    auto& members = parent->members;
    const auto old = std::find_if(members.begin(), members.end(),
                                  [&](const Node::Member& member) { return member.key == key; });
    if (old == members.end()) continue;
    Node::Member moved = std::move(*old);
    members.erase(old);
    done.push_back(rename);
    if (Node* there = find_path(table, rename.to)) {
      join(*there, std::move(moved.value), rename);
      continue;
    }
    // As a table of its own around it, which joins what is there.
    std::string path = rename.to;
    Node wrapped = std::move(moved.value);
    while (!path.empty()) {
      auto [outer, last] = split_last(path);
      Node around;
      around.where = wrapped.where;
      around.members.push_back({last, moved.where, std::move(wrapped)});
      wrapped = std::move(around);
      path = outer;
    }
    merge_override(table, std::move(wrapped));
  }
  return done;
}

void add_paths(const Node& table, const std::string& path, std::vector<std::string>& paths) {
  for (const Node::Member& member : table.members) {
    const std::string here = path.empty() ? member.key : path + "." + member.key;
    if (member.value.kind == Node::Kind::table && !member.value.members.empty()) {
      add_paths(member.value, here, paths);
    } else {
      paths.push_back(here);
    }
  }
}

}  // namespace gallop::config
