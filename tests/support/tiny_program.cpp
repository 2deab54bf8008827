#include "tests/support/tiny_program.h"

#include <fstream>

#include "gallop/base/json.h"
#include "tests/support/idx_files.h"

namespace gallop::test {

TinyProgram::TinyProgram() {
  write_idx_files(folder_ / "data", 48, 12);
  std::ofstream(folder_ / "tiny.toml") << R"(
threads = 1
task.data.source = { kind = "idx", path = ")"
                                       << (folder_ / "data").string() << R"(" }
task.model = { kind = "dit", depth = 1, width = 16, heads = 2, patch = 2, mlp = { kind = "moe", setting = "2-in-4" } }
task.kind = "image-generation"
task.objective = "flow"
train = { steps = 20, batch = 6 }
optimizer = { kind = "adamw", lr = 3e-3 }
eval = { every = 10, samples = 12, batch = 12 }
sample = { every = 0 }
checkpoint = { every = 5 }
log = { every = 1 }
)";
}

std::vector<std::string> TinyProgram::train(const std::filesystem::path& out,
                                            const std::vector<std::string>& set) const {
  std::vector<std::string> args = {"train", (folder_ / "tiny.toml").string(), "--out",
                                   (folder_ / out).string()};
  for (const std::string& change : set) args.insert(args.end(), {"--set", change});
  return args;
}

int64_t last_logged_step(const std::filesystem::path& run, double since) {
  std::ifstream file(run / "log.jsonl");
  int64_t step = 0;
  for (std::string line; std::getline(file, line) && !file.eof();) {
    const Json entry = Json::parse(line);
    if (entry.at("time").as_double() >= since) step = entry.at("step").as_int();
  }
  return step;
}

}  // namespace gallop::test
