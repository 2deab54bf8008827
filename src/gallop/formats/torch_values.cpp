#include "gallop/formats/torch_values.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <iterator>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/base/text.h"
#include "gallop/formats/npy.h"

// What torch.load(weights_only=True) takes: torch/_weights_only_unpickler.py. How numpy pickles:
// numpy/_core/src/multiarray/{methods,descriptor,scalartypes}.c.

namespace gallop::formats {
namespace {

using Kind = PickleValue::Kind;
using Use = PickleGlobal::Use;
using Items = std::vector<const PickleValue*>;

constexpr size_t max_rank = 8;

struct TypeName {
  std::string_view global;
  DType dtype;
};
constexpr std::array type_names{
    TypeName{"torch.BoolStorage", DType::BOOL},  TypeName{"torch.ByteStorage", DType::U8},
    TypeName{"torch.CharStorage", DType::I8},    TypeName{"torch.ShortStorage", DType::I16},
    TypeName{"torch.HalfStorage", DType::F16},   TypeName{"torch.BFloat16Storage", DType::BF16},
    TypeName{"torch.IntStorage", DType::I32},    TypeName{"torch.FloatStorage", DType::F32},
    TypeName{"torch.DoubleStorage", DType::F64}, TypeName{"torch.LongStorage", DType::I64},
    TypeName{"torch.bool", DType::BOOL},         TypeName{"torch.uint8", DType::U8},
    TypeName{"torch.int8", DType::I8},           TypeName{"torch.int16", DType::I16},
    TypeName{"torch.uint16", DType::U16},        TypeName{"torch.float16", DType::F16},
    TypeName{"torch.bfloat16", DType::BF16},     TypeName{"torch.int32", DType::I32},
    TypeName{"torch.uint32", DType::U32},        TypeName{"torch.float32", DType::F32},
    TypeName{"torch.float64", DType::F64},       TypeName{"torch.int64", DType::I64},
    TypeName{"torch.uint64", DType::U64},
};

constexpr std::string_view rebuild_from_type = "torch._tensor._rebuild_from_type_v2";

constexpr PickleGlobal known_globals[] = {
    {"collections.OrderedDict", Use::dict},
    {"collections.Counter", Use::dict},
    {"collections.defaultdict", Use::dict},
    {"builtins.dict", Use::dict},
    {"collections.deque", Use::list},
    {"builtins.list", Use::list},
    {"builtins.set", Use::set},
    {"builtins.frozenset", Use::set},
    // Plain data of Python's library.
    {"_codecs.encode", Use::data},
    {"argparse.Namespace", Use::data},
    {"builtins.bool", Use::data},
    {"builtins.bytearray", Use::data},
    {"builtins.bytes", Use::data},
    {"builtins.complex", Use::data},
    {"builtins.float", Use::data},
    {"builtins.int", Use::data},
    {"builtins.range", Use::data},
    {"builtins.slice", Use::data},
    {"builtins.str", Use::data},
    {"builtins.tuple", Use::data},
    {"datetime.date", Use::data},
    {"datetime.datetime", Use::data},
    {"datetime.time", Use::data},
    {"datetime.timedelta", Use::data},
    {"datetime.timezone", Use::data},
    {"decimal.Decimal", Use::data},
    {"fractions.Fraction", Use::data},
    {"pathlib.Path", Use::data},
    {"pathlib.PosixPath", Use::data},
    {"pathlib.PurePath", Use::data},
    {"pathlib.PurePosixPath", Use::data},
    {"pathlib.PureWindowsPath", Use::data},
    {"pathlib.WindowsPath", Use::data},
    {"types.SimpleNamespace", Use::data},
    {"uuid.UUID", Use::data},
    // numpy, before and since version 2.
    {"numpy.dtype", Use::data},
    {"numpy.ndarray", Use::data},
    {"numpy.core.multiarray._reconstruct", Use::data},
    {"numpy.core.multiarray.scalar", Use::data},
    {"numpy.core.numeric._frombuffer", Use::data},
    {"numpy._core.multiarray._reconstruct", Use::data},
    {"numpy._core.multiarray.scalar", Use::data},
    {"numpy._core.numeric._frombuffer", Use::data},
    // PyTorch.
    {"torch.Size", Use::data},
    {"torch.Tensor", Use::data},
    {"torch.device", Use::data},
    {"torch.nn.parameter.Buffer", Use::data},
    {"torch.nn.parameter.Parameter", Use::data},
    {"torch.serialization._get_layout", Use::data},
    {"torch.storage.UntypedStorage", Use::data},
    {"torch.storage.TypedStorage", Use::data},
    {"torch.ComplexFloatStorage", Use::data},
    {"torch.ComplexDoubleStorage", Use::data},
    {"torch.QInt8Storage", Use::data},
    {"torch.QInt32Storage", Use::data},
    {"torch.QUInt8Storage", Use::data},
    {"torch.complex32", Use::data},
    {"torch.complex64", Use::data},
    {"torch.complex128", Use::data},
    {"torch.float8_e4m3fn", Use::data},
    {"torch.float8_e4m3fnuz", Use::data},
    {"torch.float8_e5m2", Use::data},
    {"torch.float8_e5m2fnuz", Use::data},
    {"torch.float8_e8m0fnu", Use::data},
    {"torch.float4_e2m1fn_x2", Use::data},
    {"torch.qint8", Use::data},
    {"torch.qint32", Use::data},
    {"torch.quint8", Use::data},
    {"torch.per_channel_affine", Use::data},
    {"torch.per_channel_affine_float_qparams", Use::data},
    {"torch.per_channel_symmetric", Use::data},
    {"torch.per_tensor_affine", Use::data},
    {"torch.per_tensor_symmetric", Use::data},
    {"torch._utils._rebuild_device_tensor_from_cpu_tensor", Use::data},
    {"torch._utils._rebuild_device_tensor_from_numpy", Use::data},
    {"torch._utils._rebuild_meta_tensor_no_storage", Use::data},
    {"torch._utils._rebuild_nested_tensor", Use::data},
    {"torch._utils._rebuild_parameter", Use::data},
    {"torch._utils._rebuild_parameter_with_state", Use::data},
    {"torch._utils._rebuild_qtensor", Use::data},
    {"torch._utils._rebuild_sparse_tensor", Use::data},
    {"torch._utils._rebuild_tensor", Use::data},
    {"torch._utils._rebuild_tensor_v2", Use::data},
    {"torch._utils._rebuild_tensor_v3", Use::data},
    {"torch._utils._rebuild_wrapper_subclass", Use::data},
    {rebuild_from_type, Use::data},
};

/// What would be called, and with what; null pointers for a value that is no call with a tuple.
struct Called {
  const PickleValue* function = nullptr;
  const Items* arguments = nullptr;

