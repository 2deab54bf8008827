#include <ATen/ops/empty.h>
#include <ATen/ops/softplus.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "gallop/base/format.h"
#include "gallop/base/random.h"
#include "gallop/config/registry.h"
#include "gallop/nn/linear.h"
#include "gallop/tasks/generator.h"
#include "gallop/tasks/task.h"

// Two networks that play against each other: numbers drawn from noise, and a critic that tells them
// from those of the data. Two passes of a step, each with parameters and an optimizer of its own;
// and a generator of one's own.
namespace gallop::examples {
namespace {

/// [task.sample]
struct DrawSettings : config::Fields<DrawSettings> {
  int64_t count = 32, first = 0;
  void fields(config::Visitor& v) override {
    v.field("count", count, "numbers to draw", config::at_least(1));
    v.field("first", first, "index of the first one", config::at_least(0));
  }
};

struct AdversarialSettings : config::Fields<AdversarialSettings> {
  double mean = 3, deviation = 0.5;
  int64_t width = 16, critic_every = 1;
  config::Component critic_optimizer{"optimizer", "adamw"};
  DrawSettings sample;
  void fields(config::Visitor& v) override {
    v.field("mean", mean, "of the data");
    v.field("deviation", deviation, "of the data", config::positive());
    v.field("width", width, "of both networks", config::at_least(1));
    v.field("critic_every", critic_every, "steps between those of the critic", config::at_least(1));
    v.component("critic_optimizer", critic_optimizer, "of the critic");
    v.effect(config::Effect::free);
    v.table("sample", sample, "numbers that are drawn");
  }
};

/// in -> width -> 1 with tanh.
class Network : public nn::Module {
 public:
  Network(nn::Module& parent, const std::string& name, int64_t width)
      : Module(parent, name), in_(*this, "in", 1, width), out_(*this, "out", width, 1) {}
  at::Tensor forward(const at::Tensor& x_B1) const {
    return out_.forward(in_.forward(x_B1).tanh());
  }

 private:
  nn::Linear in_, out_;
};

/// The root of both networks: one model with two children.
class Players : public models::Model {
 public:
  explicit Players(int64_t width) : maker(*this, "maker", width), critic(*this, "critic", width) {}
  int64_t tokens() const override { return 1; }
  std::string summary() const override { return "two players"; }

  Network maker, critic;
};

const Players& players(const models::Model& model) { return dynamic_cast<const Players&>(model); }

at::Tensor normal_rows(uint64_t seed, const char* purpose, int64_t first, int64_t count) {
  at::Tensor z_B1 = at::empty({count, 1}, at::TensorOptions(at::kFloat));
  for (int64_t i = 0; i < count; ++i) {
    fill_normal(std::span(z_B1.mutable_data_ptr<float>() + i, 1),
                {.seed = seed, .purpose = purpose, .sample = static_cast<uint64_t>(first + i)});
  }
  return z_B1;
}

class Numbers : public tasks::Stream {
 public:
  Numbers(const AdversarialSettings& settings, uint64_t seed, tasks::Split split)
      : settings_(settings), seed_(seed), train_(split == tasks::Split::train) {}
  int64_t size() const override { return train_ ? 0 : 256; }
  tasks::Batch at(int64_t first, int64_t count) override {
    tasks::Batch batch{.first = first, .of = size()};
    batch.tensors["x"] = normal_rows(seed_, train_ ? "numbers" : "held-out numbers", first, count)
                             .mul(settings_.deviation)
                             .add(settings_.mean);
    for (int64_t i = 0; i < count; ++i) batch.samples.push_back(first + i);
    return batch;
  }

 private:
  AdversarialSettings settings_;
  uint64_t seed_;
  bool train_;
};

/// How far the mean of what is made lies from that of the data.
class Distance : public tasks::Meter {
 public:
  void add(const tasks::Batch& batch, const tasks::Outcome& outcome) override {
    data_ += batch.at("x").sum().item<double>();
    made_ += outcome.extras.at("made").sum().item<double>();
    count_ += static_cast<double>(batch.size());
  }
  void merge(const collectives::World& world) override {
    for (double* sum : {&data_, &made_, &count_}) world.collectives->sum(std::span(sum, 1));
  }
  tasks::Reading read() const override {
    const double distance = std::abs(data_ - made_) / count_;
    return {.values = {{"distance", distance}}, .text = format("distance %.4f", distance)};
  }

 private:
  double data_ = 0, made_ = 0, count_ = 0;
};

/// A forward makes all rows at once.
class Drawing : public tasks::Session {
 public:
  explicit Drawing(const Players& model) : model_(model) {}
  void add(const std::vector<tasks::Request>& requests) override {
    waiting_.insert(waiting_.end(), requests.begin(), requests.end());
  }
  bool done() const override { return waiting_.empty(); }
  void advance() override {
    for (const tasks::Request& request : std::exchange(waiting_, {})) {
      const at::Tensor z_B1 = normal_rows(request.seed, "drawn", request.index, 1);
      made_.push_back({.request = next_++,
                       .tensors = {{"numbers", model_.maker.forward(z_B1).detach().flatten()}}});
    }
  }
  std::vector<tasks::Made> take() override { return std::exchange(made_, {}); }
  Work work() const override {
    const auto done = static_cast<int64_t>(next_);
    return {.done = done, .total = done + static_cast<int64_t>(waiting_.size())};
  }

