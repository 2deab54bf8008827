#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "gallop/config/schema.h"

namespace gallop::data {

/// Where data have no test split of their own, a share of them becomes one: of each n samples in
/// file order, n = 1 / share rounded, the first whose class keeps a sample to train. Where each
/// class has enough of them these are the samples 0, n, 2n, ...
struct HeldOut {
  double share = 0.05;

  /// Lists the field `held_out`.
  void field(config::Visitor& v);
  int64_t every() const;

  /// The positions of both splits, in order.
  struct Parts {
    std::vector<int64_t> train, test;
    /// No class could spare a sample: `test` is `train`.
    bool shared = false;

    const std::vector<int64_t>& of(const std::string& split) const {
      return split == "test" ? test : train;
    }
    /// For DatasetInfo: how they were parted, and what a person should know of it, if anything.
    std::string detail(const HeldOut& rule) const;
    std::vector<std::string> notices() const;
  };
  /// How `count` samples part. `label_of` gives the class of a position; without it, all are of
  /// one.
  Parts parts(int64_t count, const std::function<int64_t(int64_t)>& label_of = {}) const;
};

}  // namespace gallop::data
