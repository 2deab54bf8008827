#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "gallop/nn/needs.h"

namespace gallop::nn {

class Module;

/// How a parameter gets its first value. Random ones are keyed by (seed, parameter name), so models
/// that share a name share its initial weights.
struct Init {
  enum class Kind { constant, normal, xavier_uniform, computed };
  Kind kind = Kind::constant;
  double value = 0;                     ///< the constant, or the standard deviation
  int64_t fan_in = 0, fan_out = 0;      ///< of xavier_uniform
  std::function<at::Tensor()> compute;  ///< of computed: a CPU tensor in the parameter's shape

  static Init zeros() { return {}; }
  static Init constant(double value) { return {.value = value}; }
  static Init normal(double deviation) { return {.kind = Kind::normal, .value = deviation}; }
  static Init xavier_uniform(int64_t fan_in, int64_t fan_out) {
    return {.kind = Kind::xavier_uniform, .fan_in = fan_in, .fan_out = fan_out};
  }
  static Init computed(std::function<at::Tensor()> compute) {
    return {.kind = Kind::computed, .compute = std::move(compute)};
  }
};

/// What a parameter is for, which counting and 8-bit weights ask instead of its name.
enum class Role {
  matrix,  ///< multiplies values: [out, in], or a stack of such
  router,  ///< a matrix whose products decide where tokens go, or how much of them
  table,   ///< rows that are looked up
  other,   ///< biases, scales, positions
  state,   ///< a buffer
};

/// What the gradient of a parameter holds.
enum class Gradient {
  dense,  ///< a number for each of its own
  rows,   ///< the rows that were looked up: a step reads and writes those alone, see RowTable
};

/// What optimizer, clipping, EMA, checkpoints and counting know of a parameter.
struct Attributes {
  bool decay = true;        ///< weight decay applies (matrices; biases and tables say false)
  double lr_scale = 1;      ///< factor on the learning rate
  bool frozen = false;      ///< stored, but never trained (position tables)
  bool buffer = false;      ///< state that a step changes outside the optimizer (thresholds)
  bool auxiliary = false;   ///< used in training only, thrown away at inference (PLR head)
  bool per_sample = false;  ///< applied once a sample instead of once a token (adaLN, embedders)
  double share_used = 1;    ///< of its elements by an average token (k/E for experts)
  bool routed = false;      ///< of experts that tokens choose from: used more if they choose more
  double uses = 1;  ///< times that an average token goes through it (depth selection, recursion)
  bool beside = false;  ///< reads what another layer reads, too, and keeps for the backward pass
  std::optional<Role> role;  ///< where it is not the usual one, see Parameter::role
  bool in_block = false;     ///< of the blocks that are stacked, whose size papers state
  Gradient gradient = Gradient::dense;
};

/// Numbers of one sample that a forward holds beside the weights.
struct Activations {
  double kept = 0;      ///< in training, from a part's forward to its backward pass
  double passing = 0;   ///< beside those, while the part itself runs backward
  double recorded = 0;  ///< at inference, by the routing that was asked for, to the end
  Activations& operator+=(const Activations& other) {
    kept += other.kept;
    passing += other.passing;
    recorded += other.recorded;
    return *this;
  }
};

/// One named tensor of a model: declared with name, shape and init before anything is allocated, so
/// that sizes are counted without memory.
class Parameter {
 public:
  /// Declares itself with `owner`, which must outlive it (it is a member of the owner).
  Parameter(Module& owner, std::string name, std::vector<int64_t> shape, Init init,
            Attributes attributes = {});
  Parameter(const Parameter&) = delete;
  Parameter& operator=(const Parameter&) = delete;

  /// The value; undefined before Module::materialize.
  const at::Tensor& operator*() const { return value_; }
  const at::Tensor* operator->() const { return &value_; }
  /// Replaces the tensor itself; the shape must be the declared one.
  void set_value(at::Tensor value);

  /// Full dotted name inside the root module, e.g. "blocks.0.attn.qkv.weight".
  std::string name() const;
  const std::vector<int64_t>& shape() const { return shape_; }
  int64_t numel() const;
  const Init& init() const { return init_; }
  const Attributes& attributes() const { return attributes_; }
  /// That of its attributes; without one: state of buffers, other if it is frozen or has fewer than
  /// two dimensions, matrix of all else.
  Role role() const;
  /// Whether products read it: a matrix or a router.
  bool is_matrix() const { return role() == Role::matrix || role() == Role::router; }
  bool trainable() const { return !attributes_.frozen && !attributes_.buffer; }
  bool has_row_gradient() const { return attributes_.gradient == Gradient::rows; }

 private:
  friend class Module;
  const Module* owner_;
  std::string name_;
  std::vector<int64_t> shape_;
  Init init_;
  Attributes attributes_;
  at::Tensor value_;
};

/// Where and in which type parameters are made.
struct Placement {
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;
};

/// A part of a model: a named node that owns parameters and child modules as plain members. Neither
/// copied nor moved, since children know their parent.
class Module {
 public:
  /// A root.
  Module() = default;
  /// A child; `name` may be empty (its parameters then carry the parent's name) and may contain
  /// dots.
  Module(Module& parent, std::string name);
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  /// All parameters and buffers below, in order of declaration.
  std::vector<Parameter*> parameters();
  std::vector<const Parameter*> parameters() const;
  /// All modules below, each before its own.
  std::vector<Module*> modules();
  std::vector<const Module*> modules() const;
  /// What this part itself, those below aside, holds of a sample of that many tokens: an estimate.
  /// Without an answer of its own, each of its matrices [..., out, in] keeps what goes in and what
  /// comes out, as often as a token uses it.
  virtual Activations activations(double tokens) const;
  /// The sum over this part and all below.
  Activations all_activations(double tokens) const;
  /// Multiply-adds of one sample of that many tokens outside the matrices, in this part and all
  /// below. Without an answer of its own, those of the parts below.
  virtual double multiply_adds(double tokens) const;
  /// What this part itself cannot work without, and not every model gives.
  virtual std::vector<Need> needs() const { return {}; }
  /// Says that an average token goes through everything below `factor` times as often.
  void scale_uses(double factor);
  /// Says that the products of all matrices below decide where tokens go: Role::router.
  void decides();
  /// Says that everything below is one of the blocks that are stacked.
  void is_block();
  /// One part that all modules of a model have in common, for a state that is kept once: the child
  /// of this name of the root, made as Part(root, name) by the first that asks and kept by the
  /// root.
  template <class Part>
  Part& shared_part(const std::string& name) {
    Module& root = this->root();
    if (Module* found = root.find_shared(name)) return dynamic_cast<Part&>(*found);
    auto part = std::make_unique<Part>(root, name);
    Part& made = *part;
    root.shared_.push_back(std::move(part));
    return made;
  }
  /// Null pointer if there is none of that full name.
  Parameter* find_parameter(const std::string& name);
  const Parameter* find_parameter(const std::string& name) const;
  /// Dotted name inside the root; empty for the root.
  std::string name() const;

  /// Allocates all parameters and gives them their first values; trainable ones require grad unless
  /// `gradients` is false (EMA copies, inference).
  void materialize(uint64_t seed, Placement placement = {}, bool gradients = true);

 private:
  friend class Parameter;
  Module& root();
  Module* find_shared(const std::string& name) const;

  Module* parent_ = nullptr;
  std::string name_;
  std::vector<std::variant<Parameter*, Module*>> entries_;
  std::vector<std::unique_ptr<Module>> shared_;
};

}  // namespace gallop::nn
