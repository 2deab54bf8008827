#include "gallop/compute/calibrate.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <map>

#include "gallop/base/error.h"
#include "gallop/base/log.h"
#include "gallop/base/streamed_rank.h"
#include "gallop/sparse/choice/selection.h"

namespace gallop::compute {

namespace {

// One number of a threshold that is looked for.
struct Wanted {
  size_t layer, active, pool;
  StreamedRank rank;
};

// Measures in passes over the batches.
class Measurement {
 public:
  Measurement(const WantedActives& wanted, int64_t bytes) : wanted_(wanted), bytes_(bytes) {}

  // The layers of the first batch, and what is looked for in them.
  void begin(const std::vector<sparse::RoutingRecord>& records) {
    for (const sparse::RoutingRecord& record : records) {
      // A layer that runs several times has a record for each.
      if (has_threshold(record) && index_.emplace(record.layer, layers_.size()).second) {
        layers_.push_back({record.layer, record.selection, {}});
      }
    }
    if (layers_.empty()) return;
    const sparse::RoutingRecord& first =
        *std::find_if(records.begin(), records.end(), has_threshold);
    actives_ = wanted_(first.compared_BLE.size(2));
    int64_t numbers = 0;
    for (const LayerThresholds& layer : layers_) numbers += pools_of(layer);
    const int64_t each = std::max<int64_t>(1, numbers * static_cast<int64_t>(actives_.size()));
    const auto capacity = static_cast<size_t>(bytes_ / (each * int64_t{sizeof(float)}));
    for (size_t l = 0; l < layers_.size(); ++l) {
      for (size_t a = 0; a < actives_.size(); ++a) {
        const double share = share_of(*layers_[l].selection, actives_[a]);
        for (int64_t p = 0; p < pools_of(layers_[l]); ++p) {
          missing_.push_back({l, a, static_cast<size_t>(p), StreamedRank(share, capacity)});
        }
        layers_[l].values.push_back(
            at::full({pools_of(layers_[l])}, 0, at::TensorOptions(at::kFloat)));
      }
    }
    looked_for_ = missing_.size();
  }

  // Those that are looked for in this pass.
  void add(const std::vector<sparse::RoutingRecord>& records) {
    if (looked_for_ == 0) return;
    for (const sparse::RoutingRecord& record : records) {
      if (!has_threshold(record)) continue;
      const auto layer = index_.find(record.layer);
      require(layer != index_.end(), record.layer, ": this layer had no scores in the first batch");
      add(layer->second, record.selection->threshold_scores(record.compared_BLE.detach())
                             .reshape({pools_of(layers_[layer->second]), -1})
                             .to(at::kCPU, at::kFloat)
                             .contiguous());
    }
  }

  // True: all are found.
  bool end_pass() {
    std::vector<Wanted> missing;
    for (size_t i = 0; i < missing_.size(); ++i) {
      Wanted& wanted = missing_[i];
      if (i >= looked_for_ || !found(wanted)) missing.push_back(std::move(wanted));
    }
    missing_ = std::move(missing);
    const auto room = static_cast<size_t>(bytes_) / StreamedRank::bytes_of_a_digit;
    looked_for_ = std::min(missing_.size(), std::max<size_t>(1, room));
    return missing_.empty();
  }
  size_t missing() const { return missing_.size(); }

  std::vector<LayerThresholds> layers() const {
    std::vector<LayerThresholds> shaped = layers_;
    for (LayerThresholds& layer : shaped) {
      const at::Tensor like = **layer.selection->threshold();
      for (at::Tensor& value : layer.values) value = value.reshape(like.sizes()).to(like.options());
    }
    return shaped;
  }

 private:
  static bool has_threshold(const sparse::RoutingRecord& record) {
    return record.selection != nullptr && record.selection->threshold() != nullptr;
  }
  static int64_t pools_of(const LayerThresholds& layer) {
    return layer.selection->threshold()->numel();
  }
  static double share_of(const sparse::Selection& selection, std::optional<double> active) {
    constexpr int64_t many = int64_t{1} << 40;
    return static_cast<double>(selection.threshold_rank(many, active)) / static_cast<double>(many);
  }

