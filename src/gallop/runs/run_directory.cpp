#include "gallop/runs/run_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "gallop/base/error.h"
#include "gallop/base/file.h"
#include "gallop/base/format.h"
#include "gallop/config/print.h"

namespace gallop::runs {

std::string step_name(int64_t step) { return format("step-%08lld", static_cast<long long>(step)); }

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

void RunDirectory::write(int64_t step, const formats::Artifact& artifact) const {
  const std::filesystem::path folder = path_ / artifact.name;
  file_system().make_directories(folder);
  write_file_atomically(folder / (step_name(step) + formats::ending_of(artifact)),
                        formats::to_file(artifact));
}

void RunDirectory::write_recipe(Recipe& recipe) const {
  write_file_atomically(config_file(), config::to_toml(recipe));
}

}  // namespace gallop::runs
