#include "gallop/training/activity.h"

#include <map>

namespace gallop::training {
namespace {

std::multimap<int, RegisterActivity::Make>& registered() {
  static std::multimap<int, RegisterActivity::Make> all;
  return all;
}

}  // namespace

RegisterActivity::RegisterActivity(int order, Make make) { registered().emplace(order, make); }

std::vector<std::unique_ptr<Activity>> make_activities() {
  std::vector<std::unique_ptr<Activity>> all;
  for (const auto& [order, make] : registered()) all.push_back(make());
  return all;
}

}  // namespace gallop::training