 private:
  const Players& model_;
  std::vector<tasks::Request> waiting_;
  std::vector<tasks::Made> made_;
  size_t next_ = 0;
};

class NumberGenerator : public tasks::Generator {
 public:
  NumberGenerator(DrawSettings settings, uint64_t seed) : settings_(settings), seed_(seed) {}
  std::unique_ptr<config::Struct> settings() const override { return settings_.clone(); }
  tasks::Plan plan(const models::Model&, const config::Struct& asked) const override {
    const auto settings =
        std::make_shared<const DrawSettings>(dynamic_cast<const DrawSettings&>(asked));
    tasks::Plan plan{.rows = settings->count};
    for (int64_t i = 0; i < settings->count; ++i) {
      plan.requests.push_back({.seed = seed_, .index = settings->first + i, .settings = settings});
    }
    return plan;
  }
  tasks::Plan sheet(const models::Model& model) const override { return plan(model, settings_); }
  std::unique_ptr<tasks::Session> begin(const models::Model& model,
                                        const std::vector<tasks::Request>& requests,
                                        int64_t) const override {
    auto session = std::make_unique<Drawing>(players(model));
    session->add(requests);
    return session;
  }
  formats::Artifact show(const tasks::Plan& plan,
                         const std::vector<tasks::Made>& made) const override {
    formats::Table table{{"index", "number"}, {}};
    for (const tasks::Made& one : made) {
      table.rows.push_back({std::to_string(plan.requests[one.request].index),
                            format("%.4f", one.tensors.at("numbers").item<double>())});
    }
    return {"numbers", table};
  }
  std::pair<std::string, formats::Artifact> show_one(const tasks::Request& request,
                                                     const tasks::Made& made) const override {
    return {format("%06lld", static_cast<long long>(request.index)),
            {"numbers", formats::Text{format("%.4f", made.tensors.at("numbers").item<double>())}}};
  }
  std::vector<std::pair<std::string, at::Tensor>> tensors(
      const tasks::Plan&, const std::vector<tasks::Made>& made) const override {
    at::Tensor all = at::empty({static_cast<int64_t>(made.size())}, at::TensorOptions(at::kFloat));
    for (size_t i = 0; i < made.size(); ++i)
      all[static_cast<int64_t>(i)] = made[i].tensors.at("numbers")[0];
    return {{"numbers", all}};
  }
  std::vector<std::pair<std::string, std::string>> how(const tasks::Plan&) const override {
    return {{"seed", std::to_string(seed_)}};
  }

 private:
  DrawSettings settings_;
  uint64_t seed_;
};

/// Goodfellow et al., arXiv 1406.2661, with the losses that do not saturate.
class Adversarial : public tasks::Task {
 public:
  Adversarial(const AdversarialSettings& settings, const Args& args)
      : Task(args), settings_(settings), generator_(settings.sample, args.seed) {}

  std::string unit() const override { return "number"; }
  Json description(tasks::Split) const override {
    Json json = Json::object();
    json["mean"] = settings_.mean;
    json["deviation"] = settings_.deviation;
    return json;
  }
  std::string data_text() const override { return "normal numbers"; }
  tasks::TaskMemory memory() const override { return {.evaluated = args().batch}; }
  std::unique_ptr<models::Model> make_model() const override {
    return std::make_unique<Players>(settings_.width);
  }
  std::vector<tasks::Pass> passes() const override {
    const auto of = [](const char* player) {
      return [player = std::string(player) + "."](const nn::Parameter& parameter) {
        return parameter.name().starts_with(player);
      };
    };
    return {{.name = "critic",
             .moves = of("critic"),
             .optimizer = settings_.critic_optimizer,
             .every = settings_.critic_every},
            {.name = "maker", .moves = of("maker")}};
  }
  std::unique_ptr<tasks::Stream> stream(tasks::Split split) const override {
    return std::make_unique<Numbers>(settings_, args().seed, split);
  }
  tasks::Outcome run(const models::Model& model, const tasks::Batch& batch, const tasks::Pass& pass,
                     const tasks::Forward& forward) const override {
    const Players& all = players(model);
    const bool trains = forward.purpose == tasks::Purpose::train;
    const std::string purpose = trains ? "noise of " + pass.name : "held-out noise";
    const at::Tensor made_B1 =
        all.maker.forward(normal_rows(args().seed, purpose.c_str(), batch.first, batch.size()));
    tasks::Outcome outcome;
    outcome.extras = {{"made", made_B1.detach()}};
    if (!trains) return outcome;
    if (pass.name == "critic") {
      const at::Tensor of_data = at::softplus(all.critic.forward(batch.at("x")).neg()),
                       of_made = at::softplus(all.critic.forward(made_B1.detach()));
      outcome.losses.push_back({.name = "told_apart", .value = of_data.add(of_made).mean()});
    } else {
      outcome.losses.push_back(
          {.name = "fooled", .value = at::softplus(all.critic.forward(made_B1).neg()).mean()});
    }
    return outcome;
  }
  std::vector<std::unique_ptr<tasks::Meter>> meters(const models::Model&) const override {
    std::vector<std::unique_ptr<tasks::Meter>> meters;
    meters.push_back(std::make_unique<Distance>());
    return meters;
  }
  const tasks::Generator* generator() const override { return &generator_; }

 private:
  AdversarialSettings settings_;
  NumberGenerator generator_;
};

const config::RegisterKind<tasks::Task, Adversarial, AdversarialSettings> registered{
    "adversarial", "numbers from noise, by two networks that play against each other",
    "an example"};

}  // namespace
}  // namespace gallop::examples
