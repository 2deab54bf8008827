#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gallop/config/schema.h"
#include "gallop/nn/needs.h"
#include "gallop/sparse/choice/routing_record.h"

namespace gallop::sparse {

/// The sum over the layers that have a kind of loss with the same weight and choose from the same
/// kind of thing.
struct LossTotal {
  std::string kind;  ///< with "heads_" before it for heads where experts have that kind, too
  at::Tensor value;
  double weight = 0;
  /// What is logged beside it, under "<kind>_<name>".
  std::vector<std::pair<std::string, at::Tensor>> scalars = {};
  std::vector<PendingUpdate> pending = {};  ///< of the loss's own state
};

/// A loss that reads the routing of one layer, or of all layers together. The total of a kind is
/// the sum over layers, or its joint value; it is logged under the kind's name without its weight,
/// see LossTotal.
class SparseLoss {
 public:
  static constexpr const char* category = "sparse-loss";
  struct Args {
    int64_t layers = 1;              ///< sparse layers of the model
    nn::Module* layer = nullptr;     ///< the one that has the loss
    Choice choice = Choice::expert;  ///< what its tokens choose from
  };
  virtual ~SparseLoss() = default;
  virtual std::string kind() const = 0;
  /// Factor in the total loss; a kind of weight 0 is not built.
  virtual double weight() const = 0;
  /// Whether the router must carry a head that predicts the training target.
  virtual bool needs_head() const { return false; }
  /// What the router or the selection must show (Router::shows); their names in
  /// RoutingRecord::extras.
  virtual std::vector<std::string> needs() const { return {}; }
  /// What the model must give.
  virtual std::vector<nn::Given> needs_given() const { return {}; }
  /// The layer's share, a scalar with a graph; target_BLH is the training target in token layout.
  virtual at::Tensor value(const RoutingRecord& record, const at::Tensor& target_BLH) const = 0;
  /// The total of all layers of this kind, for one that looks at them together; undefined in
  /// others.
  virtual at::Tensor joint_value(const std::vector<const RoutingRecord*>& records) const;
  /// Adds to the total of all its layers what a loss with a state of its own has to say: a factor,
  /// numbers for the log, what the step should remember. The state itself is a buffer that the
  /// layers of the model share (nn::Module::shared_part); losses/adaptive_l1.cpp is an example.
  virtual void complete(const std::vector<const RoutingRecord*>& records, LossTotal& total) const;
};

/// A loss that is a function of the record alone.
class RecordLoss : public SparseLoss {
 public:
  using Value = std::function<at::Tensor(const RoutingRecord& record)>;
  RecordLoss(std::string kind, double weight, Value value, std::vector<std::string> needs = {},
             std::vector<nn::Given> given = {})
      : kind_(std::move(kind)),
        weight_(weight),
        value_(std::move(value)),
        needs_(std::move(needs)),
        given_(std::move(given)) {}
  std::string kind() const override { return kind_; }
  double weight() const override { return weight_; }
  std::vector<std::string> needs() const override { return needs_; }
  std::vector<nn::Given> needs_given() const override { return given_; }
  at::Tensor value(const RoutingRecord& record, const at::Tensor&) const override {
    return value_(record);
  }

 private:
  std::string kind_;
  double weight_;
  Value value_;
  std::vector<std::string> needs_;
  std::vector<nn::Given> given_;
};

/// The [model.mlp.losses] table: one sub-table a registered kind, all off by default.
struct SparseLossesConfig : config::Fields<SparseLossesConfig> {
  std::map<std::string, config::Component> kinds;
  void fields(config::Visitor& v) override;
};

/// The kinds whose weight is not 0.
std::vector<std::unique_ptr<SparseLoss>> make_losses(const SparseLossesConfig& config,
                                                     const SparseLoss::Args& args);

/// Throws Error for a loss that needs what is not among `shown`, with the layer, the loss and `by`:
/// "the attention 'moh' does not show".
void require_shown(const std::string& layer, const std::vector<std::unique_ptr<SparseLoss>>& losses,
                   const std::vector<std::string>& shown, const std::string& by);

/// What a layer with these losses needs of its model for them.
std::vector<nn::Need> needs_of(const std::vector<std::unique_ptr<SparseLoss>>& losses);

/// The losses of a training forward in the order in which layers name them.
std::vector<LossTotal> total_losses(const std::vector<RoutingRecord>& records,
                                    const at::Tensor& target_BLH);

}  // namespace gallop::sparse
