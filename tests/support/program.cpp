#include "tests/support/program.h"

#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <thread>

#include "tests/support/paths.h"

extern "C" char** environ;

namespace gallop::test {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail_with(int error, const std::string& what) {
  throw std::system_error(error, std::generic_category(), what);
}

// A file without a name. Unlike a pipe it is never full, and no process that lives on keeps a
// reader waiting.
int anonymous_file(const char* name) {
  const int file = memfd_create(name, MFD_CLOEXEC);
  if (file < 0) fail_with(errno, "memfd_create");
  return file;
}

void write_all(int file, const std::string& text) {
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = write(file, text.data() + done, text.size() - done);
    if (n < 0) fail_with(errno, "write");
    done += static_cast<size_t>(n);
  }
}

std::string read_all(int file) {
  std::string text;
  std::array<char, 1 << 14> buffer;
  // pread: the offset of the file belongs to the program that writes.
  while (true) {
    const ssize_t n = pread(file, buffer.data(), buffer.size(), static_cast<off_t>(text.size()));
    if (n < 0) fail_with(errno, "pread");
    if (n == 0) return text;
    text.append(buffer.data(), static_cast<size_t>(n));
  }
}

std::vector<std::string> merged_environment(const std::map<std::string, std::string>& changes) {
  std::vector<std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!changes.contains(text.substr(0, text.find('=')))) merged.push_back(text);
  }
  for (const auto& [name, value] : changes) merged.push_back(name + "=" + value);
  return merged;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (auto& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

RunningProgram::RunningProgram(const std::vector<std::string>& args, const ProgramOptions& options)
    : out_(anonymous_file("out")),
      err_(anonymous_file("err")),
      deadline_(Clock::now() + options.timeout) {
  const int in = anonymous_file("in");
  write_all(in, options.input);
  lseek(in, 0, SEEK_SET);

  const std::string program = options.program.empty() ? program_file : options.program.string();
  std::vector<std::string> command{program};
  command.insert(command.end(), args.begin(), args.end());
  std::vector<std::string> environment = merged_environment(options.env);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out_, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err_, STDERR_FILENO);
  if (!options.cwd.empty()) posix_spawn_file_actions_addchdir_np(&actions, options.cwd.c_str());
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);
  const int error = posix_spawn(&pid_, program.c_str(), &actions, &attributes,
                                pointers(command).data(), pointers(environment).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  close(in);
  if (error != 0) {
    close(out_);
    close(err_);
    fail_with(error, "cannot start " + program);
  }
}

RunningProgram::~RunningProgram() {
  if (!ended()) {
    kill(-pid_, SIGKILL);
    waitpid(pid_, &wait_status_, 0);
  }
  close(out_);
  close(err_);
}

void RunningProgram::signal(int number) const {
  if (kill(-pid_, number) != 0) fail_with(errno, "kill");
}

std::string RunningProgram::out() const { return read_all(out_); }
std::string RunningProgram::err() const { return read_all(err_); }

bool RunningProgram::ended() {
  if (!ended_ && waitpid(pid_, &wait_status_, WNOHANG) == pid_) ended_ = true;
  return ended_;
}

bool RunningProgram::wait_for(const std::string& text, std::chrono::milliseconds limit) {
  const auto until = std::min(deadline_, Clock::now() + limit);
  while (true) {
    const bool last = ended() || Clock::now() >= until;
    if (out().find(text) != std::string::npos || err().find(text) != std::string::npos) return true;
    if (last) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

ProgramResult RunningProgram::wait() {
  while (!ended()) {
    if (Clock::now() >= deadline_) {
      timed_out_ = true;
      kill(-pid_, SIGKILL);
      waitpid(pid_, &wait_status_, 0);
      ended_ = true;
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
  const int status =
      WIFEXITED(wait_status_) ? WEXITSTATUS(wait_status_) : 128 + WTERMSIG(wait_status_);
  return {status, timed_out_, out(), err()};
}

ProgramResult run_program(const std::vector<std::string>& args, const ProgramOptions& options) {
  return RunningProgram(args, options).wait();
}

}  // namespace gallop::test
