#include "gallop/training/run_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "gallop/base/error.h"
#include "gallop/base/file.h"
#include "gallop/base/log.h"
#include "gallop/config/parse.h"
#include "gallop/config/print.h"

namespace gallop::training {

namespace {

bool is_below(const std::string& key, const std::string& table) {
  return key == table || (key.starts_with(table) && key[table.size()] == '.');
}

}  // namespace

bool changes_state(const std::string& key) {
  // Reading threads, the length of a queue and what is kept decoded change nothing that is read.
  for (const char* name : {"data.workers", "data.queue", "data.source.cache"}) {
    if (key == name) return false;
  }
  for (const char* name :
       {"optimizer", "train.batch", "train.accumulate", "train.precision", "seed"}) {
    if (key == name) return true;
  }
  for (const char* table : {"model", "data", "task", "init"}) {
    if (is_below(key, table)) return true;
  }
  return false;
}

std::string step_name(int64_t step) {
  char name[32];
  std::snprintf(name, sizeof name, "step-%08lld", static_cast<long long>(step));
  return name;
}

RunDirectory::RunDirectory(std::filesystem::path path) : path_(std::move(path)) {
  file_system().make_directories(path_);
  const auto lock = path_ / ".lock";
  lock_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  require(lock_ >= 0, "the run directory ", path_.string(),
          " cannot be written: ", std::strerror(errno),
          ". Choose another with --out, or mend its permissions.");
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    ::close(lock_);
    fail("another process is training in ", path_.string(),
         ": wait for it, stop it, or choose another folder with --out");
  }
}

RunDirectory::~RunDirectory() { ::close(lock_); }

std::filesystem::path RunDirectory::sample_file(int64_t step) const {
  file_system().make_directories(path_ / "samples");
  return path_ / "samples" / (step_name(step) + ".png");
}

std::optional<Recipe> RunDirectory::recipe() const {
  std::error_code error;
  if (!std::filesystem::exists(config_file(), error)) return {};
  Recipe recipe;
  config::load(recipe, config_file());
  return recipe;
}

std::vector<std::string> RunDirectory::compare_recipe(Recipe& recipe,
                                                      const std::vector<std::string>& allow) const {
  std::vector<std::string> changed;
  std::error_code error;
  // One that is there and cannot be looked at is an error of reading it.
  if (!std::filesystem::exists(config_file(), error) && !error) return changed;
  Recipe before;
  config::load(before, config_file());
  const auto allows = [&](const std::string& key) {
    return std::any_of(allow.begin(), allow.end(),
                       [&](const std::string& name) { return is_below(key, name); });
  };
  // The default was false once: a recipe that says nothing must not change the run.
  if (!before.ema.warmup && recipe.ema.warmup && !allows("ema.warmup")) {
    recipe.ema.warmup = false;
    log_info("ema.warmup stays false, as this run began (--allow ema.warmup changes it)");
  }
  std::string refused;
  for (const std::string& line : config::differences(before, recipe)) {
    const std::string key = line.substr(0, line.find(':'));
    if (key == "name" || key == "out") continue;
    changed.push_back(line);
    if (changes_state(key) && !allows(key)) refused += "\n  " + line;
  }
  require(refused.empty(), "the run in ", path_.string(),
          " was started with another recipe, and these keys change what its state means:", refused,
          "\nStart a new run with --out DIR, or accept each change with --allow KEY.");
  return changed;
}

void RunDirectory::write_recipe(Recipe& recipe) const {
  write_file_atomically(config_file(), config::to_toml(recipe));
}

}  // namespace gallop::training
