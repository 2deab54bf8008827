#include "tests/support/fixture.h"

#include <gtest/gtest.h>

#include <cmath>
#include <iostream>
#include <regex>
#include <sstream>

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

Fixture::Fixture(const test::ReferenceCase& which) : name_(which.name) {
  const formats::SafetensorsReader reader(which.file);
  for (const auto& view : reader.tensors()) tensors_.emplace(view.name, nn::to_tensor(view));
  metadata_ = {reader.metadata().begin(), reader.metadata().end()};
  config_ = Json::parse(metadata("config"), name_ + " config");
  rtol_ = std::stod(metadata("rtol"));
  atol_ = std::stod(metadata("atol"));
}

Fixture Fixture::with(const std::string& full_name, at::Tensor value) const {
  require(has(full_name), "case ", name_, " has no tensor '", full_name, "' to be replaced");
  Fixture changed = *this;
  changed.tensors_[full_name] = std::move(value);
  changed.checked_.clear();
  return changed;
}

at::Tensor Fixture::tensor(const std::string& full_name) const {
  const auto found = tensors_.find(full_name);
  if (found != tensors_.end()) return found->second;
  std::string known;
  for (const auto& entry : tensors_) known += " " + entry.first;
  fail("case ", name_, " has no tensor '", full_name, "'; it has:", known);
}

std::map<std::string, at::Tensor> Fixture::with_prefix(const std::string& prefix) const {
  std::map<std::string, at::Tensor> result;
  for (const auto& [name, tensor] : tensors_)
    if (name.starts_with(prefix)) result.emplace(name.substr(prefix.size()), tensor);
  return result;
}

std::vector<std::string> Fixture::names_with_prefix(const std::string& prefix) const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : with_prefix(prefix)) names.push_back(name);
  return names;
}

double Fixture::number_in(const std::string& key, const std::string& pattern) const {
  const std::string& text = config_.at(key).as_string();
  std::smatch found;
  require(std::regex_search(text, found, std::regex(pattern)) && found.size() == 2, "case ", name_,
          ": its config says ", key, " = \"", text, "\", where the test looks for ", pattern);
  return std::stod(found[1]);
}

void Fixture::expect_constant(const std::string& key, const Json& value) const {
  const Json* said = config_.find(key);
  if (said == nullptr) return;
  const bool same = said->is_number() && value.is_number() ? said->as_double() == value.as_double()
                                                           : said->dump() == value.dump();
  EXPECT_TRUE(same) << name_ << " has " << key << " = " << said->dump() << "; here it is "
                    << value.dump() << " always";
}

const std::string& Fixture::metadata(const std::string& key) const {
  const auto found = metadata_.find(key);
  require(found != metadata_.end(), "case ", name_, " has no metadata '", key, "'");
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
    if (g[i] == w[i] || (std::isnan(g[i]) && std::isnan(w[i]))) continue;
    double error = std::abs(g[i] - w[i]);
    if (std::isnan(error) || std::isinf(bound)) error = INFINITY;
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

void leave_out(const std::string& why) { throw LeftOut{why}; }

std::vector<CaseTest>& case_tests() {
  static std::vector<CaseTest> tests;
  return tests;
}

void run_cases(const std::string& kind, CaseBody body, const std::filesystem::path& folder) {
  const auto cases = test::cases_in(folder, kind);
  if (cases.empty()) GTEST_SKIP() << "no case of the kind " << kind << " in " << folder;
  std::string left_out;
  size_t ran = 0;
  for (const test::ReferenceCase& which : cases) {
    SCOPED_TRACE("reference case " + which.name + " of the kind " + kind + ": " +
                 which.file.string());
    try {
      body(Fixture(which));
      ++ran;
    } catch (const LeftOut& reason) {
      left_out += "\n  " + which.name + ": " + reason.why;
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
      ++ran;
    }
  }
  if (left_out.empty()) return;
  if (ran == 0) GTEST_SKIP() << "no case to run on:" << left_out;
  std::cout << "left out:" << left_out << "\n";
}

}  // namespace gallop::testing
