#include "gallop/compute/dial_report.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "gallop/base/format.h"
#include "gallop/formats/line_plot.h"
#include "gallop/models/counts.h"
#include "gallop/tasks/evaluate.h"
#include "gallop/tasks/meters/routing.h"
#include "gallop/tasks/meters/sample_losses.h"

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

std::vector<DialRow> try_dial(const tasks::Task& task, const models::Model& model,
                              const std::vector<DialSetting>& settings,
                              const std::function<void(int64_t, int64_t)>& progress) {
  std::vector<DialRow> rows;
  for (const DialSetting& setting : settings) {
    require_fit(model, setting);
    const auto n = static_cast<int64_t>(rows.size()), all = static_cast<int64_t>(settings.size());
    tasks::SampleLosses losses;
    tasks::RoutingMeter routing(model);
    const auto began = std::chrono::steady_clock::now();
    const tasks::Evaluated evaluated = tasks::measure(
        task, model, {&losses, &routing},
        {.thresholds = &setting.thresholds, .progress = [&](int64_t done, int64_t total) {
           if (progress) progress(n * total + done, all * total);
         }});
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - began;
    const sparse::RoutingStatistics experts = routing.experts();
    rows.push_back({.active = setting.active,
                    .edges = setting.edges(),
                    .range_active = setting.range_active,
                    .experts_per_token = experts.experts_per_token,
                    .loss = losses.main(),
                    .multiply_adds = models::multiply_adds_with(
                        model, experts.experts_per_token / experts.active),
                    .seconds = time.count() / static_cast<double>(evaluated.samples)});
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

formats::Artifact draw_dial_sheet(const tasks::Generator& generator, const models::Model& model,
                                  const std::vector<DialSetting>& settings, int64_t each) {
  tasks::Plan sheet = generator.sheet(model), plan = sheet;
  plan.requests.clear();
  plan.columns = each * static_cast<int64_t>(settings.size());
  const auto all = static_cast<int64_t>(sheet.requests.size());
  for (int64_t first = 0; first < all; first += sheet.columns) {
    for (const DialSetting& setting : settings) {
      for (int64_t i = 0; i < std::min(each, sheet.columns); ++i) {
        tasks::Request request = sheet.requests[static_cast<size_t>(first + i)];
        request.thresholds = &setting.thresholds;
        plan.requests.push_back(std::move(request));
      }
    }
  }
  for (const DialSetting& setting : settings) require_fit(model, setting);
  return generator.show(plan, tasks::generate(generator, model, plan));
}

}  // namespace gallop::compute
