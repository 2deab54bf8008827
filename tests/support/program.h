#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace gallop::test {

struct ProgramOptions {
  std::filesystem::path cwd;  ///< empty: that of the test
  std::map<std::string, std::string>
      env;            ///< added to the environment of the test, or replacing in it
  std::string input;  ///< what the program reads from standard input
  std::chrono::milliseconds timeout =
      std::chrono::seconds(120);  ///< after it the program is killed
  std::filesystem::path program;  ///< empty: the program `gallop` of this build
};

struct ProgramResult {
  int status = -1;         ///< exit status, or 128 + the number of the signal that ended it
  bool timed_out = false;  ///< it was killed because it ran too long
  std::string out;         ///< all of its standard output
  std::string err;         ///< all of its standard error
};

/// A program that runs beside the test, in a process group of its own. It is started without a
/// shell and killed, with what it started, when this object dies.
class RunningProgram {
 public:
  /// Throws std::system_error if the program cannot be started.
  explicit RunningProgram(const std::vector<std::string>& args, const ProgramOptions& options = {});
  ~RunningProgram();
  RunningProgram(const RunningProgram&) = delete;
  RunningProgram& operator=(const RunningProgram&) = delete;

  /// Sends a signal, SIGINT say, to its whole group, as a terminal does.
  void signal(int number) const;
  /// What it has written so far.
  std::string out() const;
  std::string err() const;
  /// Waits for `text` on standard output or standard error: false if the program ended or the time
  /// was up before.
  bool wait_for(const std::string& text,
                std::chrono::milliseconds limit = std::chrono::seconds(60));
  /// Waits for its end, at most for the time left of the options' timeout.
  ProgramResult wait();

 private:
  bool ended();

  pid_t pid_ = -1;
  int wait_status_ = 0;
  bool ended_ = false;
  bool timed_out_ = false;
  int out_ = -1;
  int err_ = -1;
  std::chrono::steady_clock::time_point deadline_;
};

/// Runs the program with `args` (its name not among them) to its end.
ProgramResult run_program(const std::vector<std::string>& args, const ProgramOptions& options = {});

}  // namespace gallop::test
