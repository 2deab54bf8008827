#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gallop/config/describe.h"

namespace gallop {

/// Options that are the settings of a struct, one a field under its key: `guidance_from` is
/// `--guidance-from`. The list, its words and its ranges stand in the struct alone.
class SettingOptions {
 public:
  /// A list of texts is an option that may be repeated; lists of numbers and tables have none, nor
  /// have the keys in `without`.
  void add(CLI::App& command, const std::vector<config::FieldInfo>& fields,
           const std::vector<std::string>& without = {});
  /// What was given: the key and the value as TOML. A component is its kind.
  std::vector<std::pair<std::string, std::string>> given() const;

 private:
  struct Option;
  std::vector<std::shared_ptr<Option>> options_;
};

/// The name of the option of a key.
std::string option_of(const std::string& key);

/// The settings of everything that generates: [task.sample] of every registered task, a key once.
std::vector<config::FieldInfo> settings_of_generators();

}  // namespace gallop
