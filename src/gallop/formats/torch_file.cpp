#include "gallop/formats/torch_file.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/base/text.h"

// The archive holds FOLDER/data.pkl, FOLDER/byteorder, FOLDER/version and FOLDER/data/KEY for each
// storage; the pickle names a storage by the persistent id ("storage", type, KEY, device, elements)
// and makes a tensor by torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, ...).
// https://docs.pytorch.org/docs/stable/notes/serialization.html

namespace gallop::formats {
namespace {

using Kind = PickleValue::Kind;
using Use = PickleGlobal::Use;

constexpr std::string_view rebuild_tensor = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view rebuild_parameter = "torch._utils._rebuild_parameter";
constexpr size_t max_rank = 8;

struct StorageType {
  std::string_view global;
  DType dtype;
};
constexpr std::array storage_types{StorageType{"torch.BoolStorage", DType::BOOL},
                                   StorageType{"torch.ByteStorage", DType::U8},
                                   StorageType{"torch.CharStorage", DType::I8},
                                   StorageType{"torch.ShortStorage", DType::I16},
                                   StorageType{"torch.HalfStorage", DType::F16},
                                   StorageType{"torch.BFloat16Storage", DType::BF16},
                                   StorageType{"torch.IntStorage", DType::I32},
                                   StorageType{"torch.FloatStorage", DType::F32},
                                   StorageType{"torch.DoubleStorage", DType::F64},
                                   StorageType{"torch.LongStorage", DType::I64}};

const std::vector<PickleGlobal>& globals() {
  static const std::vector<PickleGlobal> known = [] {
    std::vector<PickleGlobal> list{{"collections.OrderedDict", Use::dict},
                                   {"argparse.Namespace", Use::object},
                                   {"torch.Size", Use::function},
                                   {rebuild_tensor, Use::function},
                                   {rebuild_parameter, Use::function}};
    for (const StorageType& type : storage_types) list.push_back({type.global, Use::constant});
    return list;
  }();
  return known;
}

bool is_call(const PickleValue& value, std::string_view function) {
  return value.kind == Kind::call && value.items[0]->text == function;
}

/// A parameter stands for the tensor that is its first argument.
const PickleValue& without_parameter(const PickleValue& value) {
  if (!is_call(value, rebuild_parameter)) return value;
  const auto& arguments = value.items[1]->items;
  require(!arguments.empty(), "a parameter has no value");
  return *arguments[0];
}

bool is_tensor(const PickleValue& value) {
  return is_call(value, rebuild_tensor) || is_call(value, rebuild_parameter);
}

/// A dictionary of tensors only, by name.
bool is_weights(const PickleValue& value) {
  if (value.kind != Kind::dict || value.items.empty()) return false;
  for (size_t i = 0; i < value.items.size(); i += 2)
    if (value.items[i]->kind != Kind::text || !is_tensor(*value.items[i + 1])) return false;
  return true;
}

std::string part_text(const PickleValue& value) {
  if (!is_weights(value)) return is_tensor(value) ? "a tensor" : describe(value);
  return std::to_string(value.items.size() / 2) + " tensors";
}

int64_t number(const PickleValue& value, const char* what) {
  require(value.kind == Kind::integer, what, " should be an integer and is ", describe(value));
  require(value.integer >= 0, what, " is ", value.integer, ", below 0");
  return value.integer;
}

std::vector<int64_t> numbers(const PickleValue& value, const char* what) {
  // torch.Size((3, 4)) is the tuple.
  if (is_call(value, "torch.Size") && value.items[1]->items.size() == 1)
    return numbers(*value.items[1]->items[0], what);
  require(value.kind == Kind::tuple && value.items.size() <= max_rank, what,
          " should be a tuple of at most ", max_rank, " integers and is ", describe(value));
  std::vector<int64_t> list;
  for (const PickleValue* item : value.items) list.push_back(number(*item, what));
  return list;
}

/// Where the elements of a tensor lie in its storage.
struct Layout {
  std::vector<int64_t> shape, strides;
  int64_t offset = 0;
  int64_t elements = 1;

