#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace gallop::models {

/// Where a tensor of a published release lies here: a tensor of its own, or one expert's part of a
/// stacked one.
struct OurName {
  std::string name;  ///< empty: a constant that the recipe states instead
  std::optional<int64_t> expert;
};

/// The names that one published release gives the tensors of a family. Each is a file of the
/// family's folder; the family says which it reads (Model::adapters).
class NameAdapter {
 public:
  static constexpr const char* category = "names";
  struct Args {};
  virtual ~NameAdapter() = default;
  /// Of a name of the release, after any prefix such as "blocks.0."; absent for one that is the
  /// same here.
  virtual std::optional<OurName> our_name(const std::string& theirs) const = 0;
};

/// An adapter that is a list of endings and what stands here in their place.
class NameRules : public NameAdapter {
 public:
  /// `#` is the number of an expert. What a release keeps as one module and is a stack here
  /// (`shared`) becomes the first of a stack of one.
  struct Rule {
    std::string theirs, ours;
    bool shared = false;
  };
  explicit NameRules(std::vector<Rule> rules) : rules_(std::move(rules)) {}
  std::optional<OurName> our_name(const std::string& theirs) const override;

 private:
  std::vector<Rule> rules_;
};

/// Throws Error that lists the known ones, and names the nearest.
std::unique_ptr<NameAdapter> name_adapter(const std::string& kind);

/// Whether a name among these is one of the release.
bool has_names_of(const NameAdapter& adapter, const std::map<std::string, at::Tensor>& tensors);

/// Tensors under the names that the models here have, the experts of a layer stacked; what has no
/// name of the release stays as it is. Throws Error where experts are missing or differ in shape.
std::map<std::string, at::Tensor> with_our_names(const NameAdapter& adapter,
                                                 std::map<std::string, at::Tensor> tensors);

}  // namespace gallop::models
