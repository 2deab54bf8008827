#pragma once

#include <string>
#include <variant>

#include "gallop/formats/image.h"

namespace gallop::formats {

/// Text that a run made, in Markdown.
struct Text {
  std::string markdown;
};

/// Something that a run made for people to look at. Whoever stores it knows the forms, and not what
/// it shows.
struct Artifact {
  std::string name;  ///< of its folder in the run, and its tag in TensorBoard: "samples"
  std::variant<Image, Text> content;
};

}  // namespace gallop::formats
