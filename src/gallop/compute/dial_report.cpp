#include "gallop/compute/dial_report.h"

#include <chrono>

#include "gallop/base/format.h"
#include "gallop/data/sheet.h"
#include "gallop/formats/line_plot.h"
#include "gallop/models/counts.h"
#include "gallop/runs/sample_sheet.h"

namespace gallop::compute {
namespace {

// A row for each range of noise levels, a column for each setting.
std::string ranges_to_markdown(const std::vector<DialRow>& rows) {
  std::string text = "| time given to the network |", line = "|---|";
  for (const DialRow& row : rows) {
    text += format(" %g experts |", row.active);
    line += "---|";
  }
  text += "\n" + line + "\n";
  const std::vector<double>& edges = rows[0].edges;
  for (size_t r = 0; r <= edges.size(); ++r) {
    text += r == 0              ? format("| below %.4g |", edges[0])
            : r == edges.size() ? format("| from %.4g |", edges[r - 1])
                                : format("| %.4g to %.4g |", edges[r - 1], edges[r]);
    for (const DialRow& row : rows) text += format(" %.2f |", row.range_active[r]);
    text += "\n";
  }
  return text;
}

}  // namespace

std::vector<DialRow> try_dial(tasks::Task& task, const models::Denoiser& model,
                              const std::vector<DialSetting>& settings,
                              const std::function<void(int64_t, int64_t)>& progress) {
  std::vector<DialRow> rows;
  for (const DialSetting& setting : settings) {
    require_fit(model, setting);
    const auto n = static_cast<int64_t>(rows.size()), all = static_cast<int64_t>(settings.size());
    const auto began = std::chrono::steady_clock::now();
    const tasks::EvalOutput out = task.evaluate(
        model,
        [&](int64_t done, int64_t total) {
          if (progress) progress(n * total + done, all * total);
        },
        setting.inference());
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - began;
    rows.push_back(
        {.active = setting.active,
         .edges = setting.edges(),
         .range_active = setting.range_active,
         .experts_per_token = out.experts_per_token,
         .loss = out.losses.front().second,
         .multiply_adds = models::multiply_adds_with(model, out.experts_per_token / out.active),
         .seconds = time.count() / static_cast<double>(out.samples)});
  }
  return rows;
}

std::string to_markdown(const std::vector<DialRow>& rows) {
  std::string text =
      "| experts a token | measured | held-out loss | multiply-adds a sample | ms a sample |\n"
      "|---|---|---|---|---|\n";
  for (const DialRow& row : rows) {
    text += format("| %g | %.3f | %.4f | %.1f M | %.2f |\n", row.active, row.experts_per_token,
                   row.loss, row.multiply_adds / 1e6, row.seconds * 1e3);
  }
  if (!rows.empty() && !rows[0].edges.empty()) text += "\n" + ranges_to_markdown(rows);
  return text;
}

std::string to_svg(const std::vector<DialRow>& rows) {
  formats::LinePlot by_work{"multiply-adds a sample (M)", "held-out loss", {}};
  formats::LinePlot by_time{"ms a sample", "held-out loss", {}};
  for (const DialRow& row : rows) {
    const std::string label = format("%g", row.active);
    by_work.points.push_back({row.multiply_adds / 1e6, row.loss, label});
    by_time.points.push_back({row.seconds * 1e3, row.loss, label});
  }
  return formats::to_svg("One trained model at several costs (labels: experts a token)",
                         {by_work, by_time});
}

formats::Image draw_dial_sheet(const tasks::Task& task, const models::Denoiser& model,
                               const std::vector<DialSetting>& settings,
                               const tasks::SampleRequest& request, int64_t each) {
  const std::vector<int64_t> rows = runs::shown_classes(model.args().classes);
  tasks::SampleRequest all = request;
  all.labels = runs::labels_of_rows(rows, each);
  std::vector<std::vector<formats::Image>> drawn;
  int64_t side = 0;
  for (const DialSetting& setting : settings) {
    require_fit(model, setting);
    all.thresholds = {&setting.thresholds};
    const at::Tensor samples = task.sample(model, all);
    side = samples.size(3);
    drawn.push_back(runs::to_images(samples));
  }
  std::vector<formats::Image> ordered;
  for (size_t row = 0; row < rows.size(); ++row) {
    for (const auto& images : drawn) {
      const auto first = images.begin() + static_cast<int64_t>(row) * each;
      ordered.insert(ordered.end(), first, first + each);
    }
  }
  return data::make_sheet(ordered, each * static_cast<int64_t>(settings.size()),
                          data::sheet_scale(side));
}

}  // namespace gallop::compute
