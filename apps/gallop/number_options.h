#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "gallop/config/schema.h"

namespace gallop {

/// Inclusive ends of a whole number on the command line.
template <class Integer>
struct WholeRange {
  Integer min = std::numeric_limits<Integer>::min();
  Integer max = std::numeric_limits<Integer>::max();
};

/// Options that take a number. A whole number is decimal digits alone, 010 being ten; another
/// number is decimal with or without an exponent, and finite. All else is an Error that names the
/// option, the text and the range in short words.
CLI::Option* add_whole_number(CLI::App& command, const std::string& name, int64_t& value,
                              const std::string& doc, WholeRange<int64_t> range);
CLI::Option* add_whole_number(CLI::App& command, const std::string& name,
                              std::optional<int64_t>& value, const std::string& doc,
                              WholeRange<int64_t> range);
CLI::Option* add_whole_number(CLI::App& command, const std::string& name,
                              std::optional<uint64_t>& value, const std::string& doc,
                              WholeRange<uint64_t> range = {});
CLI::Option* add_number(CLI::App& command, const std::string& name, double& value,
                        const std::string& doc, config::Range range = {});
CLI::Option* add_number(CLI::App& command, const std::string& name, std::optional<double>& value,
                        const std::string& doc, config::Range range = {});
/// Numbers with commas between them.
CLI::Option* add_numbers(CLI::App& command, const std::string& name, std::vector<double>& values,
                         const std::string& doc, config::Range range = {});
/// A number of bytes: a whole number and perhaps a unit, 5GB (1000) or 5GiB (1024).
CLI::Option* add_size(CLI::App& command, const std::string& name, uint64_t& bytes,
                      const std::string& doc, WholeRange<uint64_t> range = {});

}  // namespace gallop
