#include "gallop/nn/tensor_io.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <cstring>
#include <memory>

#include "gallop/base/error.h"

namespace gallop::nn {
namespace {

using formats::DType;

constexpr std::pair<DType, c10::ScalarType> kTypes[] = {
    {DType::BOOL, c10::ScalarType::Bool},     {DType::U8, c10::ScalarType::Byte},
    {DType::I8, c10::ScalarType::Char},       {DType::I16, c10::ScalarType::Short},
    {DType::U16, c10::ScalarType::UInt16},    {DType::F16, c10::ScalarType::Half},
    {DType::BF16, c10::ScalarType::BFloat16}, {DType::I32, c10::ScalarType::Int},
    {DType::U32, c10::ScalarType::UInt32},    {DType::F32, c10::ScalarType::Float},
    {DType::F64, c10::ScalarType::Double},    {DType::I64, c10::ScalarType::Long},
    {DType::U64, c10::ScalarType::UInt64},
};

c10::ScalarType scalar_type(DType dtype) {
  for (const auto& [ours, torch] : kTypes)
    if (ours == dtype) return torch;
  fail("no tensor type for safetensors type ", formats::name_of(dtype));
}

}  // namespace

at::Tensor to_tensor(const formats::TensorView& view) {
  at::Tensor tensor = at::empty(view.shape, scalar_type(view.dtype));
  require(tensor.nbytes() == view.data.size(), "tensor '", view.name, "' has ", view.data.size(),
          " bytes where its shape and type need ", tensor.nbytes());
  if (!view.data.empty())
    std::memcpy(tensor.mutable_data_ptr(), view.data.data(), view.data.size());
  return tensor;
}

formats::TensorView view_of(const std::string& name, const at::Tensor& contiguous_cpu) {
  const at::Tensor& t = contiguous_cpu;
  require(t.defined(), "tensor '", name, "' is undefined and cannot be written");
  require(t.device().is_cpu() && t.layout() == c10::kStrided && t.is_contiguous(), "tensor '", name,
          "' must be contiguous and on the CPU to be written; it is on ", t.device().str(),
          t.layout() == c10::kStrided && t.is_contiguous() ? "" : " and not contiguous");
  for (const auto& [ours, torch] : kTypes)
    if (torch == t.scalar_type())
      return {name, ours, t.sizes().vec(),
              std::span(static_cast<const std::byte*>(t.const_data_ptr()), t.nbytes())};
  fail("tensor '", name, "' is of type ", c10::toString(t.scalar_type()),
       ", which safetensors does not have");
}

std::map<std::string, at::Tensor> load_tensors(const fs::path& path) {
  const formats::WeightsReader reader(path);
  std::map<std::string, at::Tensor> result;
  for (const auto& view : reader.tensors()) result.emplace(view.name, to_tensor(view));
  return result;
}

std::map<std::string, at::Tensor> map_tensors(
    const std::shared_ptr<const formats::WeightsReader>& reader) {
  std::map<std::string, at::Tensor> result;
  for (const auto& view : reader->tensors()) {
    const auto address = reinterpret_cast<uintptr_t>(view.data.data());
    const c10::ScalarType type = scalar_type(view.dtype);
    if (view.data.empty() || address % c10::elementSize(type) != 0) {
      result.emplace(view.name, to_tensor(view));
      continue;
    }
    const auto release = [reader, data = view.data](void*) { release_pages(data); };
    result.emplace(view.name, at::from_blob(const_cast<std::byte*>(view.data.data()), view.shape,
                                            release, at::TensorOptions(type)));
  }
  return result;
}

void save_tensors(const fs::path& path,
                  const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                  const formats::Metadata& metadata) {
  write_file_atomically(
      path, [&](OutputFile& file) { save_tensors(file, path.string(), tensors, metadata); });
}

void save_tensors(OutputFile& file, const std::string& what,
                  const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                  const formats::Metadata& metadata) {
  std::vector<at::Tensor> owned;
  std::vector<formats::TensorView> views;
  owned.reserve(tensors.size());
  views.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors) {
    require(tensor.defined(), "tensor '", name, "' is undefined and cannot be written to ", what);
    owned.push_back(tensor.detach().to(c10::kCPU).contiguous());
    views.push_back(view_of(name, owned.back()));
  }
  formats::write_safetensors(file, what, views, metadata);
}

}  // namespace gallop::nn
