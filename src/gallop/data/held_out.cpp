#include "gallop/data/held_out.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <utility>

namespace gallop::data {

void HeldOut::field(config::Visitor& v) {
  v.field(
      "held_out", share,
      "share of the samples that is the test split where the data have none: every n-th in file "
      "order from the first, n = 1 / share rounded; a class keeps at least one sample to train",
      {.min = 0, .max = 0.5, .open_min = true});
}

int64_t HeldOut::every() const {
  constexpr double most = 1e15;  // so that a position plus this is a position
  return std::llround(std::min(1.0 / share, most));
}

HeldOut::Parts HeldOut::parts(int64_t count,
                              const std::function<int64_t(int64_t)>& label_of) const {
  const auto label = [&](int64_t i) { return label_of ? label_of(i) : 0; };
  std::unordered_map<int64_t, int64_t> left;  // samples of a class that are not held out
  for (int64_t i = 0; i < count; ++i) ++left[label(i)];
  Parts result;
  bool held = false;
  for (int64_t i = 0; i < count; ++i) {
    if (i % every() == 0) held = false;
    int64_t& of_class = left[label(i)];
    if (held || of_class == 1) {
      result.train.push_back(i);
    } else {
      --of_class;
      held = true;
      result.test.push_back(i);
    }
  }
  result.shared = result.test.empty() && count > 0;
  if (result.shared) result.test = result.train;
  return result;
}

std::string HeldOut::Parts::detail(const HeldOut& rule) const {
  return shared ? "nothing held out" : "1 in " + std::to_string(rule.every()) + " held out";
}

std::vector<std::string> HeldOut::Parts::notices() const {
  if (!shared) return {};
  std::string notice =
      train.size() == 1 ? "there is a single sample" : "each class has a single sample";
  notice.append(
      ", and that is trained on: the test split is the training samples, so the held-out loss says "
      "how well they are known by heart");
  return {std::move(notice)};
}

}  // namespace gallop::data
