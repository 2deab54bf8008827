#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "gallop/base/json.h"
#include "gallop/config/schema.h"

namespace gallop::config {

/// Whether a key, or one below it, is among paths that `load` or `keys_of_overrides` returned.
bool is_stated(const std::vector<std::string>& paths, std::string_view key);

/// Sets the fields of `into` from a TOML recipe; fields that the recipe does not name keep their
/// value.
///
/// - `base = "other.toml"` at the top (or a list, applied in order; relative to the file that says
///   it) is loaded first, then the file's own keys. Tables merge key by key, lists are replaced.
/// - A component is a string (its kind) or a table of `kind` and settings. A kind other than the
/// one
///   chosen so far drops all settings of that one; the same kind, or none, keeps them.
/// - `overrides` are `key.of.field=value` and applied last, all together: of two for one key the
///   later one counts, and the kind of a component is chosen before its settings, in whichever
///   order they stand. The value is TOML, or taken as a string where it is not (`model.size=S/2`).
///   What the recipe says of a kind that they replace is told.
/// - Keys of a file may have the names of before (Struct::layout) unless it says that its `format`
///   is that of now; so may those of overrides. Which ones had is told once.
/// - At last `validate` of every struct runs, inner ones first.
///
/// An unknown key, a wrong type and a value out of range are Errors that begin with
/// `file:line:column` or `--set key=value` and name the key, the value and, for an unknown key, the
/// nearest known one. After an Error `into` is half set; do not use it.
///
/// Returns the dotted paths of the keys that are stated, those of the bases included, in no order
/// and perhaps more than once: all others have their default.
std::vector<std::string> load(Struct& into, const std::filesystem::path& recipe,
                              const std::vector<std::string>& overrides = {});

/// The same for a recipe in memory. `name` stands for the file: in messages and to find its base.
std::vector<std::string> load_text(Struct& into, std::string_view text, const std::string& name,
                                   const std::vector<std::string>& overrides = {});

/// The dotted paths of the keys that these overrides state: "sample.steps" for `sample.steps=3` and
/// for `sample={steps=3}`. Throws Error as `load` does.
std::vector<std::string> keys_of_overrides(const std::vector<std::string>& overrides,
                                           const Layout* layout = nullptr);

/// Sets the fields that a JSON object names, with the rules of an override: what a request says of
/// settings that a recipe has, too. Returns its keys. Errors begin with `name`.
std::vector<std::string> load_json(Struct& into, const Json& values, const std::string& name);

/// Runs `validate` of all structs in the tree, inner ones first; Errors begin with `name` and the
/// table.
void validate(Struct& config, const std::string& name);

}  // namespace gallop::config
