// gallop train: trains the run of a recipe, or goes on with it.
#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "gallop/base/stop.h"
#include "gallop/command.h"
#include "gallop/options.h"
#include "gallop/runs/find_run.h"
#include "gallop/training/trainer.h"

namespace gallop {
namespace {

struct TrainArguments {
  std::string recipe, out;
  std::vector<std::string> set, allow;
};

// 128 + SIGINT: a script that started the run sees that it is not complete.
constexpr int stopped_status = 130;

void train(const TrainArguments& arguments) {
  const StopSignals signals;
  if (!arguments.out.empty()) require_not_set(arguments.set, "--out", {"out"});
  runs::Recipe recipe = runs::load_run(arguments.recipe, arguments.set, arguments.out);
  training::Trainer trainer(std::move(recipe), arguments.allow);
  if (trainer.run() == training::Ended::stopped) throw Exit{stopped_status};
}

const Command registered{[](CLI::App& app) {
  auto arguments = std::make_shared<TrainArguments>();
  CLI::App* command = app.add_subcommand(
      "train",
      "train the run of a recipe; the same command again goes on from its newest good checkpoint");
  command
      ->add_option(
          "recipe", arguments->recipe,
          "TOML recipe; or the folder of a run, or the config.toml in it, which is trained "
          "where it lies")
      ->required();
  command->add_option(
      "--out", arguments->out,
      "run directory (default: runs/<recipe name>; of a run: its own). With a run it "
      "means another run of the same recipe");
  add_overrides(*command, arguments->set);
  command
      ->add_option("--allow", arguments->allow,
                   "accept a changed key on resume although it changes what the state means; of "
                   "the data: data.classes, data.shape, data.count, data.content, data.held_out")
      ->type_name("KEY")
      ->allow_extra_args(false);
  command->footer("Ctrl-C saves and leaves with status 130; a second one leaves at once.");
  command->callback([arguments] { train(*arguments); });
}};

}  // namespace
}  // namespace gallop
