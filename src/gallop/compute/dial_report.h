#pragma once

#include <functional>
#include <string>
#include <vector>

#include "gallop/compute/dial.h"
#include "gallop/formats/image.h"

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
    tasks::Task& task, const models::Denoiser& model, const std::vector<DialSetting>& settings,
    const std::function<void(int64_t done, int64_t total)>& progress = {});

/// A table for people, in Markdown.
std::string to_markdown(const std::vector<DialRow>& rows);
/// The loss against multiply-adds and against seconds, as an SVG picture.
std::string to_svg(const std::vector<DialRow>& rows);

/// The same samples at each setting: a row for each class (ten at most), in it `each` samples of
/// the first setting, then of the second, and so on.
formats::Image draw_dial_sheet(const tasks::Task& task, const models::Denoiser& model,
                               const std::vector<DialSetting>& settings,
                               const tasks::SampleRequest& request, int64_t each);

}  // namespace gallop::compute
