#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "gallop/config/schema.h"

namespace gallop::config {

/// Sets the fields of `into` from a TOML recipe; fields that the recipe does not name keep their
/// value.
///
/// - `base = "other.toml"` at the top (or a list, applied in order; relative to the file that says
///   it) is loaded first, then the file's own keys. Tables merge key by key, lists are replaced.
/// - A component is a string (its kind) or a table of `kind` and settings. A kind other than the
/// one
///   chosen so far drops all settings of that one; the same kind, or none, keeps them.
/// - `overrides` are `key.of.field=value` and applied last, in order. The value is TOML, or taken
/// as
///   a string where it is not (`model.size=S/2`).
/// - At last `validate` of every struct runs, inner ones first.
///
/// An unknown key, a wrong type and a value out of range are Errors that begin with
/// `file:line:column` or `--set key=value` and name the key, the value and, for an unknown key, the
/// nearest known one. After an Error `into` is half set; do not use it.
void load(Struct& into, const std::filesystem::path& recipe,
          const std::vector<std::string>& overrides = {});

/// The same for a recipe in memory. `name` stands for the file: in messages and to find its base.
void load_text(Struct& into, std::string_view text, const std::string& name,
               const std::vector<std::string>& overrides = {});

/// Runs `validate` of all structs in the tree, inner ones first; Errors begin with `name` and the
/// table.
void validate(Struct& config, const std::string& name);

}  // namespace gallop::config
