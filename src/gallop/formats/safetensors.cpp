#include "gallop/formats/safetensors.h"

#include <algorithm>
#include <array>
#include <unordered_set>

#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/base/json.h"
#include "gallop/base/text.h"
#include "gallop/formats/bytes.h"

// The format: 8 bytes little-endian header length n, n bytes JSON, tensor data.
// The JSON maps names to {"dtype", "shape", "data_offsets": [begin, end)} relative to the data.
// https://github.com/huggingface/safetensors

namespace gallop::formats {
namespace {

constexpr uint64_t max_header = 100'000'000;
constexpr size_t max_rank = 8;
constexpr size_t max_name = 1024;
constexpr size_t max_tensors = 1'000'000;
constexpr std::string_view metadata_key = "__metadata__";

struct TypeInfo {
  std::string_view name;
  size_t size;
};
constexpr std::array<TypeInfo, 13> types{{{"BOOL", 1},
                                          {"U8", 1},
                                          {"I8", 1},
                                          {"I16", 2},
                                          {"U16", 2},
                                          {"F16", 2},
                                          {"BF16", 2},
                                          {"I32", 4},
                                          {"U32", 4},
                                          {"F32", 4},
                                          {"F64", 8},
                                          {"I64", 8},
                                          {"U64", 8}}};

std::optional<DType> type_named(std::string_view name) {
  for (size_t i = 0; i < types.size(); ++i)
    if (types[i].name == name) return static_cast<DType>(i);
  return std::nullopt;
}

int64_t integer(const Json& v, const char* what, int64_t least) {
  require(v.is_int(), what, " must be integers");
  require(v.as_int() >= least, what, " must be at least ", least, ", found ", v.as_int());
  return v.as_int();
}

struct Entry {
  TensorView view;
  uint64_t begin, end;
};

/// One member of the header; errors without path and name.
Entry read_entry(const std::string& name, const Json& json, uint64_t data_size) {
  require(!name.empty() && name.size() <= max_name, "its name has ", name.size(), " bytes, 1 to ",
          max_name, " are allowed");
  require(json.is_object(), "its entry is no object");
  // So that nothing can be hidden in an entry, and none is deeper than a list of numbers.
  for (const auto& [key, value] : json.as_object())
    require(key == "dtype" || key == "shape" || key == "data_offsets", "its entry has an unknown ",
            "member ", in_quotes(key));
  Entry entry{};
  entry.view.name = name;
  const Json& dtype = json.at("dtype");
  const auto type = type_named(dtype.as_string());
  require(type.has_value(), "unknown element type ", in_quotes(dtype.as_string()));
  entry.view.dtype = *type;
  const Json& shape = json.at("shape");
  require(shape.is_array() && shape.size() <= max_rank, "its shape must be an array of at most ",
          max_rank, " integers");
  for (const Json& n : shape.as_array()) entry.view.shape.push_back(integer(n, "dimensions", 0));
  const Json& offsets = json.at("data_offsets");
  require(offsets.is_array() && offsets.size() == 2, "data_offsets must be two integers");
  entry.begin = static_cast<uint64_t>(integer(offsets.as_array()[0], "data_offsets", 0));
  entry.end = static_cast<uint64_t>(integer(offsets.as_array()[1], "data_offsets", 0));
  require(entry.begin <= entry.end, "data_offsets run backwards: ", entry.begin, " to ", entry.end);
  require(entry.end <= data_size, "its data end at byte ", entry.end, " of the data, the file has ",
          data_size, "; is it cut short?");
  const auto size = byte_size(entry.view.shape, *type);
  require(size.has_value(), "shape ", shape_text(entry.view.shape), " is too large for any memory");
  require(*size == entry.end - entry.begin, "shape ", shape_text(entry.view.shape), " of ",
          name_of(*type), " takes ", *size, " bytes, data_offsets give ", entry.end - entry.begin);
  return entry;
}

Metadata read_metadata(const Json& json) {
  require(json.is_object(), "__metadata__ is no object");
  Metadata metadata;
  for (const auto& [key, value] : json.as_object()) {
    require(value.is_string(), "the value of __metadata__ ", in_quotes(key), " is no string");
    metadata[key] = value.as_string();
  }
  return metadata;
}

bool is_utf8(const std::string& s) {
  // Writing replaces what is not UTF-8, so a changed text was not.
  return Json::parse(Json(s).dump()).as_string() == s;
}

}  // namespace

std::optional<uint64_t> byte_size(const std::vector<int64_t>& shape, DType dtype) {
  int64_t product = static_cast<int64_t>(size_of(dtype));
  bool empty = false;
  for (const int64_t n : shape) {
    if (n < 0) return std::nullopt;
    if (n == 0)
      empty = true;
    else if (__builtin_mul_overflow(product, n, &product))
      return std::nullopt;
  }
  return empty ? 0 : static_cast<uint64_t>(product);
}

size_t size_of(DType dtype) { return types[static_cast<size_t>(dtype)].size; }
std::string_view name_of(DType dtype) { return types[static_cast<size_t>(dtype)].name; }

SafetensorsReader::SafetensorsReader(const fs::path& path) : file_(path) {
  const auto bytes = file_.bytes();
  const std::string where = "'" + path.string() + "' is no valid safetensors file: ";
  require(bytes.size() >= 8, where, "it has ", bytes.size(), " bytes, at least 8 are needed");
  const auto header_size = read_little<uint64_t>(bytes.data());
  require(header_size <= max_header, where, "the header would have ", header_size,
          " bytes, more than the ", max_header, " allowed; is it another format?");
  require(header_size <= bytes.size() - 8, where, "the header has ", header_size,
          " bytes, the file only ", bytes.size(), "; is it cut short?");
  const auto text_bytes = bytes.subspan(8, header_size);
  const std::string_view text(reinterpret_cast<const char*>(text_bytes.data()), text_bytes.size());
  require(text.starts_with('{'), where, "the header does not begin with {");
  const Json header = Json::parse(text, "header of '" + path.string() + "'");
  const auto data = bytes.subspan(8 + header_size);
  const size_t count = header.size() - (header.find(metadata_key) ? 1 : 0);
  require(count <= max_tensors, where, "it lists ", count, " tensors, at most ", max_tensors,
          " are allowed");

  std::vector<Entry> entries;
  for (const auto& [name, json] : header.as_object()) {
    try {
      if (name == metadata_key)
        metadata_ = read_metadata(json);
      else
        entries.push_back(read_entry(name, json, data.size()));
    } catch (const Error& e) {
      fail(where, name == metadata_key ? "" : "tensor " + in_quotes(name) + ": ", e.what());
    }
  }
  // Tensors without elements share their offset with the next; they come first.
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t position = 0;
  for (Entry& entry : entries) {
    require(entry.begin >= position, where, "tensor ", in_quotes(entry.view.name),
            " overlaps the one before it");
    require(entry.begin == position, where, "bytes ", position, " to ", entry.begin,
            " of the data belong to no tensor");
    position = entry.end;
    entry.view.data = data.subspan(entry.begin, entry.end - entry.begin);
    index_[entry.view.name] = tensors_.size();
    tensors_.push_back(std::move(entry.view));
  }
  require(position == data.size(), where, data.size() - position,
          " bytes at its end belong to no tensor");
}

const TensorView* SafetensorsReader::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

void write_safetensors(const fs::path& path, const std::vector<TensorView>& tensors,
                       const Metadata& metadata) {
  write_file_atomically(
      path, [&](OutputFile& file) { write_safetensors(file, path.string(), tensors, metadata); });
}

void write_safetensors(OutputFile& file, const std::string& what,
                       const std::vector<TensorView>& tensors, const Metadata& metadata) {
  const auto where = [&](const TensorView& t) {
    return "cannot write '" + what + "': tensor " + in_quotes(t.name) + ": ";
  };
  Json::Object header;
  if (!metadata.empty()) {
    Json entries = Json::object();
    for (const auto& [key, value] : metadata) entries.as_object().emplace_back(key, value);
    header.emplace_back(metadata_key, std::move(entries));
  }
  std::unordered_set<std::string_view> names;
  uint64_t position = 0;
  for (const TensorView& t : tensors) {
    require(
        !t.name.empty() && t.name.size() <= max_name && t.name != metadata_key && is_utf8(t.name),
        where(t), "a name must be UTF-8 of 1 to ", max_name, " bytes other than __metadata__");
    require(names.insert(t.name).second, where(t), "the name is there twice");
    require(t.shape.size() <= max_rank, where(t), "rank ", t.shape.size(), " is above ", max_rank);
    const auto size = byte_size(t.shape, t.dtype);
    require(size && *size == t.data.size(), where(t), "shape ", shape_text(t.shape), " of ",
            name_of(t.dtype), " does not fit its ", t.data.size(), " bytes of data");
    Json shape = Json::array();
    for (const int64_t n : t.shape) shape.push_back(n);
    Json entry = Json::object();
    entry["dtype"] = std::string(name_of(t.dtype));
    entry["shape"] = std::move(shape);
    entry["data_offsets"] = Json::Array{position, position + *size};
    header.emplace_back(t.name, std::move(entry));
    position += *size;
  }
  std::string text = Json(std::move(header)).dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // data begin at a multiple of 8
  require(tensors.size() <= max_tensors, "cannot write '", what, "': ", tensors.size(),
          " tensors are more than the ", max_tensors, " allowed");
  require(text.size() <= max_header, "cannot write '", what, "': the header would have ",
          text.size(), " bytes, more than the ", max_header, " allowed");
  std::string length;
  append_little<uint64_t>(length, text.size());

  file.write(length);
  file.write(text);
  for (const TensorView& t : tensors) file.write(t.data);
}

}  // namespace gallop::formats
