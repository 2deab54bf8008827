#include "gallop/runs/spikes.h"

#include <cmath>
#include <numeric>

#include "gallop/base/error.h"

namespace gallop::runs {
namespace {

std::string text_of(const char* name, const SpikeWindow& window, double value, double limit) {
  const double z = window.z_score(value);
  if (!(z > limit)) return "";
  std::ostringstream text;
  text << name << " " << value << " lies " << z << " standard deviations above the mean "
       << window.mean() << " of the last " << window.size() << " applied steps";
  return text.str();
}

}  // namespace

void SpikeWindow::add(double value) {
  require(std::isfinite(value), "the statistics of spikes are of finite values, got ", value);
  values_.push_back(value);
  if (values_.size() > length) values_.pop_front();
}

double SpikeWindow::mean() const {
  return std::accumulate(values_.begin(), values_.end(), 0.0) / static_cast<double>(values_.size());
}

// Two passes over the values themselves: sums that are carried along would lose the small
// differences of a loss that hardly moves, and could not be restored to the bit.
double SpikeWindow::z_score(double value) const {
  if (values_.size() < length) return 0;
  const double center = mean();
  double squares = 0;
  for (const double v : values_) squares += (v - center) * (v - center);
  const double deviation = std::sqrt(squares / static_cast<double>(length));
  return deviation > 0 ? (value - center) / deviation : 0;
}

Json SpikeWindow::to_json() const {
  Json json = Json::array();
  for (const double value : values_) json.push_back(value);
  return json;
}

SpikeWindow SpikeWindow::from_json(const Json& json) {
  require(json.size() <= length, "a window of spikes has ", json.size(), " values, at most ",
          length, " are kept");
  SpikeWindow window;
  for (const Json& value : json.as_array()) window.add(value.as_double());
  return window;
}

std::string SpikeStatistics::spike(double loss_value, double norm_value, double limit) const {
  if (limit == 0) return "";
  const std::string text = text_of("the loss", loss, loss_value, limit);
  return text.empty() ? text_of("the gradient norm", grad_norm, norm_value, limit) : text;
}

Json SpikeStatistics::to_json() const {
  Json json = Json::object();
  json["loss"] = loss.to_json();
  json["grad_norm"] = grad_norm.to_json();
  return json;
}

SpikeStatistics SpikeStatistics::from_json(const Json& json) {
  return {SpikeWindow::from_json(json.at("loss")), SpikeWindow::from_json(json.at("grad_norm"))};
}

}  // namespace gallop::runs