  bool is(std::string_view name) const { return function != nullptr && function->is_global(name); }
  bool is_one_of(std::initializer_list<std::string_view> names) const {
    return std::any_of(names.begin(), names.end(), [&](std::string_view n) { return is(n); });
  }
};

Called called(const PickleValue& value) {
  if (value.kind != Kind::call || value.items[1]->kind != Kind::tuple) return {};
  return {value.items[0], &value.items[1]->items};
}

/// The call that makes the tensor itself: a parameter stands for its first argument, a subclass of
/// Tensor for the function that it hands its arguments to.
Called without_wrappers(const PickleValue& value) {
  constexpr int deepest = 8;
  Called call = called(value);
  for (int depth = 0; depth < deepest; ++depth) {
    if (call.is_one_of(
            {"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"})) {
      if (call.arguments->empty()) return {};
      call = called(*call.arguments->front());
    } else if (call.is(rebuild_from_type)) {
      const Items& arguments = *call.arguments;
      if (arguments.size() < 3 || arguments[2]->kind != Kind::tuple) return {};
      call = {arguments[0], &arguments[2]->items};
    } else {
      break;
    }
  }
  return call;
}

/// A type of numpy as its pickle notes it: numpy.dtype("f4", False, True), then the state
/// (3, "<", None, ...).
DType numpy_dtype(const PickleValue& value) {
  const Called call = called(value);
  require(call.is("numpy.dtype") && !call.arguments->empty() &&
              call.arguments->front()->kind == Kind::text,
          "its type is ", describe(value), ", in an unknown form");
  const std::string_view name = call.arguments->front()->text;
  std::string_view order = "|";
  if (value.items.size() > 2) {
    const PickleValue& state = *value.items[2];
    require(state.kind == Kind::tuple && state.items.size() > 1 &&
                state.items[1]->kind == Kind::text && state.items[1]->text.size() == 1,
            "the byte order of its type is in an unknown form");
    order = state.items[1]->text;
  }
  // One byte has no order, and "=" was never written by a machine of another one.
  if (order == "=" || order == "|") order = name.ends_with('1') ? "|" : "<";
  return dtype_of_numpy(std::string(order) + std::string(name));
}

struct Elements {
  std::string_view data;
  bool latin1 = false;
};

Elements elements_of(const PickleValue& value) {
  if (value.kind == Kind::bytes) return {value.text};
  const Called call = called(value);
  if (call.is_one_of({"builtins.bytes", "builtins.bytearray"})) {
    if (call.arguments->empty()) return {};
    if (call.arguments->front()->kind == Kind::bytes) return {call.arguments->front()->text};
  }
  if (call.is("_codecs.encode") && call.arguments->size() == 2 &&
      (*call.arguments)[0]->kind == Kind::text && (*call.arguments)[1]->kind == Kind::text &&
      (*call.arguments)[1]->text == "latin1")
    return {(*call.arguments)[0]->text, true};
  fail("its elements are ", describe(value), ", not bytes");
}

}  // namespace

std::span<const PickleGlobal> torch_globals() {
  static const std::vector<PickleGlobal> known = [] {
    std::vector<PickleGlobal> list(std::begin(known_globals), std::end(known_globals));
    for (const TypeName& type : type_names) list.push_back({type.global, Use::data});
    return list;
  }();
  return known;
}

std::vector<std::string> unknown_globals(const PickleValue& value, SeenValues& seen) {
  std::vector<std::string> names;
  std::vector<const PickleValue*> left;
  const auto visit = [&](const PickleValue* v) {
    if (seen.insert(v).second) left.push_back(v);
  };
  visit(&value);
  while (!left.empty()) {
    const PickleValue* next = left.back();
    left.pop_back();
    if (next->kind == Kind::global && !next->known) {
      std::string name = name_of_global(*next);
      if (names.size() < max_unknown && std::find(names.begin(), names.end(), name) == names.end())
        names.push_back(std::move(name));
    }
    for (size_t i = next->items.size(); i-- > 0;) visit(next->items[i]);
  }
  return names;
}

bool is_tensor(const PickleValue& value) {
  return without_wrappers(value).is_one_of({"torch._utils._rebuild_tensor",
                                            "torch._utils._rebuild_tensor_v2",
                                            "torch._utils._rebuild_tensor_v3"});
}

std::optional<NotedTensor> noted_tensor(const PickleValue& value) {
  const Called call = without_wrappers(value);
  size_t least = 0, most = 0;
  if (call.is("torch._utils._rebuild_tensor")) {
    least = most = 4;
  } else if (call.is("torch._utils._rebuild_tensor_v2")) {
    least = 6;
    most = 7;
  } else if (call.is("torch._utils._rebuild_tensor_v3")) {
    least = 7;
    most = 8;
  } else {
    return {};
  }
  const Items& arguments = *call.arguments;
  require(arguments.size() >= least && arguments.size() <= most, "it is made from ",
          arguments.size(), " arguments instead of ", least, " to ", most);
  return NotedTensor{arguments[0], arguments[1], arguments[2], arguments[3],
                     least == 7 ? arguments[6] : nullptr};
}

std::optional<DType> torch_dtype(const PickleValue& global) {
  const auto* type = std::find_if(type_names.begin(), type_names.end(),
                                  [&](const TypeName& t) { return global.is_global(t.global); });
  return type == type_names.end() ? std::nullopt : std::optional<DType>(type->dtype);
}

int64_t count_in_pickle(const PickleValue& value, const char* what) {
  require(value.kind == Kind::integer, what, " should be an integer and is ", describe(value));
  require(value.integer >= 0, what, " is ", value.integer, ", below 0");
  return value.integer;
}

std::vector<int64_t> shape_in_pickle(const PickleValue& value, const char* what) {
  // torch.Size((3, 4)) is the tuple.
  const PickleValue* tuple = &value;
  const Called call = called(value);
  if (call.is("torch.Size") && call.arguments->size() == 1) tuple = call.arguments->front();
  require(tuple->kind == Kind::tuple && tuple->items.size() <= max_rank, what,
          " should be a tuple of at most ", max_rank, " integers and is ", describe(*tuple));
  std::vector<int64_t> list;
  for (const PickleValue* item : tuple->items) list.push_back(count_in_pickle(*item, what));
  return list;
}

bool is_array(const PickleValue& value) {
  const Called call = called(value);
  return call.is_one_of({"numpy._core.multiarray._reconstruct", "numpy._core.multiarray.scalar",
                         "numpy._core.numeric._frombuffer", "numpy.core.multiarray._reconstruct",
                         "numpy.core.multiarray.scalar", "numpy.core.numeric._frombuffer"});
}

std::optional<NotedArray> noted_array(const PickleValue& value) {
  if (!is_array(value)) return {};
  const Called call = called(value);
  const Items& arguments = *call.arguments;
  const auto made = [&](const PickleValue& dtype, std::vector<int64_t> shape, bool by_columns,
                        const PickleValue& data) {
    const DType type = numpy_dtype(dtype);  // says more than that its elements are no bytes
    const Elements elements = elements_of(data);
    return NotedArray{type, std::move(shape), by_columns, elements.data, elements.latin1};
  };
  if (call.function->text == "scalar") {
    require(arguments.size() == 2, "a numpy scalar is made from ", arguments.size(),
            " arguments instead of 2");
    return made(*arguments[0], {}, false, *arguments[1]);
  }
  if (call.function->text == "_frombuffer") {
    require(arguments.size() >= 4 && arguments[3]->kind == Kind::text,
            "a numpy array is made from a buffer in an unknown form");
    return made(*arguments[1], shape_in_pickle(*arguments[2], "its shape"),
                arguments[3]->text == "F", *arguments[0]);
  }
  // An empty array whose state (version, shape, type, by columns, elements) follows.
  require(value.items.size() > 2 && value.items[2]->kind == Kind::tuple &&
              value.items[2]->items.size() == 5,
          "a numpy array has no state of a known form");
  const Items& state = value.items[2]->items;
  require(state[3]->kind == Kind::boolean, "a numpy array has no state of a known form");
  return made(*state[2], shape_in_pickle(*state[1], "its shape"), state[3]->integer != 0,
              *state[4]);
}

std::vector<std::byte> bytes_of_latin1(std::string_view text) {
  std::vector<std::byte> bytes;
  bytes.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto first = static_cast<uint8_t>(text[i]);
    if (first < 0x80) {
      bytes.push_back(std::byte{first});
      continue;
    }
    // A code point of 128 to 255 takes two bytes: 110000xx 10xxxxxx.
    const bool is_pair = (first & 0xfc) == 0xc0 && i + 1 < text.size() &&
                         (static_cast<uint8_t>(text[i + 1]) & 0xc0) == 0x80;
    require(is_pair, "its elements are a text with more than bytes in it");
    ++i;
    bytes.push_back(
        static_cast<std::byte>((first & 0x03) << 6 | (static_cast<uint8_t>(text[i]) & 0x3f)));
  }
  return bytes;
}

}  // namespace gallop::formats
