#pragma once

#include <functional>
#include <string>
#include <vector>

#include "gallop/compute/dial.h"
#include "gallop/formats/artifact.h"
#include "gallop/tasks/generator.h"

namespace gallop::compute {

/// What one setting of the compute dial costs and gives, on the held-out set.
struct DialRow {
  double active = 0;  ///< experts a token that the thresholds were measured for
  std::vector<double> edges, range_active;  ///< see DialSetting
  double experts_per_token = 0;             ///< on the held-out set
  double loss = 0;                          ///< the main loss
  double multiply_adds = 0;                 ///< of one sample's forward
  double seconds = 0;                       ///< of one sample, in batches of eval.batch
};

/// Evaluates the model at each setting. `progress` is called after every batch and may throw to
/// stop.
std::vector<DialRow> try_dial(
    const tasks::Task& task, const models::Model& model, const std::vector<DialSetting>& settings,
    const std::function<void(int64_t done, int64_t total)>& progress = {});

/// A table for people, in Markdown.
std::string to_markdown(const std::vector<DialRow>& rows);
/// The loss against multiply-adds and against seconds, as an SVG picture.
std::string to_svg(const std::vector<DialRow>& rows);

/// The first `each` things of each row of the task's sheet (a class) at each setting side by side:
/// those of the first setting, then the same of the second, and so on.
formats::Artifact draw_dial_sheet(const tasks::Generator& generator, const models::Model& model,
                                  const std::vector<DialSetting>& settings, int64_t each);

}  // namespace gallop::compute
