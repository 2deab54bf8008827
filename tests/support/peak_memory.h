#pragma once

#include <malloc.h>

#include <fstream>

namespace gallop::test {

/// Gives freed memory back and makes what is held now the peak; false where the system does not
/// allow it.
inline bool reset_peak_memory() {
  malloc_trim(0);
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;
  return file.good();
}

}  // namespace gallop::test
