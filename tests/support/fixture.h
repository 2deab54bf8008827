#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <set>
#include <string>

#include "gallop/base/json.h"

namespace gallop::testing {

/// A reference case below tests/data/fixtures: inputs `in.*`, parameters `weight.*`, expected
/// outputs `out.*` and gradients `grad.*`, with the hyperparameters and the tolerance in its
/// metadata. A value passes when |got - want| <= atol + rtol * |want|.
class Fixture {
 public:
  /// `name` without extension, for example "diffusion/q_sample".
  explicit Fixture(const std::string& name);

  at::Tensor in(const std::string& name) const { return tensor("in." + name); }
  at::Tensor out(const std::string& name) const { return tensor("out." + name); }
  at::Tensor grad(const std::string& name) const { return tensor("grad." + name); }
  at::Tensor weight(const std::string& name) const { return tensor("weight." + name); }
  /// By full name; throws Error that lists what there is.
  at::Tensor tensor(const std::string& full_name) const;
  bool has(const std::string& full_name) const { return tensors_.contains(full_name); }
  /// The tensors whose names begin with `prefix` ("weight."), without the prefix.
  std::map<std::string, at::Tensor> with_prefix(const std::string& prefix) const;

  const Json& config() const { return config_; }
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

}  // namespace gallop::testing
