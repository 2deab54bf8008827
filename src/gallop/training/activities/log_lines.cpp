#include <map>
#include <string>

#include "gallop/base/format.h"
#include "gallop/training/activity.h"

namespace gallop::training {
namespace {

// The status line, and a line of the log every log.every steps: means over the steps since the last
// one.
class LogLines : public Activity {
 public:
  const char* name() const override { return "log"; }

  void begin(Run& run) override {
    logged_step_ = run.state.step;
    logged_seconds_ = run.state.seconds;
  }

  void after_step(Run& run, const StepReport& report) override {
    if (!report.applied) return;
    for (const auto& [name, value] : report.values) sums_[name] += value;
    summed_steps_ += 1;
    std::string note = format("loss %.4f", report.loss());
    for (const std::string& more : {report.remarks.note, run.note}) {
      if (!more.empty()) note += "  " + more;
    }
    run.progress->update(run.state.step, note);
    const bool last = run.state.step == run.recipe.train.steps;
    if (last || run.state.step % run.recipe.log.every == 0) write_line(run, report);
  }

  Json state() const override {
    Json json = Json::object();
    json["summed_steps"] = summed_steps_;
    json["sums"] = runs::to_json(sums_);
    return json;
  }
  void restore(const Json& json) override {
    summed_steps_ = json.at("summed_steps").as_int();
    sums_ = runs::numbers_from_json(json.at("sums"));
  }

 private:
  void write_line(Run& run, const StepReport& report) {
    std::map<std::string, double> means;
    for (const auto& [name, sum] : sums_) means[name] = sum / static_cast<double>(summed_steps_);
    means["lr"] = report.values.at("lr");
    for (const auto& [name, value] : report.remarks.values) means[name] = value;
    // Rates are of this machine and moment, and no part of the state that a resumed run must
    // repeat.
    std::vector<std::pair<std::string, double>> line(means.begin(), means.end());
    const double seconds = run.state.seconds - logged_seconds_;
    if (seconds > 0) {
      const int64_t samples = run.recipe.train.batch * run.recipe.train.accumulate;
      line.emplace_back(run.task.unit() + "s_per_second",
                        static_cast<double>((run.state.step - logged_step_) * samples) / seconds);
    }
    line.emplace_back("seconds", run.state.seconds);
    if (run.state.replaced > 0)
      line.emplace_back("replaced", static_cast<double>(run.state.replaced));
    run.record("train", line);
    sums_.clear();
    summed_steps_ = 0;
    begin(run);
  }

  // Since the last line, so that a resumed run logs the same means.
  std::map<std::string, double> sums_;
  int64_t summed_steps_ = 0;
  int64_t logged_step_ = 0;
  double logged_seconds_ = 0;
};

const RegisterActivity registered{
    20, []() -> std::unique_ptr<Activity> { return std::make_unique<LogLines>(); }};

}  // namespace
}  // namespace gallop::training
