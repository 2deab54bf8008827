#pragma once

namespace gallop {

/// While it lives, the first SIGINT or SIGTERM only sets a flag, so that a run can save and leave,
/// and the second ends the process at once with status 130. One at a time; the handlers from before
/// are put back by the destructor, which also clears the flag.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
};

/// Whether the flag is set. Cheap; any thread.
bool stop_requested();
/// Sets the flag as a signal would; for tests and for a server that is told to end.
void request_stop();

}  // namespace gallop
