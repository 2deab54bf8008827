#include "tests/support/paths.h"

namespace gallop::test {

const char* const data_folder = GALLOP_DATA_PATH;
const char* const source_folder = GALLOP_SOURCE_PATH;
const char* const program_file = GALLOP_PROGRAM_PATH;

}  // namespace gallop::test
