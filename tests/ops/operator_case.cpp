#include "tests/ops/operator_case.h"

#include <ATen/ops/empty.h>

#include <sstream>

#include "gallop/base/random.h"
#include "gallop/ops/activation.h"
#include "gallop/ops/linear.h"

namespace gallop::testing {

namespace {

template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

OperatorCase linear_case(int64_t M, int64_t K, int64_t N, bool bias, bool activate) {
  OperatorCase c;
  c.name = text(activate ? "linear_gelu " : "linear ", M, "x", K, "->", N, bias ? "" : " no bias");
  c.inputs = {random("x", {M, K}), random("w", {N, K}, 0.1)};
  if (bias) c.inputs.push_back(random("b", {N}));
  const auto with = [](auto* function) {
    return [function](const Tensors& in) {
      return function(in[0], in[1], in.size() > 2 ? in[2] : at::Tensor());
    };
  };
  c.op = with(activate ? ops::linear_gelu : ops::linear);
  c.reference = with(activate ? ops::linear_gelu_reference : ops::linear_reference);
  c.flops = 2.0 * static_cast<double>(M * K * N);
  c.bytes = 4.0 * static_cast<double>(M * K + N * K + M * N);
  return c;
}

OperatorCase gelu_case(int64_t rows, int64_t width) {
  OperatorCase c;
  c.name = text("gelu_tanh ", rows, "x", width);
  c.inputs = {random("x", {rows, width}, 3)};
  c.op = [](const Tensors& in) { return ops::gelu_tanh(in[0]); };
  c.reference = [](const Tensors& in) { return ops::gelu_tanh_reference(in[0]); };
  c.bytes = 8.0 * static_cast<double>(rows * width);
  return c;
}

}  // namespace

at::Tensor random(const std::string& name, at::IntArrayRef shape, double scale) {
  at::Tensor x = at::empty(shape, at::TensorOptions(at::kFloat));
  fill_normal(std::span(x.mutable_data_ptr<float>(), x.numel()),
              {.purpose = "test", .sample = hash_name(name)});
  return x.mul_(scale);
}

std::vector<OperatorCase> linear_cases() {
  std::vector<OperatorCase> cases;
  for (const bool activate : {false, true}) {
    cases.push_back(linear_case(1, 1, 1, true, activate));
    cases.push_back(linear_case(5, 8, 16, true, activate));
    cases.push_back(linear_case(7, 13, 19, false, activate));
    cases.push_back(linear_case(97, 45, 33, true, activate));
    cases.push_back(linear_case(200, 330, 70, true, activate));   // two panels deep
    cases.push_back(linear_case(1100, 17, 50, true, activate));   // two chunks of rows
    cases.push_back(linear_case(130, 270, 400, true, activate));  // tiles of the weight gradient
  }
  return cases;
}

std::vector<OperatorCase> linear_benchmarks() {
  std::vector<OperatorCase> cases;
  // The default recipe: 128 images of 49 tokens, width 128.
  for (const auto& [K, N] : {std::pair{128, 384}, {128, 128}, {128, 512}, {512, 128}}) {
    cases.push_back(linear_case(6272, K, N, true, false));
  }
  cases.push_back(linear_case(6272, 128, 512, true, true));
  cases.push_back(linear_case(128, 128, 768, true, false));  // its modulations
  // Size S at 256 tokens, batch 8.
  for (const auto& [K, N] : {std::pair{384, 1152}, {384, 384}, {384, 1536}, {1536, 384}}) {
    cases.push_back(linear_case(2048, K, N, true, false));
  }
  cases.push_back(linear_case(2048, 384, 1536, true, true));
  cases.push_back(linear_case(8, 384, 2304, true, false));
  return cases;
}

std::vector<OperatorCase> activation_cases() {
  return {gelu_case(1, 3), gelu_case(3, 5), gelu_case(7, 8), gelu_case(200, 301)};
}
std::vector<OperatorCase> activation_benchmarks() {
  return {gelu_case(6272, 512), gelu_case(2048, 1536)};
}

}  // namespace gallop::testing
