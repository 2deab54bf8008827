#include <ATen/ops/empty.h>

#include "gallop/base/random.h"
#include "gallop/config/registry.h"
#include "gallop/nn/row_table.h"
#include "gallop/tasks/task.h"

// What two items of a million have to do with one another: a table of which a step uses some rows.
namespace gallop::examples {
namespace {

struct PairsSettings : config::Fields<PairsSettings> {
  int64_t rows = 1'000'000, width = 4, items = 40;
  void fields(config::Visitor& v) override {
    v.field("rows", rows, "of the table", config::at_least(1));
    v.field("width", width, "of a row", config::at_least(1));
    v.field("items", items, "rows that are in use, spread over all", config::at_least(1));
  }
};

/// Two rows -> their product.
class Pairs : public models::Model {
 public:
  explicit Pairs(const PairsSettings& settings)
      : table_(*this, "items", settings.rows, settings.width, {.lookups = 2, .per_sample = true}) {}
  at::Tensor forward(const at::Tensor& item_B2) const {
    const at::Tensor rows_B2D = table_.lookup(item_B2);
    return rows_B2D.select(1, 0).mul(rows_B2D.select(1, 1)).sum(-1);  // [B]
  }
  int64_t tokens() const override { return 1; }
  std::string summary() const override { return "pairs of items"; }

 private:
  nn::RowTable table_;
};

class PairStream : public tasks::Stream {
 public:
  PairStream(const PairsSettings& settings, uint64_t seed, tasks::Split split)
      : settings_(settings), seed_(seed), train_(split == tasks::Split::train) {}
  int64_t size() const override { return train_ ? 0 : 128; }
  tasks::Batch at(int64_t first, int64_t count) override {
    at::Tensor item_B2 = at::empty({count, 2}, at::TensorOptions(at::kLong));
    at::Tensor like_B = at::empty({count}, at::TensorOptions(at::kFloat));
    tasks::Batch batch{.first = first, .of = size()};
    for (int64_t i = 0; i < count; ++i) {
      const NoiseKey key{.seed = seed_,
                         .purpose = train_ ? "pairs" : "held-out pairs",
                         .sample = static_cast<uint64_t>(first + i)};
      int64_t sum = 0;
      for (int64_t j = 0; j < 2; ++j) {
        const auto item = static_cast<int64_t>(uniform_below(
            static_cast<uint64_t>(settings_.items), key.with_step(static_cast<uint64_t>(j))));
        sum += item;
        item_B2.mutable_data_ptr<int64_t>()[2 * i + j] = item * (settings_.rows / settings_.items);
      }
      like_B.mutable_data_ptr<float>()[i] = sum % 2 == 0 ? 1 : -1;
      batch.samples.push_back(first + i);
    }
    batch.tensors = {{"items", item_B2}, {"like", like_B}};
    return batch;
  }

 private:
  PairsSettings settings_;
  uint64_t seed_;
  bool train_;
};

class PairsTask : public tasks::Task {
 public:
  PairsTask(const PairsSettings& settings, const Args& args) : Task(args), settings_(settings) {}
  std::string unit() const override { return "pair"; }
  Json description(tasks::Split) const override {
    Json json = Json::object();
    json["items"] = settings_.items;
    return json;
  }
  std::string data_text() const override { return "pairs of items"; }
  tasks::TaskMemory memory() const override { return {.evaluated = args().batch}; }
  std::unique_ptr<models::Model> make_model() const override {
    return std::make_unique<Pairs>(settings_);
  }
  std::unique_ptr<tasks::Stream> stream(tasks::Split split) const override {
    return std::make_unique<PairStream>(settings_, args().seed, split);
  }
  tasks::Outcome run(const models::Model& model, const tasks::Batch& batch, const tasks::Pass&,
                     const tasks::Forward&) const override {
    const at::Tensor loss_B =
        dynamic_cast<const Pairs&>(model).forward(batch.at("items")).sub(batch.at("like")).square();
    tasks::Outcome outcome;
    outcome.of_samples_B = {{"main", loss_B.detach()}};
    if (loss_B.requires_grad()) outcome.losses.push_back({.name = "main", .value = loss_B.mean()});
    return outcome;
  }

 private:
  PairsSettings settings_;
};

const config::RegisterKind<tasks::Task, PairsTask, PairsSettings> registered{
    "pairs", "items that like one another, by a table of rows", "an example"};

}  // namespace
}  // namespace gallop::examples
