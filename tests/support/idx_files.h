#pragma once

#include <cstdint>
#include <filesystem>

namespace gallop::test {

/// Writes an IDX data set as the program reads it, train and test split: grey images of side x side
/// with a bright bar whose place tells the class.
void write_idx_files(const std::filesystem::path& folder, int64_t train_count, int64_t test_count,
                     int64_t side = 8, int64_t classes = 3);

}  // namespace gallop::test
