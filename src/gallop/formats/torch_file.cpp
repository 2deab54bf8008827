#include "gallop/formats/torch_file.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/base/text.h"
#include "gallop/formats/strided.h"
#include "gallop/formats/torch_values.h"

// The archive holds FOLDER/data.pkl, FOLDER/byteorder, FOLDER/version and FOLDER/data/KEY for each
// storage; the pickle names a storage by the persistent id ("storage", type, KEY, device, elements)
// and makes a tensor by torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, ...).
// https://docs.pytorch.org/docs/stable/notes/serialization.html

namespace gallop::formats {
namespace {

using Kind = PickleValue::Kind;

/// What a part of the file is, told by its own items only.
struct Outline {
  bool tensors = false;  ///< a dictionary of tensors, perhaps with numpy arrays among them
  bool arrays = false;   ///< a dictionary of numpy arrays only
};

Outline outline_of(const PickleValue& value) {
  if (value.kind != Kind::dict || value.items.empty()) return {};
  Outline outline{.arrays = true};
  for (size_t i = 0; i < value.items.size(); i += 2) {
    const PickleValue& item = *value.items[i + 1];
    const bool tensor = is_tensor(item);
    if (value.items[i]->kind != Kind::text || !(tensor || is_array(item))) return {};
    if (tensor) outline = {.tensors = true};
  }
  return outline;
}

std::string part_text(const PickleValue& value, const Outline& outline) {
  const std::string count = std::to_string(value.items.size() / 2);
  if (outline.tensors) return count + " tensors";
  if (outline.arrays) return count + " numpy arrays";
  return is_tensor(value) ? "a tensor" : is_array(value) ? "a numpy array" : describe(value);
}

/// Where the elements of a tensor lie in its storage, inside of which all must be.
Strided read_layout(const NotedTensor& tensor, int64_t storage_elements) {
  Strided layout;
  layout.offset = count_in_pickle(*tensor.offset, "its offset");
  layout.shape = shape_in_pickle(*tensor.shape, "its shape");
  layout.strides = shape_in_pickle(*tensor.strides, "its strides");
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

bool begins_with(std::span<const std::byte> bytes, std::string_view prefix) {
  return bytes.size() >= prefix.size() &&
         std::memcmp(bytes.data(), prefix.data(), prefix.size()) == 0;
}

/// The folder that holds everything: that of the one data.pkl.
std::string find_folder(const ZipArchive& archive) {
  constexpr std::string_view pickle = "/data.pkl";
  std::string folder;
  for (const ZipEntry& entry : archive.entries()) {
    require(!entry.name.ends_with("/constants.pkl"),
            "it is a TorchScript program (torch.jit.save): save the state_dict() of what "
            "torch.jit.load gives");
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
  pickle_.emplace(pickle, torch_globals(), what + ": its data.pkl");
}

std::vector<TorchFile::Part> TorchFile::parts() const {
  const PickleValue& root = pickle_->root();
  SeenValues seen;
  std::map<const PickleValue*, Outline> known;  // one value may be there under many keys
  const auto part_of = [&](std::string key, const PickleValue& value) {
    auto outline = known.find(&value);
    if (outline == known.end()) outline = known.emplace(&value, outline_of(value)).first;
    // Arrays alone are rather statistics than weights, but the whole of a file is what it has.
    const bool whole = &value == &root;
    return Part{std::move(key), part_text(value, outline->second),
                outline->second.tensors || (whole && outline->second.arrays),
                unknown_globals(value, seen)};
  };
  const Outline whole = outline_of(root);
  if (root.kind != Kind::dict || whole.tensors || whole.arrays) return {part_of("", root)};
  std::vector<Part> parts;
  for (size_t i = 0; i < root.items.size(); i += 2) {
    const std::string key = root.items[i]->kind == Kind::text ? std::string(root.items[i]->text)
                                                              : describe(*root.items[i]);
    parts.push_back(part_of(key, *root.items[i + 1]));
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
  require(weights->kind == Kind::dict, where, " is ", part_text(*weights, {}),
          ", no dictionary of tensors",
          weights->kind == Kind::object ? ": save its state_dict() instead" : "");
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
  if (is_array(value)) return array(name, value);
  const std::optional<NotedTensor> noted = noted_tensor(value);
  require(noted.has_value(), "it is ", describe(value), ", no tensor",
          value.kind == Kind::call || value.kind == Kind::object
              ? ": a value of a kind that is not read, since nothing of a file is ever executed"
              : "");
  const Storage from = storage(*noted->storage, noted->dtype);
  const size_t size = size_of(from.dtype);
  const Strided layout = read_layout(*noted, static_cast<int64_t>(from.data.size() / size));
  return view(name, from, layout);
}

TensorView TorchFile::array(const std::string& name, const PickleValue& value) {
  const NotedArray noted = *noted_array(value);
  Storage from{noted.dtype, std::as_bytes(std::span(noted.data))};
  if (noted.latin1) {
    count_copy(noted.data.size());
    from.data = copies_.emplace_back(bytes_of_latin1(noted.data));
  }
  const std::optional<uint64_t> bytes = byte_size(noted.shape, noted.dtype);
  require(bytes && *bytes == from.data.size(), "its shape ", shape_text(noted.shape), " of ",
          name_of(noted.dtype), " does not fit its ", from.data.size(), " bytes of elements");
  Strided layout{.shape = noted.shape};
  layout.strides.resize(layout.shape.size());
  const size_t rank = layout.shape.size();
  for (size_t i = 0; i < rank; ++i) {
    const size_t d = noted.by_columns ? i : rank - 1 - i;
    layout.strides[d] = layout.elements;
    layout.elements *= layout.shape[d];
  }
  return view(name, from, layout);
}

TensorView TorchFile::view(const std::string& name, const Storage& from, const Strided& layout) {
  const size_t size = size_of(from.dtype);
  TensorView view{name, from.dtype, layout.shape, {}};
  if (layout.elements == 0) return view;
  if (layout.row_by_row()) {
    view.data = from.data.subspan(static_cast<size_t>(layout.offset) * size,
                                  static_cast<size_t>(layout.elements) * size);
  } else {
    count_copy(static_cast<size_t>(layout.elements) * size);
    view.data = copies_.emplace_back(gather(layout, from.data, size));
  }
  return view;
}

// Many views of one storage could ask for much more than the file has.
void TorchFile::count_copy(size_t bytes) {
  copied_ += bytes;
  require(copied_ <= size_, "copies of what does not lie row by row would up to here take ",
          copied_, " bytes, more than the whole file: save it after .contiguous()");
}

TorchFile::Storage TorchFile::storage(const PickleValue& value, const PickleValue* dtype) {
  require(value.kind == Kind::persistent && value.items[0]->kind == Kind::tuple &&
              value.items[0]->items.size() == 5,
          "its storage is ", describe(value), " of an unknown form");
  const auto& id = value.items[0]->items;
  require(id[0]->kind == Kind::text && id[0]->text == "storage" && id[2]->kind == Kind::text,
          "its storage is named in an unknown form");
  // A storage without a type counts bytes, and the tensor says what they are.
  const bool untyped = dtype != nullptr && id[1]->is_global("torch.storage.UntypedStorage");
  const PickleValue& named = untyped ? *dtype : *id[1];
  const std::optional<DType> type = torch_dtype(named);
  require(type.has_value(), "its elements are ", describe(named),
          ", not of a type that safetensors has here: convert it first, for example by .float()");
  const std::string_view key = id[2]->text;
  auto known = checked_.find(key);
  if (known == checked_.end()) {
    const ZipEntry* entry = archive_->find(folder_ + "data/" + std::string(key));
    require(entry != nullptr, "its storage ", in_quotes(key), " is not in the file");
    known = checked_.emplace(key, archive_->checked(*entry)).first;
  }
  const size_t counted = untyped ? 1 : size_of(*type), bytes = known->second.size();
  const auto elements = static_cast<uint64_t>(count_in_pickle(*id[4], "the size of its storage"));
  require(bytes % size_of(*type) == 0 && bytes / counted == elements, "its storage ",
          in_quotes(key), " has ", bytes, " bytes, not ", elements, " elements of ",
          untyped ? "one byte" : name_of(*type));
  return {*type, known->second};
}

}  // namespace gallop::formats
