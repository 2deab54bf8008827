#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gallop/base/file.h"

namespace gallop::test {

/// Reference cases: safetensors files with inputs `in.*`, parameters `weight.*`, expected outputs
/// `out.*` and gradients `grad.*`, and the hyperparameters as JSON in the metadata `config`. A case
/// belongs to the tests of its kind, "folder/stem" ("routing/selection"), which it either names
/// itself (metadata `kind`, or `kind` in `config`, with or without the folder) or by its file: the
/// folder that it lies in, and a name that begins with the stem of the kind. Of several stems that
/// fit the longest counts. A file that lies in the folder of the cases itself is known by its name
/// alone, unless that folder is one of a kind.
struct ReferenceCase {
  fs::path file;
  std::string name;  ///< the path below the folder of the cases, without the extension
  std::string kind;  ///< empty: no kind that any test has
};

/// The folder that the environment variable GALLOP_FIXTURES names, else tests/data/fixtures. Throws
/// Error if it is no folder.
fs::path case_folder();

/// Every .safetensors file below a folder, by name.
std::vector<ReferenceCase> cases_in(const fs::path& folder);
std::vector<ReferenceCase> cases_in(const fs::path& folder, const std::string& kind);

/// All kinds there are, each with a test.
std::vector<std::string> reference_kinds();

/// The kind that metadata and place of a file tell, empty if none. `said` is what its metadata call
/// its kind, `folder` the name of the folder it lies in; empty: any.
std::string kind_of(const std::optional<std::string>& said, std::string_view folder,
                    std::string_view stem);

}  // namespace gallop::test
