#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "gallop/diffusion/guidance.h"
#include "gallop/diffusion/objective.h"
#include "gallop/diffusion/samplers/sampler.h"
#include "gallop/models/denoiser.h"
#include "gallop/ops/inference/packed_weights.h"
#include "gallop/ops/precision.h"
#include "gallop/sparse/choice/switched_off.h"
#include "gallop/tasks/generator.h"
#include "gallop/tasks/images/settings.h"

namespace gallop::tasks {

/// Throws Error unless the model can draw these: a sampler that does not fit the objective, a label
/// that the model does not know, guidance without a null label.
void require_possible(const models::Denoiser& model,
                      const std::shared_ptr<const diffusion::Objective>& objective,
                      const std::vector<Request>& requests);

/// Images on their way from noise. Requests that share their settings and start together are a
/// lane: one trajectory, whose times and guidance are theirs. All lanes share every forward, in
/// which the rows without a label, that guidance adds, come after the others.
class ImageSession : public Session {
 public:
  struct Args {
    const models::Denoiser& model;  ///< outlives the session
    std::shared_ptr<const diffusion::Objective> objective;
    int64_t rows = 1;     ///< in flight at most
    bool clamped = true;  ///< results are brought to [-1, 1]
    ops::Precision precision = ops::Precision::float32;
  };
  explicit ImageSession(Args args);

  void add(const std::vector<Request>& requests) override;
  bool done() const override { return waiting_.empty() && lanes_.empty(); }
  void advance() override;
  std::vector<Made> take() override;
  Work work() const override { return work_; }

 private:
  struct Lane {
    std::vector<size_t> requests;
    std::unique_ptr<diffusion::Trajectory> trajectory;
    diffusion::GuidanceSettings guidance;
    at::Tensor label_B;  ///< undefined in models without classes
    std::unique_ptr<const sparse::SwitchedOff> off;
    int64_t rows() const { return static_cast<int64_t>(requests.size()); }
  };
  void start_lanes();
  Lane make_lane(std::vector<size_t> requests) const;
  /// The outputs of the lanes, guidance applied.
  std::vector<at::Tensor> forward();
  void finish(const Lane& lane);

  Args args_;
  std::vector<Request> requests_;
  std::deque<size_t> waiting_;
  std::vector<Lane> lanes_;
  std::vector<Made> made_;
  Work work_;
  std::unique_ptr<const ops::PackedWeights> packed_;
};

}  // namespace gallop::tasks
