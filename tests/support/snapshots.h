#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "gallop/runs/checkpoint.h"
#include "tests/support/errors.h"

namespace gallop::training {

namespace fs = std::filesystem;

/// A snapshot whose every part depends on `step` and `variant`.
runs::Snapshot snapshot_of(int64_t step, double variant = 0);

/// Whether both hold the same tensors, to the bit, the same state and the same metadata.
bool equal(const runs::Snapshot& a, const runs::Snapshot& b);

runs::CheckpointConfig keeping(int64_t last, int64_t every = 0);

std::string recipe_of_step(int64_t step);

/// Sorted names of what a folder holds.
std::vector<std::string> names_in(const fs::path& folder);

/// Writes a file as a person would, not through the project's file system.
void put(const fs::path& path, std::string_view content);

using ::gallop::testing::message_of;

}  // namespace gallop::training
