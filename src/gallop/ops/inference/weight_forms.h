#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "gallop/base/error.h"

namespace gallop::ops {

/// Whether a weight [N, K] or [E, N, K] may have another form: contiguous, float32 on the CPU.
inline bool may_have_form(const at::Tensor& weight) {
  return (weight.dim() == 2 || weight.dim() == 3) && weight.is_cpu() &&
         weight.scalar_type() == at::kFloat && weight.is_contiguous();
}

/// Matrices at inference, and beside each the form of it that a product reads, found by its
/// address: one for [N, K], E for a group [E, N, K]. A form is made when it is wanted first. Any
/// thread may read.
template <class Form>
class WeightForms {
 public:
  using Make = std::function<std::vector<Form>(const at::Tensor& weight)>;

  /// Throws Error for a weight that may have no other form. They must not change afterwards: an
  /// operator that finds one changed in place throws Error.
  WeightForms(const std::vector<at::Tensor>& weights, Make make) : make_(std::move(make)) {
    for (const at::Tensor& weight : weights) {
      require(may_have_form(weight),
              "forms of weights are made of contiguous float32 matrices on the CPU, not of ",
              weight.toString(), " ", weight.sizes(), " on ", weight.device());
      entries_.push_back(std::make_unique<Entry>(weight));
      const int64_t E = weight.dim() == 3 ? weight.size(0) : 1;
      const auto* data = weight.const_data_ptr<float>();
      for (int64_t e = 0; e < E && weight.numel() > 0; ++e) {
        places_[data + e * (weight.numel() / E)] = {entries_.back().get(), e};
      }
    }
  }
  void make_all() const {
    for (const auto& entry : entries_) make(*entry);
  }

  /// Numbers in all, and in the weights that an operator has asked for so far.
  int64_t numel() const {
    return sum([](const Entry& entry) { return entry.weight.numel(); });
  }
  int64_t numel_used() const {
    return sum([](const Entry& entry) { return entry.used ? entry.weight.numel() : 0; });
  }

  /// The forms of each weight: one for [N, K], which may be a part of a group. Empty unless all are
  /// here.
  std::vector<std::span<const Form>> find(at::TensorList weights) const {
    std::vector<const Place*> places;
    for (const at::Tensor& weight : weights) {
      places.push_back(place_of(weight));
      if (places.back() == nullptr) return {};
    }
    std::vector<std::span<const Form>> found;
    for (size_t i = 0; i < places.size(); ++i) {
      const auto [entry, index] = *places[i];
      require(entry->weight._version() == entry->version, "a weight ", entry->weight.sizes(),
              " was changed after its form for inference was made; make the forms again");
      make(*entry);
      entry->used = true;
      found.push_back(
          std::span(entry->forms).subspan(index, weights[i].dim() == 3 ? entry->forms.size() : 1));
    }
    return found;
  }

 protected:
  /// The sum of number(form) over what has been made.
  template <class Number>
  int64_t sum_of_forms(const Number& number) const {
    return sum([&](const Entry& entry) {
      int64_t total = 0;
      for (const Form& form : entry.forms) total += number(form);
      return total;
    });
  }

 private:
  struct Entry {
    explicit Entry(const at::Tensor& w) : weight(w), version(w._version()) {}
    at::Tensor weight;  // keeps its address from being used again
    int64_t version;
    std::once_flag once;
    std::vector<Form> forms;
    std::atomic<bool> used = false;
  };
  struct Place {
    Entry* entry;
    int64_t index;
  };

  void make(Entry& entry) const {
    std::call_once(entry.once, [&] { entry.forms = make_(entry.weight); });
  }

  const Place* place_of(const at::Tensor& weight) const {
    const int64_t dim = weight.dim();
    if ((dim != 2 && dim != 3) || !weight.is_contiguous()) return nullptr;
    const auto place = places_.find(weight.const_data_ptr());
    if (place == places_.end()) return nullptr;
    const at::Tensor& known = place->second.entry->weight;
    const bool same = dim == 3
                          ? weight.sizes() == known.sizes()
                          : weight.size(0) == known.size(-2) && weight.size(1) == known.size(-1);
    return same ? &place->second : nullptr;
  }

  template <class Number>
  int64_t sum(const Number& number) const {
    int64_t total = 0;
    for (const auto& entry : entries_) total += number(*entry);
    return total;
  }

  Make make_;
  std::vector<std::unique_ptr<Entry>> entries_;
  std::map<const void*, Place> places_;
};

}  // namespace gallop::ops
