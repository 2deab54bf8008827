#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "gallop/formats/pickle.h"
#include "gallop/formats/safetensors.h"

namespace gallop::formats {

/// The globals of pickles that are understood: those that torch.load(weights_only=True) takes,
/// numpy's arrays and scalars, and plain data of Python's library.
std::span<const PickleGlobal> torch_globals();

using SeenValues = std::unordered_set<const PickleValue*>;
/// How many names of unknown globals are told at most.
constexpr size_t max_unknown = 16;

/// The names of the globals in `value` and all that it holds which are not among torch_globals(),
/// each once, in the order met, the first max_unknown of them; empty if everything is understood.
/// Values in `seen` are passed over, and added to it, so that many parts of a file are walked
/// through in the time of one.
std::vector<std::string> unknown_globals(const PickleValue& value, SeenValues& seen);

/// A tensor as a pickle notes it: arguments of torch._utils._rebuild_tensor and its successors.
struct NotedTensor {
  const PickleValue* storage;
  const PickleValue *offset, *shape, *strides;
  const PickleValue* dtype;  ///< null pointer: that of the storage
};

/// The tensor that a value would make, through torch.nn.Parameter and subclasses of Tensor; nothing
/// for what is no strided tensor. Throws Error for a tensor of too few arguments.
std::optional<NotedTensor> noted_tensor(const PickleValue& value);
/// Whether there is one, in whatever form its arguments are.
bool is_tensor(const PickleValue& value);

/// The type of torch.FloatStorage, torch.float32, ...; nothing for what has no form in safetensors,
/// torch.UntypedStorage included.
std::optional<DType> torch_dtype(const PickleValue& global);

/// The integers of a shape: a tuple, or torch.Size of one. Throws Error that names `what` for
/// another value, an integer below 0 and more than 8 dimensions.
std::vector<int64_t> shape_in_pickle(const PickleValue& value, const char* what);
/// One integer, at least 0.
int64_t count_in_pickle(const PickleValue& value, const char* what);

/// An array or a scalar of numpy.
struct NotedArray {
  DType dtype;
  std::vector<int64_t> shape;
  bool by_columns = false;
  std::string_view data;  ///< its elements
  bool latin1 = false;    ///< `data` is UTF-8 text in which a code point below 256 is a byte
};

/// Nothing for what is no array of numpy. Throws Error for arrays that safetensors has no form for:
/// of objects, texts, records, dates, complex numbers, and of another byte order.
std::optional<NotedArray> noted_array(const PickleValue& value);
/// Whether the value would be an array or a scalar of numpy, of whatever type.
bool is_array(const PickleValue& value);

/// The bytes that a text stands for, a code point below 256 each; throws Error for other texts.
std::vector<std::byte> bytes_of_latin1(std::string_view text);

}  // namespace gallop::formats
