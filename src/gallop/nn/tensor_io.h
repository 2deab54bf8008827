#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gallop/formats/safetensors.h"
#include "gallop/formats/shards.h"

namespace gallop::nn {

/// A copy of the tensor on the CPU, of the type with the same name (F32 -> float32, BF16 ->
/// bfloat16, ...). The file may be closed afterwards.
at::Tensor to_tensor(const formats::TensorView& view);

/// The bytes of a tensor under a name, without a copy: the tensor must be contiguous, on the CPU,
/// of a type that safetensors has, and must live as long as the view. Throws Error otherwise.
formats::TensorView view_of(const std::string& name, const at::Tensor& contiguous_cpu);

/// All tensors of a safetensors file, or of shards, by name, copied. Throws Error as
/// formats::WeightsReader does.
std::map<std::string, at::Tensor> load_tensors(const fs::path& path);

/// All tensors of an open file by name, without copies: they lie in the mapped file and are
/// read-only (writing to one ends the process). The memory of each is given back when its last
/// handle goes, so that a model is loaded with little more than one tensor beside it.
std::map<std::string, at::Tensor> map_tensors(
    const std::shared_ptr<const formats::WeightsReader>& reader);

/// Writes the tensors in the given order; those on another device, or not contiguous, are copied
/// first.
void save_tensors(const fs::path& path,
                  const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                  const formats::Metadata& metadata = {});
/// The same into an open file; `what` (its name) begins the text of errors.
void save_tensors(OutputFile& file, const std::string& what,
                  const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                  const formats::Metadata& metadata = {});

}  // namespace gallop::nn
