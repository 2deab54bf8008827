#include "gallop/base/proc.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temporary_directory.h"

namespace gallop {
namespace {

class Proc : public testing::Test {
 protected:
  Proc() {
    std::ofstream(file_) << "model\t\t: 1\nmodel name\t: Some CPU: 9000\nMemTotal:  4096 kB\n"
                            "inactive_file 77\nempty:\nmodel\t\t: 2\n";
  }
  test::TemporaryDirectory folder_;
  std::filesystem::path file_ = folder_ / "file";
};

TEST_F(Proc, ReadsTheFirstLine) {
  EXPECT_EQ(proc_line(file_), "model\t\t: 1");
  EXPECT_EQ(proc_line(folder_ / "absent"), "");
}

TEST_F(Proc, FindsTheValueOfAWholeKey) {
  EXPECT_EQ(proc_value(file_, "model"), "1");
  EXPECT_EQ(proc_value(file_, "model name"), "Some CPU: 9000");
  EXPECT_EQ(proc_value(file_, "inactive_file"), "77");
  EXPECT_EQ(proc_value(file_, "empty"), "");
  EXPECT_EQ(proc_value(file_, "mode"), std::nullopt);
  EXPECT_EQ(proc_value(folder_ / "absent", "model"), std::nullopt);
}

TEST_F(Proc, FindsTheNumberOfAKey) {
  EXPECT_EQ(proc_number(file_, "MemTotal"), 4096u);
  EXPECT_EQ(proc_number(file_, "inactive_file"), 77u);
  EXPECT_EQ(proc_number(file_, "model name"), std::nullopt);
  EXPECT_EQ(proc_number(file_, "absent"), std::nullopt);
}

TEST(LeadingNumber, IsWhatATextBeginsWith) {
  EXPECT_EQ(leading_number("150000 100000"), 150000u);
  for (const char* text : {"", "max", "-1", " 1", "99999999999999999999"})
    EXPECT_EQ(leading_number(text), std::nullopt) << text;
}

}  // namespace
}  // namespace gallop
