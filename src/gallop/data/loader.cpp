#include "gallop/data/loader.h"

#include <algorithm>
#include <exception>
#include <optional>
#include <thread>
#include <utility>
#include <variant>

#include "gallop/base/error.h"
#include "gallop/base/queue.h"
#include "gallop/base/random.h"

namespace gallop::data {
namespace {

void mirror(std::span<float> image, int64_t width) {
  for (auto row = image.begin(); row != image.end(); row += width) std::reverse(row, row + width);
}

}  // namespace

Order::Order(int64_t count, uint64_t seed) : count_(count), seed_(seed) {
  require(count > 0, "an empty data set has no order");
}

int64_t Order::epoch_of(int64_t position) const { return position / count_; }

int64_t Order::at(int64_t position) const {
  const int64_t epoch = epoch_of(position);
  if (epoch != epoch_) {
    permutation_ = permutation(count_, {seed_, "order", 0, static_cast<uint64_t>(epoch)});
    epoch_ = epoch;
  }
  return permutation_[static_cast<size_t>(position % count_)];
}

// Worker w of W makes the batches w, w + W, ... from the first on into a queue of its own, and
// `next` takes from the queues in turn: the order needs no sorting and does not depend on who is
// faster.
struct Loader::State {
  using Item = std::variant<Batch, std::exception_ptr>;

  std::optional<SampleReader> reader;
  bool flip = false;
  int64_t batch = 1;
  uint64_t seed = 0;
  std::vector<std::unique_ptr<BoundedQueue<Item>>> queues;
  size_t turn = 0;
  std::exception_ptr failure;
  std::vector<std::thread> workers;

  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    for (auto& queue : queues) queue->close();
    for (auto& worker : workers) worker.join();
  }

  Batch make(const Order& order, int64_t first) const {
    const DatasetInfo& info = reader->info();
    const auto size = static_cast<size_t>(info.channels * info.height * info.width);
    Batch result;
    result.position = first;
    result.images.resize(static_cast<size_t>(batch) * size);
    for (int64_t i = 0; i < batch; ++i) {
      const int64_t position = first + i;
      const auto image = std::span(result.images).subspan(static_cast<size_t>(i) * size, size);
      const auto [index, label] =
          reader->read(order.at(position), position, image, result.unreadable);
      const NoiseKey key{seed, "flip", static_cast<uint64_t>(position), 0};
      if (flip && uniform_below(2, key) == 1) mirror(image, info.width);
      result.indices.push_back(index);
      if (info.classes > 0) result.labels.push_back(label);
    }
    return result;
  }

  void work(BoundedQueue<Item>& queue, int64_t first) const {
    try {
      const Order order(reader->info().count, seed);
      const int64_t stride = batch * static_cast<int64_t>(queues.size());
      for (int64_t at = first; queue.push(make(order, at)); at += stride) {
      }
    } catch (...) {
      queue.push(std::current_exception());
    }
  }
};

Loader::Loader(std::shared_ptr<const Dataset> dataset, const DataConfig& config, int64_t batch,
               uint64_t seed, int64_t first)
    : state_(std::make_unique<State>()) {
  require(batch > 0 && first >= 0, "a loader of batches of ", batch, " from sample ", first,
          " on: the size must be at least 1, the first at least 0");
  State& s = *state_;
  s.reader.emplace(std::move(dataset), config.skips_unreadable(), seed, "train");
  s.flip = config.flip;
  s.batch = batch;
  s.seed = seed;
  const int64_t workers = std::max<int64_t>(1, config.workers);
  const auto room = static_cast<size_t>(std::max<int64_t>(1, config.queue / workers));
  for (int64_t w = 0; w < workers; ++w)
    s.queues.push_back(std::make_unique<BoundedQueue<State::Item>>(room));
  for (int64_t w = 0; w < workers; ++w)
    s.workers.emplace_back(&State::work, &s, std::ref(*s.queues[static_cast<size_t>(w)]),
                           first + w * batch);
}

Loader::~Loader() = default;

Batch Loader::next() {
  State& s = *state_;
  if (!s.failure) {
    auto item = s.queues[s.turn]->pop();
    s.turn = (s.turn + 1) % s.queues.size();
    if (auto* batch = std::get_if<Batch>(&*item)) return std::move(*batch);
    s.failure = std::get<std::exception_ptr>(*item);
  }
  std::rethrow_exception(s.failure);
}

}  // namespace gallop::data
