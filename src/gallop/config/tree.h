#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gallop/config/schema.h"

namespace gallop::config {

/// A parsed TOML value that knows where it stands. Internal to config: parse.cpp walks it.
struct Node {
  enum class Kind { boolean, integer, real, string, list, table, date };
  struct Member;

  Kind kind = Kind::table;
  bool boolean = false;
  int64_t integer = 0;
  double real = 0;
  std::string string;
  std::vector<Node> items;      ///< of a list
  std::vector<Member> members;  ///< of a table, in the order of the text
  std::string where;            ///< "file:line:column" or "--set key=value"
  /// The right-hand side of a --set as typed, for fields that are strings; empty for files.
  std::string typed;
  /// Of overrides: the values that earlier ones gave to the same key, the first one first.
  std::vector<Node> earlier;
};

struct Node::Member {
  std::string key, where;
  Node value;
};

/// "an integer", "a list", ...
const char* kind_name(Node::Kind kind);
/// The value as TOML, shortened to a few dozen characters.
std::string shown(const Node& node);

/// Parses TOML; throws Error with name, line and column. Texts above 1 MiB, keys of more than
/// 16 parts and values nested deeper than 64 levels are refused.
Node parse_toml(std::string_view text, const std::string& name);

/// The tree of one `a.b.c=value`. A value that is no TOML is taken as a string.
Node parse_override(const std::string& text);

/// Adds the tree of a later override: tables key by key, all else is replaced. Where one says a
/// value and the other keys below it, the value is the kind of a component and they its settings,
/// whichever comes first.
void merge_override(Node& into, Node&& later);

/// Brings the keys of a recipe in a form of before to their names of now, and returns the renames
/// that there were: all are told. Where a value stands in the place of a table of now, it is the
/// kind of a component. Throws Error where a key is stated under both names.
std::vector<Layout::Rename> rename_keys(Node& table, const Layout& layout);

/// The dotted paths of all values below a table, "train.batch"; lists are values, an empty table
/// too.
void add_paths(const Node& table, const std::string& path, std::vector<std::string>& paths);

}  // namespace gallop::config