  void add(size_t layer, const at::Tensor& scores) {
    const auto count = static_cast<size_t>(scores.size(1));
    for (size_t i = 0; i < looked_for_; ++i) {
      if (missing_[i].layer != layer) continue;
      try {
        missing_[i].rank.add({scores.const_data_ptr<float>() + missing_[i].pool * count, count});
      } catch (const Error& error) {
        fail(layers_[layer].layer, ": a score is NaN (", error.what(),
             "), so that its threshold cannot be calibrated: are weights and data finite?");
      }
    }
  }

  bool found(Wanted& wanted) {
    const LayerThresholds& layer = layers_[wanted.layer];
    float value = sparse::Selection::below_all_scores;
    const int64_t rank =
        layer.selection->threshold_rank(wanted.rank.count(), actives_[wanted.active]);
    if (rank > 0) {
      if (!wanted.rank.end_pass(rank)) return false;
      value = wanted.rank.value();
    }
    layer.values[wanted.active].mutable_data_ptr<float>()[wanted.pool] = value;
    return true;
  }

  const WantedActives& wanted_;
  int64_t bytes_;
  std::vector<LayerThresholds> layers_;
  std::map<std::string, size_t> index_;
  std::vector<std::optional<double>> actives_;
  std::vector<Wanted> missing_;
  size_t looked_for_ = 0;  // the first ones of them
};

// Experts a token that each sample used, a mean over the layers with thresholds; undefined without.
at::Tensor used_by(const std::vector<sparse::RoutingRecord>& records) {
  std::vector<at::Tensor> used;
  for (const sparse::RoutingRecord& record : records) {
    if (record.selection == nullptr || record.selection->threshold() == nullptr) continue;
    used.push_back(record.kept.count_B().to(at::kDouble).div(record.kept.tokens()));
  }
  return used.empty() ? at::Tensor() : at::stack(used).mean(0);
}

}  // namespace

MeasuredThresholds measure_thresholds(const tasks::Task& task, const models::Model& model,
                                      const tasks::CalibrationRun& run, const WantedActives& wanted,
                                      const std::function<void(int64_t)>& progress, int64_t bytes) {
  const at::NoGradGuard no_grad;
  MeasuredThresholds measured;
  Measurement measurement(wanted, bytes);
  std::vector<at::Tensor> times, losses, actives;
  int64_t done = 0;
  tasks::calibration_run(task, model, run, [&](const tasks::Outcome& batch) {
    if (batch.time_B.defined()) times.push_back(batch.time_B);
    if (!batch.of_samples_B.empty()) losses.push_back(batch.of_samples_B.front().second);
    if (const at::Tensor used = used_by(batch.routing); used.defined()) actives.push_back(used);
    if (done == 0) measurement.begin(batch.routing);
    measurement.add(batch.routing);
    if (progress) progress(done + 1);
    ++done;
  });
  while (!measurement.end_pass()) {
    log_info("calibration: ", measurement.missing(),
             " numbers of thresholds lie outside the scores that were kept; another pass over the ",
             run.batches, " batches");
    tasks::calibration_run(task, model, run, [&](const tasks::Outcome& batch) {
      measurement.add(batch.routing);
      if (progress) progress(run.batches);
    });
  }
  measured.layers = measurement.layers();
  if (!times.empty()) measured.time_N = at::cat(times);
  if (!losses.empty()) measured.loss_N = at::cat(losses);
  if (!actives.empty()) measured.active_N = at::cat(actives);
  return measured;
}

std::vector<CalibratedLayer> calibrate(const tasks::Task& task, models::Model& model,
                                       int64_t batches,
                                       const std::function<void(int64_t)>& progress) {
  if (!sparse::has_thresholds(model)) return {};
  const at::NoGradGuard no_grad;
  const auto own = [](int64_t) { return std::vector<std::optional<double>>(1); };
  const MeasuredThresholds measured =
      measure_thresholds(task, model, {.batches = batches}, own, progress);
  std::vector<CalibratedLayer> calibrated;
  for (const LayerThresholds& layer : measured.layers) {
    const at::Tensor& threshold = **model.find_parameter(layer.selection->threshold()->name());
    calibrated.push_back(
        {.layer = layer.layer, .before = threshold.clone(), .after = layer.values[0]});
    threshold.copy_(layer.values[0]);
  }
  return calibrated;
}

}  // namespace gallop::compute