  bool row_by_row() const {
    int64_t expected = 1;
    for (size_t d = shape.size(); d-- > 0;) {
      if (shape[d] != 1 && strides[d] != expected) return false;
      expected *= shape[d];
    }
    return true;
  }
};

Layout read_layout(const std::vector<const PickleValue*>& arguments, int64_t storage_elements) {
  Layout layout;
  layout.offset = number(*arguments[1], "its offset");
  layout.shape = numbers(*arguments[2], "its shape");
  layout.strides = numbers(*arguments[3], "its strides");
  require(layout.strides.size() == layout.shape.size(), "it has ", layout.strides.size(),
          " strides for the shape ", shape_text(layout.shape));
  int64_t last = layout.offset;
  bool fits = true;
  for (size_t d = 0; d < layout.shape.size(); ++d) {
    int64_t step = 0;
    const int64_t n = layout.shape[d];
    fits = fits && !__builtin_mul_overflow(layout.elements, n, &layout.elements) &&
           (n == 0 || (!__builtin_mul_overflow(n - 1, layout.strides[d], &step) &&
                       !__builtin_add_overflow(last, step, &last)));
  }
  if (fits && layout.elements == 0) return layout;
  require(fits && last < storage_elements, "shape ", shape_text(layout.shape), ", strides ",
          shape_text(layout.strides), " and offset ", layout.offset, " reach behind the ",
          storage_elements, " elements of its storage");
  // So that a small file cannot ask for much memory.
  require(layout.elements <= storage_elements, "shape ", shape_text(layout.shape), " repeats the ",
          storage_elements, " elements of its storage: save it after .contiguous()");
  return layout;
}

/// The elements row by row.
std::vector<std::byte> gather(const Layout& layout, std::span<const std::byte> data, size_t size) {
  std::vector<std::byte> out(static_cast<size_t>(layout.elements) * size);
  std::vector<int64_t> index(layout.shape.size(), 0);
  int64_t from = layout.offset;
  for (size_t to = 0; to < out.size(); to += size) {
    std::memcpy(out.data() + to, data.data() + static_cast<size_t>(from) * size, size);
    for (size_t d = index.size(); d-- > 0;) {
      from += layout.strides[d];
      if (++index[d] < layout.shape[d]) break;
      from -= layout.strides[d] * layout.shape[d];
      index[d] = 0;
    }
  }
  return out;
}

bool begins_with(std::span<const std::byte> bytes, std::string_view prefix) {
  return bytes.size() >= prefix.size() &&
         std::memcmp(bytes.data(), prefix.data(), prefix.size()) == 0;
}

/// The folder that holds everything: that of the one data.pkl.
std::string find_folder(const ZipArchive& archive) {
  constexpr std::string_view pickle = "/data.pkl";
  std::string folder;
  for (const ZipEntry& entry : archive.entries()) {
    if (!entry.name.ends_with(pickle)) continue;
    require(folder.empty(), "it holds several data.pkl");
    folder = entry.name.substr(0, entry.name.size() - pickle.size() + 1);
  }
  require(!folder.empty(), "it holds no data.pkl");
  return folder;
}

void check_byte_order(const ZipArchive& archive, const std::string& folder) {
  const ZipEntry* entry = archive.find(folder + "byteorder");
  if (!entry) return;  // files of torch before 2.1 have none, and are of small-endian machines
  require(begins_with(archive.checked(*entry), "little") && entry->data.size() == 6,
          "it was written on a machine of another byte order");
}

}  // namespace

TorchFile::TorchFile(const fs::path& path) : TorchFile(MappedFile(path)) {}

TorchFile::TorchFile(MappedFile file) : TorchFile(file.bytes(), "'" + file.path().string() + "'") {
  file_ = std::move(file);
}

TorchFile::TorchFile(std::span<const std::byte> bytes, const std::string& what)
    : what_(what), size_(bytes.size()) {
  require(!begins_with(bytes, "\x80\x02\x8a\x0al\xfc\x9c"), what,
          " is in the format of torch before 1.6: load and save it again with a newer torch, by "
          "torch.load(..., weights_only=True)");
  archive_.emplace(bytes, what);
  try {
    folder_ = find_folder(*archive_);
    check_byte_order(*archive_, folder_);
  } catch (const Error& error) {
    fail(what, " is no checkpoint of PyTorch: ", error.what());
  }
  const auto pickle = archive_->checked(*archive_->find(folder_ + "data.pkl"));
  pickle_.emplace(pickle, globals(), what + ": its data.pkl");
}

std::vector<TorchFile::Part> TorchFile::parts() const {
  const PickleValue& root = pickle_->root();
  if (root.kind != Kind::dict || is_weights(root)) return {{"", part_text(root), is_weights(root)}};
  std::vector<Part> parts;
  for (size_t i = 0; i < root.items.size(); i += 2) {
    const PickleValue& value = *root.items[i + 1];
    const std::string key = root.items[i]->kind == Kind::text ? std::string(root.items[i]->text)
                                                              : describe(*root.items[i]);
    parts.push_back({key, part_text(value), is_weights(value)});
  }
  return parts;
}

std::vector<TensorView> TorchFile::tensors(std::string_view key) {
  const PickleValue* weights = &pickle_->root();
  if (!key.empty()) {
    require(weights->kind == Kind::dict, what_, " is ", describe(*weights), " without keys");
    const auto& items = weights->items;
    const PickleValue* found = nullptr;
    for (size_t i = 0; i < items.size(); i += 2)  // as in a dict, the last of equals counts
      if (items[i]->kind == Kind::text && items[i]->text == key) found = items[i + 1];
    require(found != nullptr, what_, " has no key ", in_quotes(key));
    weights = found;
  }
  const std::string where = what_ + (key.empty() ? "" : ", " + in_quotes(key));
  require(weights->kind == Kind::dict, where, " is ", part_text(*weights),
          ", no dictionary of tensors");
  std::vector<TensorView> tensors;
  for (size_t i = 0; i < weights->items.size(); i += 2) {
    const PickleValue& name = *weights->items[i];
    require(name.kind == Kind::text, where, " has the key ", describe(name), ", which is no name");
    try {
      tensors.push_back(tensor(std::string(name.text), *weights->items[i + 1]));
    } catch (const Error& error) {
      fail(where, ", ", in_quotes(name.text), ": ", error.what());
    }
  }
  return tensors;
}

TensorView TorchFile::tensor(const std::string& name, const PickleValue& value) {
  const PickleValue& made = without_parameter(value);
  require(is_call(made, rebuild_tensor), "it is ", describe(made), ", no tensor");
  const auto& arguments = made.items[1]->items;
  require(arguments.size() >= 6 && arguments.size() <= 7, "it is made from ", arguments.size(),
          " arguments instead of 6 or 7");
  const Storage from = storage(*arguments[0]);
  const size_t size = size_of(from.dtype);
  const Layout layout = read_layout(arguments, static_cast<int64_t>(from.data.size() / size));
  TensorView view{name, from.dtype, layout.shape, {}};
  if (layout.elements == 0) return view;
  if (layout.row_by_row()) {
    view.data = from.data.subspan(static_cast<size_t>(layout.offset) * size,
                                  static_cast<size_t>(layout.elements) * size);
  } else {
    // Many views of one storage could ask for much more than the file has.
    copied_ += static_cast<size_t>(layout.elements) * size;
    require(copied_ <= size_, "copies of the tensors with other strides up to here would take ",
            copied_, " bytes, more than the whole file: save them after .contiguous()");
    view.data = copies_.emplace_back(gather(layout, from.data, size));
  }
  return view;
}

TorchFile::Storage TorchFile::storage(const PickleValue& value) {
  require(value.kind == Kind::persistent && value.items[0]->kind == Kind::tuple &&
              value.items[0]->items.size() == 5,
          "its storage is ", describe(value), " of an unknown form");
  const auto& id = value.items[0]->items;
  require(id[0]->kind == Kind::text && id[0]->text == "storage" && id[2]->kind == Kind::text,
          "its storage is named in an unknown form");
  const auto* type = std::find_if(
      storage_types.begin(), storage_types.end(),
      [&](const StorageType& t) { return id[1]->kind == Kind::global && id[1]->text == t.global; });
  require(type != storage_types.end(), "its storage is ", describe(*id[1]),
          ", not a type of safetensors");
  const std::string_view key = id[2]->text;
  auto known = checked_.find(key);
  if (known == checked_.end()) {
    const ZipEntry* entry = archive_->find(folder_ + "data/" + std::string(key));
    require(entry != nullptr, "its storage ", in_quotes(key), " is not in the file");
    known = checked_.emplace(key, archive_->checked(*entry)).first;
  }
  const auto elements = static_cast<uint64_t>(number(*id[4], "the size of its storage"));
  require(known->second.size() % size_of(type->dtype) == 0 &&
              known->second.size() / size_of(type->dtype) == elements,
          "its storage ", in_quotes(key), " has ", known->second.size(), " bytes, not ", elements,
          " elements of ", name_of(type->dtype));
  return {type->dtype, known->second};
}

}  // namespace gallop::formats
