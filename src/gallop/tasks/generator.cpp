#include "gallop/tasks/generator.h"

#include <algorithm>

namespace gallop::tasks {

std::vector<Made> generate(const Generator& generator, const models::Model& model, const Plan& plan,
                           const std::function<void(int64_t, int64_t)>& progress) {
  const std::unique_ptr<Session> session = generator.begin(model, plan.requests, plan.rows);
  std::vector<Made> all;
  int64_t last = 0;
  while (!session->done()) {
    session->advance();
    for (Made& made : session->take()) all.push_back(std::move(made));
    const Session::Work work = session->work();
    if (progress && work.done != last) progress(work.done, work.total);
    last = work.done;
  }
  std::sort(all.begin(), all.end(),
            [](const Made& a, const Made& b) { return a.request < b.request; });
  return all;
}

}  // namespace gallop::tasks
