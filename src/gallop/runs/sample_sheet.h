#pragma once

#include <functional>
#include <vector>

#include "gallop/formats/artifact.h"
#include "gallop/formats/image.h"
#include "gallop/runs/recipe.h"
#include "gallop/tasks/task.h"

namespace gallop::runs {

/// The recipe's [sample] table as a request, without labels.
tasks::SampleRequest sample_request(const Recipe& recipe);

/// The classes that a sheet shows: all, or ten spread evenly where there are more; 0 alone for a
/// model without classes.
std::vector<int64_t> shown_classes(int64_t classes);

/// The labels of a sheet: each one `each` times.
std::vector<int64_t> labels_of_rows(const std::vector<int64_t>& rows, int64_t each);

/// Samples [N, C, H, W] in [-1, 1] as pictures. Throws Error, with its index, for one that is not
/// finite.
std::vector<formats::Image> to_images(const at::Tensor& samples_NCHW);

/// The sheet that training draws: a row of `per_class` samples for each class, for ten classes
/// spread evenly where there are more; a square of per_class x per_class without classes. The noise
/// of a place on the sheet is the same in all sheets of a run. `request.progress` may throw to
/// stop.
formats::Image draw_sample_sheet(const tasks::Task& task, const models::Denoiser& model,
                                 tasks::SampleRequest request, int64_t per_class);

/// What a run shows of its samples: that sheet, called "samples".
std::vector<formats::Artifact> generate(
    const Recipe& recipe, const tasks::Task& task, const models::Denoiser& model,
    const std::function<void(int64_t done, int64_t total)>& progress);

}  // namespace gallop::runs
