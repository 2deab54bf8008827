#include "gallop/runs/recipe.h"

#include <algorithm>
#include <filesystem>

#include "gallop/base/file.h"
#include "gallop/config/parse.h"
#include "gallop/config/registry.h"

namespace gallop::runs {

using config::at_least;
using config::between;

void TrainConfig::fields(config::Visitor& v) {
  v.field("steps", steps, "optimizer steps of the whole run", at_least(1));
  v.effect(config::Effect::state);
  v.field("batch", batch, "samples a micro-batch; a batch-wide selection competes over these",
          at_least(1));
  v.field("accumulate", accumulate, "micro-batches a step; each is routed on its own", at_least(1));
  v.field(
      "precision", precision,
      "operands of products with weight matrices, in training, evaluation and sampling: "
      "float32, or rounded to bf16 on CPUs with avx512_bf16; the scores of routers and all else "
      "stay float32",
      {"float32", "bf16"});
  v.effect(config::Effect::free);
  v.field("clip", clip, "largest global norm of the gradient; 0: no clipping", at_least(0));
  v.field("max_skipped", max_skipped,
          "stop after so many steps in a row that were not applied: a non-finite loss, gradient or "
          "update, or a spike",
          at_least(1));
  v.field("spike", spike,
          "do not apply a step whose loss or gradient norm lies more than so many standard "
          "deviations above the mean of the last 128 applied steps (6 is usual); 0: apply it",
          at_least(0));
  v.field(
      "dump_nonfinite", dump_nonfinite,
      "write weights, gradients and sample numbers of a step with a non-finite loss, gradient or "
      "update to nonfinite/ of the run");
  v.field("check", check,
          "end the run with an error that names step and layer where a router's score is NaN or "
          "infinite, instead of skipping the step");
}

void EmaConfig::fields(config::Visitor& v) {
  v.field("decay", decay, "decay of the moving average of the weights", between(0, 1));
  v.field(
      "warmup", warmup,
      "decay min(decay, (1+s)/(10+s)) with s the applied steps, so that the average soon leaves "
      "the first weights behind; false: the decay from the first step on, for runs of many times "
      "1 / (1 - decay) steps. A run goes on as it began unless --allow ema.warmup");
}

double EmaConfig::decay_at(int64_t applied_steps) const {
  const auto s = static_cast<double>(applied_steps);
  return warmup ? std::min(decay, (1 + s) / (10 + s)) : decay;
}

void InitConfig::fields(config::Visitor& v) {
  v.field("weights", weights, "safetensors file to start from; empty: fresh weights");
  config::Choices known = {"auto", "own"};
  for (const config::ComponentInfo* adapter : config::components_of("names"))
    known.push_back(adapter->kind);
  v.field("names", names,
          "whose names its tensors have: those of a published release, the network's own, or auto: "
          "of any release that its family knows",
          known);
  v.field("allow", allow,
          "differences that are accepted: names or prefixes of tensors that are new, missing or "
          "reshaped; "
          "\"new\", \"missing\", \"reshaped\" for all of a kind");
  v.field("labels", labels, "how rows of the class table are matched: by index, or by class name",
          {"index", "name"});
  v.field("null_row", null_row,
          "whether the last row of the file's class table is that of the null label; auto: told by "
          "its metadata, or by its rows being the classes of the model or one more",
          {"auto", "last", "none"});
}

void CheckpointConfig::fields(config::Visitor& v) {
  v.field("every", every, "steps between checkpoints; the last step always writes one",
          at_least(1));
  v.field(
      "keep_last", keep_last,
      "newest checkpoints that are kept; those with NaN or infinite values take no place of others",
      at_least(1));
  v.field("keep_every", keep_every, "also keep those whose step is a multiple; 0: none",
          at_least(0));
  v.field("background_save", background_save,
          "write beside the training, from a copy of the state in memory; false: training waits");
  v.field("on_error", on_error,
          "after a checkpoint, log line or sample sheet that could not be written (a full disk, no "
          "memory for it) or drawn (not finite): warn and train on, or stop with the last good "
          "checkpoint",
          {"go-on", "stop"});
}

void LogConfig::fields(config::Visitor& v) {
  v.field("every", every, "steps between lines of log.jsonl", at_least(1));
  v.field("tensorboard", tensorboard, "write TensorBoard event files too");
}

void EvalConfig::fields(config::Visitor& v) {
  v.field("every", every, "steps between evaluations on held-out data; 0: never", at_least(0));
}

void SampleConfig::fields(config::Visitor& v) {
  v.field("every", every, "steps between sample sheets; 0: never", at_least(0));
}

void Recipe::fields(config::Visitor& v) {
  using config::Effect;
  v.field("format", format,
          "version of this form of a recipe; where it is 1 or not stated, keys may have the names "
          "of before",
          between(1, 2));
  v.field("name", name, "name of the run; empty: the recipe file's");
  v.effect(Effect::state);
  v.field("seed", seed, "key of all randomness", at_least(0));
  v.effect(Effect::free);
  v.field("out", out, "run directory; empty: runs/<name>");
  v.field("threads", threads,
          "CPU threads of our kernels; 0: OMP_NUM_THREADS, or one for each core and a container's "
          "quota",
          between(0, 4096));
  v.field("device", device, "where tensors live: auto takes a GPU where libtorch sees one",
          {"auto", "cpu", "gpu"});
  v.field("memory_limit", memory_limit, "refuse to start above this share of the available memory",
          between(0, 100));
  v.effect(Effect::state);
  v.component("task", task, "what is learned: its data, its network, how it is judged");
  v.effect(Effect::free);
  v.table("train", train, "length and batch");
  v.effect(Effect::state);
  v.component("optimizer", optimizer, "how gradients become steps");
  v.effect(Effect::free);
  v.component("schedule", schedule, "the learning rate over the run");
  v.table("ema", ema, "moving average of the weights");
  v.effect(Effect::state);
  v.table("init", init, "starting from other weights");
  v.effect(Effect::free);
  v.table("eval", eval, "when the run is judged on held-out data");
  v.table("sample", sample, "when the run shows what it generates");
  v.table("checkpoint", checkpoint, "what is kept of the run");
  v.table("log", log, "what is written while it runs");
}

const config::Layout* Recipe::layout() const {
  static const config::Layout layout{
      .version = 2,
      .renames = {{"data", "task.data"},
                  {"model", "task.model"},
                  {"eval.samples", "task.eval.samples"},
                  {"eval.batch", "task.eval.batch"},
                  {"sample.per_class", "task.sample.per_class"},
                  {"sample.sampler", "task.sample.sampler"},
                  {"sample.steps", "task.sample.steps"},
                  {"sample.guidance", "task.sample.guidance"},
                  {"sample.guidance_from", "task.sample.guidance_from"},
                  {"sample.guidance_to", "task.sample.guidance_to"},
                  {"sample.guidance_channels", "task.sample.guidance_channels"}}};
  return &layout;
}

namespace {

constexpr const char* data_key = "task.data.source";

}  // namespace

Recipe recipe_in(const std::string& text, const std::string& what,
                 const std::vector<std::string>& overrides) {
  Recipe recipe;
  recipe.names_data = config::is_stated(config::load_text(recipe, text, what, overrides), data_key);
  recipe.format = recipe.layout()->version;
  return recipe;
}

Recipe load_recipe(const std::string& path, const std::vector<std::string>& overrides) {
  Recipe recipe = recipe_in(read_file(path), path, overrides);
  if (recipe.name.empty()) recipe.name = std::filesystem::path(path).stem().string();
  if (recipe.out.empty()) recipe.out = "runs/" + recipe.name;
  return recipe;
}

}  // namespace gallop::runs
