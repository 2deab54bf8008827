#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "gallop/nn/module.h"
#include "gallop/runs/recipe.h"

namespace gallop::training {

/// A recipe that trains in a second, with everything a real one has.
runs::Recipe recipe_in(const std::filesystem::path& out,
                       const std::vector<std::string>& overrides = {});

/// All that a run wrote to its log, without what a clock decides.
std::vector<std::string> log_lines(const std::filesystem::path& run);

/// The values of one name in the log lines of one kind.
std::vector<double> logged(const std::filesystem::path& run, const std::string& kind,
                           const std::string& name);

/// Expects the same tensors under the same names, to the bit.
void expect_equal_weights(const nn::Module& a, const nn::Module& b);

}  // namespace gallop::training
