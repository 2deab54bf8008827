#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>

#include "gallop/base/allocation.h"
#include "gallop/base/error.h"
#include "gallop/command.h"

int main(int argc, char** argv) {
  gallop::keep_freed_memory();
  at::set_num_threads(1);         // our kernels share their work among threads of their own
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on the size of files is an error of the write, no end
  CLI::App app{"Gallop trains, samples, evaluates and inspects sparse diffusion transformers"};
  app.set_version_flag("--version", GALLOP_VERSION);
  app.require_subcommand(1);
  for (const auto& add : gallop::commands()) add(app);
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::ParseError& error) {
    // CLI11 ends help with 0; everything else that a user typed wrong is status 2.
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const gallop::Exit& exit) {
    return exit.status;
  } catch (const gallop::Error& error) {
    std::fprintf(stderr, "gallop: error: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "gallop: internal error: %s\n", error.what());
    return 1;
  }
}
