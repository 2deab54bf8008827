#include "tests/support/fixture.h"

#include <gtest/gtest.h>

#include <cmath>

#include "gallop/base/error.h"
#include "gallop/nn/tensor_io.h"

namespace gallop::testing {
namespace {

std::string position(int64_t flat, c10::IntArrayRef shape) {
  std::string text;
  for (size_t d = shape.size(); d-- > 0;) {
    text = std::to_string(flat % shape[d]) + (text.empty() ? "" : ", ") + text;
    flat /= shape[d];
  }
  return "[" + text + "]";
}

std::string print(c10::IntArrayRef shape) {
  std::ostringstream text;
  text << shape;
  return text.str();
}

}  // namespace

Fixture::Fixture(const std::string& name) : name_(name) {
  const formats::SafetensorsReader reader(fs::path(GALLOP_TEST_DATA) / "fixtures" /
                                          (name + ".safetensors"));
  for (const auto& view : reader.tensors()) tensors_.emplace(view.name, nn::to_tensor(view));
  metadata_ = {reader.metadata().begin(), reader.metadata().end()};
  config_ = Json::parse(metadata("config"), name + " config");
  rtol_ = std::stod(metadata("rtol"));
  atol_ = std::stod(metadata("atol"));
}

at::Tensor Fixture::tensor(const std::string& full_name) const {
  const auto found = tensors_.find(full_name);
  if (found != tensors_.end()) return found->second;
  std::string known;
  for (const auto& entry : tensors_) known += " " + entry.first;
  fail("fixture ", name_, " has no tensor '", full_name, "'; it has:", known);
}

std::map<std::string, at::Tensor> Fixture::with_prefix(const std::string& prefix) const {
  std::map<std::string, at::Tensor> result;
  for (const auto& [name, tensor] : tensors_)
    if (name.starts_with(prefix)) result.emplace(name.substr(prefix.size()), tensor);
  return result;
}

const std::string& Fixture::metadata(const std::string& key) const {
  const auto found = metadata_.find(key);
  require(found != metadata_.end(), "fixture ", name_, " has no metadata '", key, "'");
  return found->second;
}

void Fixture::expect_close(const at::Tensor& got, const std::string& full_name) const {
  expect_close(got, tensor(full_name), full_name);
}

void Fixture::expect_close(const at::Tensor& got, const at::Tensor& want,
                           const std::string& full_name) const {
  checked_.insert(full_name);
  testing::expect_close(got, want, rtol_, atol_, name_ + " " + full_name);
}

void Fixture::expect_all_checked(const std::set<std::string>& except) const {
  for (const std::string& name : except) {
    EXPECT_TRUE(has(name)) << name_ << " has no " << name << " to be left out";
  }
  for (const auto& [name, tensor] : tensors_) {
    if (!name.starts_with("out.") && !name.starts_with("grad.")) continue;
    if (except.contains(name)) continue;
    EXPECT_TRUE(checked_.contains(name)) << name_ << " " << name << " was not compared";
  }
}

void expect_close(const at::Tensor& got, const at::Tensor& want, double rtol, double atol,
                  const std::string& label) {
  ASSERT_TRUE(got.defined()) << label << " is undefined";
  ASSERT_EQ(got.sizes(), want.sizes())
      << label << ": got shape " << print(got.sizes()) << ", want " << print(want.sizes());
  const at::Tensor got64 = got.detach().to(c10::kCPU).to(c10::kDouble).contiguous();
  const at::Tensor want64 = want.detach().to(c10::kCPU).to(c10::kDouble).contiguous();
  const double* g = got64.const_data_ptr<double>();
  const double* w = want64.const_data_ptr<double>();
  int64_t worst = -1, failures = 0;
  double worst_excess = -1;
  for (int64_t i = 0; i < want64.numel(); ++i) {
    const double bound = atol + rtol * std::abs(w[i]);
    const bool same = g[i] == w[i] || (std::isnan(g[i]) && std::isnan(w[i]));
    double error = same ? 0 : std::abs(g[i] - w[i]);
    if (std::isnan(error) || (std::isinf(bound) && !same)) error = INFINITY;
    if (error <= bound && !std::isinf(error)) continue;
    ++failures;
    const double excess = bound > 0 ? error / bound : INFINITY;
    if (excess > worst_excess || worst < 0) worst = i, worst_excess = excess;
  }
  EXPECT_EQ(failures, 0) << label << " shape " << print(want.sizes()) << ": " << failures << " of "
                         << want64.numel() << " elements differ; worst at "
                         << position(worst, want.sizes()) << ": got " << g[worst] << ", want "
                         << w[worst] << ", error " << std::abs(g[worst] - w[worst]) << " > atol "
                         << atol << " + rtol " << rtol << " * |want|";
}

}  // namespace gallop::testing
