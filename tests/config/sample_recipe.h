#pragma once

#include <optional>
#include <string>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "gallop/config/schema.h"

// A recipe with a field of every type, and components whose settings hold components and tables.
// The category names are the test's own, so that they cannot meet those of the engine.
namespace gallop::config::sample {

struct Chooser {
  static constexpr const char* category = "test_chooser";
  struct Args {
    int64_t factor = 1;
  };
  virtual ~Chooser() = default;
  virtual double value() const = 0;
};

struct RaceSettings : Fields<RaceSettings> {
  double momentum = 0.99;
  std::optional<int64_t> start;
  void fields(Visitor& v) override {
    v.field("momentum", momentum, "Momentum of the threshold.", between(0, 1));
    v.field("start", start, "First step that counts.", at_least(0));
  }
};

struct Limits : Fields<Limits> {
  int64_t most = 8;
  void fields(Visitor& v) override { v.field("most", most, "Upper limit.", at_least(1)); }
};

struct TokenSettings : Fields<TokenSettings> {
  int64_t capacity = 2;
  Limits limits;
  Component inner{"test_chooser", "race"};
  void fields(Visitor& v) override {
    v.field("capacity", capacity, "Slots of one expert.", at_least(1));
    v.table("limits", limits, "Limits of the slots.");
    v.component("inner", inner, "What fills the slots.");
  }
  void validate() const override {
    require(capacity <= limits.most, "capacity ", capacity, " is above limits.most ", limits.most);
  }
};

struct Mlp : Fields<Mlp> {
  int64_t experts = 8;
  Component selection{"test_chooser", "race"};
  void fields(Visitor& v) override {
    v.field("experts", experts, "Candidates a token chooses from.", between(1, 1024));
    v.component("selection", selection, "Which pairs are kept.");
  }
};

struct Model : Fields<Model> {
  std::string size = "S/2";
  int64_t width = 12, heads = 3;
  std::optional<int64_t> depth;
  std::optional<double> ratio;
  Mlp mlp;
  void fields(Visitor& v) override {
    v.field("size", size, "Named size.");
    v.field("width", width, "Channels of a token.", at_least(1));
    v.field("heads", heads, "Attention heads.", at_least(1));
    v.field("depth", depth, "Blocks.", between(1, 1000));
    v.field("ratio", ratio, "Hidden width over width.", positive());
    v.table("mlp", mlp, "The feed-forward part.");
  }
  void validate() const override {
    require(width % heads == 0, "width ", width, " is not divisible by heads ", heads);
  }
};

struct Train : Fields<Train> {
  int64_t batch = 64;
  double lr = 1e-3;
  bool fused = true;
  std::string schedule = "cosine";
  std::vector<int64_t> milestones;
  std::vector<double> betas{0.9, 0.99};
  std::vector<std::string> frozen;
  void fields(Visitor& v) override {
    v.field("batch", batch, "Samples a step.", at_least(1));
    v.field("lr", lr, "Learning rate.", positive());
    v.field("fused", fused, "Use the fused optimizer.");
    v.field("schedule", schedule, "Shape of the learning rate.", {"constant", "cosine", "linear"});
    v.field("milestones", milestones, "Steps at which it drops.", at_least(1));
    v.field("betas", betas, "Momenta of AdamW.", between(0, 1));
    v.field("frozen", frozen, "Parameters that are not trained.");
  }
};

struct Recipe : Fields<Recipe> {
  std::string name = "run";
  int64_t seed = 0;
  Model model;
  Train train;
  void fields(Visitor& v) override {
    v.field("name", name, "Name of the run.");
    v.field("seed", seed, "Seed of everything random.");
    v.table("model", model, "The network.");
    v.table("train", train, "How it is trained.");
  }
};

}  // namespace gallop::config::sample
