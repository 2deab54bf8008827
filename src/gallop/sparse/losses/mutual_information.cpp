#include "gallop/sparse/losses/mutual_information.h"

#include <ATen/ops/_unique2.h>
#include <ATen/ops/zeros.h>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "gallop/sparse/losses/sparse_loss.h"

namespace gallop::sparse {

at::Tensor joint_probability(const at::Tensor& logits_TE, const at::Tensor& task_T, int64_t tasks) {
  const at::Tensor p_TE = logits_TE.softmax(1);
  return at::zeros({tasks, p_TE.size(1)}, p_TE.options())
      .index_add(0, task_T, p_TE)
      .div(p_TE.size(0));
}

at::Tensor mutual_information(const at::Tensor& joint_KE) {
  // The clamp keeps 0 log 0 and its gradient finite.
  const auto negative_entropy = [](const at::Tensor& p) {
    return p.mul(p.clamp_min(1e-30).log()).sum();
  };
  return negative_entropy(joint_KE)
      .sub(negative_entropy(joint_KE.sum(1)))
      .sub(negative_entropy(joint_KE.sum(0)));
}

namespace {

struct MutualInformationSettings : config::Fields<MutualInformationSettings> {
  double weight = 0;
  std::string task = "label";
  int64_t bins = 8;
  void fields(config::Visitor& v) override {
    v.field("weight", weight, "factor in the total loss, 5e-3 in Mod-Squad", config::at_least(0));
    v.field("task", task,
            "what experts should tell apart: class labels, noise levels, or single tokens",
            {"label", "time", "token"});
    v.field("bins", bins, "equally filled ranges of the time, for task = \"time\"",
            config::at_least(1));
  }
};

// The task of each sample of the batch, 0 .. tasks-1, and how many there are.
std::pair<at::Tensor, int64_t> tasks_of(const MutualInformationSettings& settings,
                                        const RoutingRecord& record) {
  if (settings.task == "time") {
    require(record.timestep_B.defined(), record.layer,
            ": mutual_information of the time needs a model with timesteps");
    const at::Tensor rank_B = record.timestep_B.argsort(true, 0, false).argsort();
    return {rank_B.mul(settings.bins).floor_divide(rank_B.size(0)), settings.bins};
  }
  require(record.label_B.defined(), record.layer,
          ": mutual_information of the labels needs labelled data; choose another task");
  const auto [labels, task_B, counts] = at::_unique2(record.label_B, true, true, false);
  return {task_B, labels.size(0)};
}

at::Tensor value(const MutualInformationSettings& settings, const RoutingRecord& record) {
  const at::Tensor logits_TE = record.logits_BLE.flatten(0, 1);
  if (settings.task == "token") {
    return mutual_information(logits_TE.softmax(1).div(logits_TE.size(0))).neg();
  }
  const auto [task_B, tasks] = tasks_of(settings, record);
  const at::Tensor task_T = task_B.repeat_interleave(record.logits_BLE.size(1));
  return mutual_information(joint_probability(logits_TE, task_T, tasks)).neg();
}

const config::Register<SparseLoss, MutualInformationSettings> registered{
    "mutual_information", "minus the mutual information of task and expert: specialists",
    "Mod-Squad, arXiv 2212.08066; arXiv 2306.17165",
    [](const MutualInformationSettings& settings, const auto&) {
      std::vector<nn::Given> of_model;
      if (settings.task == "label") of_model.push_back(nn::Given::label);
      return std::make_unique<RecordLoss>(
          "mutual_information", settings.weight,
          [settings](const RoutingRecord& record) { return value(settings, record); },
          std::vector<std::string>{}, of_model);
    }};

}  // namespace
}  // namespace gallop::sparse
