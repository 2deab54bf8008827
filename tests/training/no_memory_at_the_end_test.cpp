// What takes things back does so where there is no memory: a destructor that throws ends the
// process, in the very situation in which memory is short.
#include <gtest/gtest.h>

#include <memory>
#include <optional>

#include "gallop/base/progress.h"
#include "gallop/ops/cpu/right_matrices.h"
#include "tests/ops/operator_case.h"
#include "tests/support/failing_memory.h"

namespace gallop::training {
namespace {

using test::FailingMemory;

class NoMemoryAtTheEnd : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!FailingMemory::works()) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    bool failed = false;
    try {
      const FailingMemory none;
      int* volatile memory = new int(1);  // the compiler must not leave it out
      delete memory;
    } catch (const std::bad_alloc&) {
      failed = true;
    }
    ASSERT_TRUE(failed);
  }
};

// More at a time than are ever kept for the next ones.
TEST_F(NoMemoryAtTheEnd, MatricesOfProductsAreGivenBack) {
  const at::Tensor weight = ::gallop::testing::random("w", {40, 24});
  const std::vector<ops::RowBlock> blocks = {{0, 0, 8}, {0, 8, 8}};
  for (int again = 0; again < 2; ++again) {
    std::vector<std::unique_ptr<ops::RightMatrices>> matrices;
    for (int i = 0; i < 100; ++i) {
      matrices.push_back(
          std::make_unique<ops::RightMatrices>(weight, ops::Side::transposed, blocks, nullptr));
    }
    const FailingMemory none;
    matrices.clear();
  }
}

// The line on a terminal, longer than a string holds by itself.
TEST_F(NoMemoryAtTheEnd, AProgressLineIsTakenAway) {
  ::testing::internal::CaptureStderr();
  std::optional<Progress> progress(
      std::in_place, ProgressOptions{.label = "a label that is so long that it needs memory",
                                     .total = 100,
                                     .output = ProgressOptions::Output::line,
                                     .width = 200});
  progress->update(50);
  {
    const FailingMemory none;
    progress.reset();
  }
  const std::string out = ::testing::internal::GetCapturedStderr();
  const size_t width = out.find('\r');
  ASSERT_GT(width, 60U);
  EXPECT_EQ(out.substr(width), "\r" + std::string(width, ' ') + "\r");
}

}  // namespace
}  // namespace gallop::training
