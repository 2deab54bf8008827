#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace gallop::config {

/// The keys of a struct that one source states: a file, or all overrides of a recipe together.
struct Stated {
  std::vector<std::string> keys;
  bool in_file = false;  ///< false: by overrides
  bool has(std::string_view key) const {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
  }
};

/// A Struct in which two keys say one thing, one of them short for others.
class Follows {
 public:
  virtual ~Follows() = default;
  /// Called after each source has set its keys, the later ones counting more. Makes the other keys
  /// follow those just stated, so that what is printed is what holds. Returns what of it is
  /// ignored, for a warning, or nothing; throws gallop::Error where the keys contradict each other.
  virtual std::string follow(const Stated& stated) = 0;
};

}  // namespace gallop::config
