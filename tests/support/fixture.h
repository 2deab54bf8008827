#pragma once

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "gallop/base/json.h"
#include "tests/reference/cases.h"

namespace gallop::testing {

/// A reference case: inputs `in.*`, parameters `weight.*`, expected outputs `out.*` and gradients
/// `grad.*`, with the hyperparameters and the tolerance in its metadata. A value passes when
/// |got - want| <= atol + rtol * |want|.
class Fixture {
 public:
  explicit Fixture(const test::ReferenceCase& which);
  /// The case with one of its tensors replaced.
  Fixture with(const std::string& full_name, at::Tensor value) const;

  at::Tensor in(const std::string& name) const { return tensor("in." + name); }
  at::Tensor out(const std::string& name) const { return tensor("out." + name); }
  at::Tensor grad(const std::string& name) const { return tensor("grad." + name); }
  at::Tensor weight(const std::string& name) const { return tensor("weight." + name); }
  const std::string& name() const { return name_; }
  /// By full name; throws Error that lists what there is.
  at::Tensor tensor(const std::string& full_name) const;
  bool has(const std::string& full_name) const { return tensors_.contains(full_name); }
  /// The tensors whose names begin with `prefix` ("weight."), without the prefix.
  std::map<std::string, at::Tensor> with_prefix(const std::string& prefix) const;

  /// The names of those tensors, each without the prefix, in order.
  std::vector<std::string> names_with_prefix(const std::string& prefix) const;

  const Json& config() const { return config_; }
  /// The number in a text of the config where the parenthesis of a regular expression stands: files
  /// write formulas with their constants ("0.01*mean entropy + ..."). Throws Error if there is
  /// none.
  double number_in(const std::string& key, const std::string& pattern) const;
  /// Fails the running test unless the config has this value for what the engine has no setting
  /// for; a config that does not mention it passes.
  void expect_constant(const std::string& key, const Json& value) const;
  /// Any other metadata string; throws Error if absent.
  const std::string& metadata(const std::string& key) const;
  double rtol() const { return rtol_; }
  double atol() const { return atol_; }

  /// Fails the running test with the worst element unless `got` has the shape of the named tensor
  /// ("out.x", "grad.x") and agrees with it within the file's tolerance.
  void expect_close(const at::Tensor& got, const std::string& full_name) const;
  /// The same against a part of an expected tensor; `label` is for the message and counts as
  /// checked.
  void expect_close(const at::Tensor& got, const at::Tensor& want,
                    const std::string& full_name) const;
  /// Fails unless every `out.*` and `grad.*` of the file has been through expect_close, those named
  /// here aside: what another component than the one under test computes.
  void expect_all_checked(const std::set<std::string>& except = {}) const;
  /// What has been through expect_close.
  const std::set<std::string>& checked() const { return checked_; }

 private:
  std::string name_;
  std::map<std::string, at::Tensor> tensors_;
  std::map<std::string, std::string> metadata_;
  Json config_;
  double rtol_ = 0, atol_ = 0;
  mutable std::set<std::string> checked_;
};

/// Fails the running test with the worst element unless the shapes are equal and every element
/// passes |got - want| <= atol + rtol * |want|; a NaN passes only where a NaN is expected.
void expect_close(const at::Tensor& got, const at::Tensor& want, double rtol, double atol,
                  const std::string& label);

/// Thrown by leave_out.
struct LeftOut {
  std::string why;
};
/// Leaves a case out of a test whose kind it has: what the test is about is not in it. It is said,
/// and a test without any other case counts as skipped.
[[noreturn]] void leave_out(const std::string& why);

using CaseBody = void (*)(const Fixture&);

/// Runs a body on the cases below a folder that have the kind. What fails, an exception too, says
/// which file it was. Without such a file the running test is skipped and says so.
void run_cases(const std::string& kind, CaseBody body, const std::filesystem::path& folder);

/// A test that every case of a kind goes through.
struct CaseTest {
  std::string name, kind;
  CaseBody body;
};
/// All of this program.
std::vector<CaseTest>& case_tests();

struct RegisterCaseTest {
  RegisterCaseTest(std::string name, std::string kind, CaseBody body) {
    case_tests().push_back({std::move(name), std::move(kind), body});
  }
};

}  // namespace gallop::testing

// NOLINTBEGIN(cppcoreguidelines-macro-usage): GoogleTest's TEST is a macro too.
/// A test, its body with a `const Fixture& fixture`, that runs on every reference case of a kind
/// ("routing/selection"), in tests/data/fixtures or where GALLOP_FIXTURES says. Names of suites end
/// in Cases, so that all such tests can be chosen together.
#define REFERENCE_TEST(suite, test_name, kind)                                                    \
  static void suite##_##test_name##_on(const ::gallop::testing::Fixture& fixture);                \
  static const ::gallop::testing::RegisterCaseTest suite##_##test_name##_registered{              \
      #suite "." #test_name, kind, &suite##_##test_name##_on};                                    \
  TEST(suite, test_name) {                                                                        \
    static_assert(std::string_view(#suite).ends_with("Cases"));                                   \
    ::gallop::testing::run_cases(kind, &suite##_##test_name##_on, ::gallop::test::case_folder()); \
  }                                                                                               \
  static void suite##_##test_name##_on([[maybe_unused]] const ::gallop::testing::Fixture& fixture)
// NOLINTEND(cppcoreguidelines-macro-usage)
