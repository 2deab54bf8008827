#include "gallop/formats/artifact.h"

#include <span>

#include "gallop/base/error.h"
#include "gallop/base/file.h"
#include "gallop/base/format.h"

namespace gallop::formats {
namespace {

void check(const Table& table) {
  for (const auto& row : table.rows) {
    require(row.size() == table.columns.size(), "a row of a table has ", row.size(),
            " cells where the table has ", table.columns.size(), " columns");
  }
}

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string cell = "\"";
  for (const char c : text) cell += c == '"' ? std::string("\"\"") : std::string(1, c);
  return cell + "\"";
}

std::string csv_line(const std::vector<std::string>& cells) {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) line += (i == 0 ? "" : ",") + csv_cell(cells[i]);
  return line + "\n";
}

std::string markdown_line(const std::vector<std::string>& cells) {
  std::string line = "|";
  for (const std::string& cell : cells) {
    line += " ";
    for (const char c : cell)
      line += c == '|' ? std::string("\\|") : std::string(1, c == '\n' ? ' ' : c);
    line += " |";
  }
  return line + "\n";
}

std::string to_markdown(const Table& table) {
  check(table);
  std::string text = markdown_line(table.columns) + "|";
  for (size_t i = 0; i < table.columns.size(); ++i) text += "---|";
  text += "\n";
  for (const auto& row : table.rows) text += markdown_line(row);
  return text;
}

// The points of a plot, for who cannot draw it.
std::string to_markdown(const Plot& plot) {
  std::string text = plot.title + "\n";
  for (const LinePlot& line : plot.lines) {
    Table table{{line.x_label, line.y_label}, {}};
    for (const LinePlot::Point& point : line.points)
      table.rows.push_back({format("%g", point.x), format("%g", point.y)});
    text += "\n" + to_markdown(table);
  }
  return text;
}

// A file that is a string.
class StringFile : public OutputFile {
 public:
  using OutputFile::write;
  void write(std::span<const std::byte> bytes) override {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  void sync() override {}
  void close() override {}
  std::string text;
};

std::string to_safetensors(const Tensors& tensors) {
  std::vector<TensorView> views;
  for (const Tensors::Tensor& tensor : tensors.tensors)
    views.push_back({tensor.name, tensor.dtype, tensor.shape, tensor.bytes});
  StringFile file;
  write_safetensors(file, "tensors of an artifact", views, {});
  return file.text;
}

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

}  // namespace

const char* ending_of(const Artifact& artifact) {
  return std::visit(
      Overloaded{[](const Image&) { return ".png"; }, [](const Text&) { return ".md"; },
                 [](const Table&) { return ".csv"; }, [](const Plot&) { return ".svg"; },
                 [](const Tensors&) { return ".safetensors"; }},
      artifact.content);
}

std::string to_file(const Artifact& artifact) {
  return std::visit(Overloaded{[](const Image& image) { return encode_png(image); },
                               [](const Text& text) { return text.markdown; },
                               [](const Table& table) {
                                 check(table);
                                 std::string text = csv_line(table.columns);
                                 for (const auto& row : table.rows) text += csv_line(row);
                                 return text;
                               },
                               [](const Plot& plot) { return to_svg(plot.title, plot.lines); },
                               [](const Tensors& tensors) { return to_safetensors(tensors); }},
                    artifact.content);
}

std::string to_markdown(const Artifact& artifact) {
  return std::visit(Overloaded{[](const Image&) { return std::string(); },
                               [](const Text& text) { return text.markdown; },
                               [](const Table& table) { return to_markdown(table); },
                               [](const Plot& plot) { return to_markdown(plot); },
                               [](const Tensors&) { return std::string(); }},
                    artifact.content);
}

}  // namespace gallop::formats
