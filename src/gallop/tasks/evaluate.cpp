#include "gallop/tasks/evaluate.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "gallop/base/error.h"
#include "gallop/models/packed_forward.h"

namespace gallop::tasks {

Evaluated measure(const Task& task, const models::Model& model, const std::vector<Meter*>& meters,
                  const EvaluationOptions& options) {
  const at::NoGradGuard no_grad;
  const std::unique_ptr<Stream> stream = task.stream(Split::held_out);
  const int64_t count = stream->size(), at_once = task.evaluation_batch();
  require(count > 0 && at_once > 0, "there is nothing to evaluate: ", count, " held-out samples, ",
          at_once, " at once");
  const ops::PrecisionGuard precision(task.args().precision);
  const models::PackedForward packed(model);
  Evaluated evaluated;
  const Pass pass;
  for (int64_t first = 0; first < count; first += at_once) {
    const Batch batch = stream->at(first, std::min(at_once, count - first));
    const Outcome outcome = task.run(
        model, batch, pass,
        {.purpose = Purpose::evaluate, .training = false, .thresholds = options.thresholds});
    for (Meter* meter : meters) meter->add(batch, outcome);
    evaluated.samples += batch.size();
    evaluated.replaced += batch.replaced;
    if (options.progress) options.progress(evaluated.samples, count);
  }
  for (Meter* meter : meters) meter->merge(task.args().world);
  return evaluated;
}

Evaluation evaluate(const Task& task, const models::Model& model,
                    const EvaluationOptions& options) {
  const std::vector<std::unique_ptr<Meter>> meters = task.meters(model);
  std::vector<Meter*> all;
  for (const auto& meter : meters) all.push_back(meter.get());
  Evaluation evaluation{.of = measure(task, model, all, options)};
  const auto join = [](std::string& text, const std::string& more, const char* between) {
    if (!more.empty()) text += (text.empty() ? "" : between) + more;
  };
  for (const auto& meter : meters) {
    Reading reading = meter->read();
    for (const auto& [name, value] : reading.values) {
      const bool is_new = evaluation.values.emplace(name, value).second;
      require(is_new, "two meters of the task give the name '", name, "'");
    }
    join(evaluation.text, reading.text, ", ");
    join(evaluation.note, reading.note, "  ");
    join(evaluation.warning, reading.warning, "; ");
    for (formats::Artifact& artifact : reading.artifacts)
      evaluation.artifacts.push_back(std::move(artifact));
  }
  if (evaluation.of.replaced > 0) {
    evaluation.values["replaced"] = static_cast<double>(evaluation.of.replaced);
    join(evaluation.text,
         std::to_string(evaluation.of.replaced) + " of the samples could not be read", ", ");
  }
  return evaluation;
}

void calibration_run(const Task& task, const models::Model& model, const CalibrationRun& run,
                     const std::function<void(const Outcome&)>& visit) {
  const at::NoGradGuard no_grad;
  const ops::PrecisionGuard precision(task.args().precision);
  const std::unique_ptr<Stream> stream = task.stream(Split::train);
  const int64_t at_once = task.args().batch;
  const Pass pass;
  for (int64_t n = 0; n < run.batches; ++n) {
    visit(task.run(
        model, stream->at(n * at_once, at_once), pass,
        {.purpose = Purpose::calibrate, .training = run.training, .thresholds = run.thresholds}));
  }
}

}  // namespace gallop::tasks
