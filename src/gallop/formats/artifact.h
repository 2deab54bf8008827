#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "gallop/formats/image.h"
#include "gallop/formats/line_plot.h"
#include "gallop/formats/safetensors.h"

namespace gallop::formats {

/// Text that a run made, in Markdown.
struct Text {
  std::string markdown;
};

/// Rows of as many cells as there are columns.
struct Table {
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
};

/// Plots side by side under a title.
struct Plot {
  std::string title;
  std::vector<LinePlot> lines;
};

/// Named tensors that own their bytes.
struct Tensors {
  struct Tensor {
    std::string name;
    DType dtype = DType::F32;
    std::vector<int64_t> shape;
    std::vector<std::byte> bytes;
  };
  std::vector<Tensor> tensors;
};

/// Something that a run made for people to look at, or to go on with. Whoever stores it knows the
/// forms, and not what it shows.
struct Artifact {
  std::string name;  ///< of its folder in the run, and its tag in TensorBoard: "samples"
  std::variant<Image, Text, Table, Plot, Tensors> content;
};

/// The ending of its file: ".png", ".md", ".csv", ".svg", ".safetensors".
const char* ending_of(const Artifact& artifact);
/// The bytes of that file. Throws Error for a table whose rows are not as long as its columns, and
/// for what cannot be drawn.
std::string to_file(const Artifact& artifact);
/// What a viewer of text shows of it; empty for pictures and tensors.
std::string to_markdown(const Artifact& artifact);

}  // namespace gallop::formats
