#pragma once

// Included by every test file from the command line (tests/CMakeLists.txt). The paths stand in one
// object file and not in -D options of all, so that the compiler cache serves a clone in another
// folder too.

namespace gallop::test {

/// The folder tests/data of the source tree.
extern const char* const data_folder;
/// The root of the source tree.
extern const char* const source_folder;
/// The program `gallop` of this build.
extern const char* const program_file;

}  // namespace gallop::test

// NOLINTBEGIN(cppcoreguidelines-macro-usage): the short names of the above, of type `const char*`.
#define GALLOP_TEST_DATA (::gallop::test::data_folder)
#define GALLOP_SOURCE_DIR (::gallop::test::source_folder)
#define GALLOP_PROGRAM (::gallop::test::program_file)
// NOLINTEND(cppcoreguidelines-macro-usage)
