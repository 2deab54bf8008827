#pragma once

#include <functional>
#include <string>

#include "gallop/base/file.h"

namespace gallop::data {

/// Whether a folder looks like data of some kind, by the names of its files.
using Recogniser = std::function<bool(const fs::path& folder)>;

/// Registers how the folders of a kind are told; stands beside the kind's `config::Register`.
struct Recognise {
  Recognise(const char* kind, Recogniser recogniser);
};

/// The kind of data in a folder. Error if there is no such folder, and if no kind or more than one
/// recognises it, with what was looked for.
std::string recognise_kind(const fs::path& folder);

}  // namespace gallop::data
