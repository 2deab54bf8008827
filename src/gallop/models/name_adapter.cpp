#include "gallop/models/name_adapter.h"

#include <ATen/ops/stack.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "gallop/base/error.h"
#include "gallop/base/number.h"
#include "gallop/config/registry.h"

namespace gallop::models {

namespace {

std::optional<OurName> translate(const NameRules::Rule& rule, std::string_view name) {
  const std::string_view theirs = rule.theirs;
  const size_t hash = theirs.find('#');
  const std::string_view head = theirs.substr(0, hash);
  std::optional<int64_t> expert;
  if (rule.shared) expert = 0;
  if (hash != std::string_view::npos) {
    const std::string_view tail = theirs.substr(hash + 1);
    if (!name.ends_with(tail)) return std::nullopt;
    name.remove_suffix(tail.size());
    const std::string_view digits = name.substr(name.find_last_not_of("0123456789") + 1);
    expert = whole_number<int64_t>(digits);
    if (!expert) return std::nullopt;
    name.remove_suffix(digits.size());
  }
  if (!name.ends_with(head)) return std::nullopt;
  name.remove_suffix(head.size());
  if (!name.empty() && name.back() != '.') return std::nullopt;
  const std::string prefix = rule.ours.empty() ? "" : std::string(name);
  return OurName{prefix + rule.ours, expert};
}

at::Tensor stack(const std::string& name, const std::map<int64_t, at::Tensor>& experts) {
  const int64_t last = experts.rbegin()->first;
  require(last + 1 == static_cast<int64_t>(experts.size()), name, ": the weights have ",
          experts.size(), " experts, and the last one is number ", last,
          ": some are missing from the file");
  std::vector<at::Tensor> rows;
  for (const auto& [expert, tensor] : experts) {
    const at::Tensor& first = experts.begin()->second;
    require(tensor.sizes() == first.sizes(), name, ": expert ", expert, " has the shape ",
            tensor.sizes(), ", and expert 0 ", first.sizes());
    rows.push_back(tensor);
  }
  return at::stack(rows);
}

}  // namespace

std::optional<OurName> NameRules::our_name(const std::string& theirs) const {
  for (const Rule& rule : rules_) {
    if (auto found = translate(rule, theirs)) return found;
  }
  return std::nullopt;
}

std::unique_ptr<NameAdapter> name_adapter(const std::string& kind) {
  return config::make<NameAdapter>(config::Component(NameAdapter::category, kind), {});
}

bool has_names_of(const NameAdapter& adapter, const std::map<std::string, at::Tensor>& tensors) {
  return std::any_of(tensors.begin(), tensors.end(),
                     [&](const auto& entry) { return adapter.our_name(entry.first).has_value(); });
}

std::map<std::string, at::Tensor> with_our_names(const NameAdapter& adapter,
                                                 std::map<std::string, at::Tensor> tensors) {
  std::map<std::string, at::Tensor> ours;
  std::map<std::string, std::map<int64_t, at::Tensor>> experts;
  const auto add = [&](const std::string& name, at::Tensor tensor) {
    require(ours.emplace(name, std::move(tensor)).second, name,
            " is in the weights twice, once under an official name");
  };
  for (auto& [name, tensor] : tensors) {
    const auto found = adapter.our_name(name);
    if (found && found->expert) {
      const auto added = experts[found->name].emplace(*found->expert, std::move(tensor));
      require(added.second, found->name, ": expert ", *found->expert, " is in the weights twice");
    } else if (!found || !found->name.empty()) {
      add(found ? found->name : name, std::move(tensor));
    }
  }
  tensors.clear();
  while (!experts.empty()) {
    const auto layer = experts.extract(experts.begin());  // each is let go once it is stacked
    add(layer.key(), stack(layer.key(), layer.mapped()));
  }
  return ours;
}

}  // namespace gallop::models
