// The main of every test program. Many tests share a process (tests/CMakeLists.txt), so a test that
// crashes or hangs is named here: nobody else could tell.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <initializer_list>
#include <string>

namespace {

constexpr unsigned limit_s = 300;
// Fixed memory: a handler of a signal must not allocate.
char current[512] = "no test";

void write_text(const char* text) {
  if (write(STDERR_FILENO, text, std::strlen(text)) < 0) return;  // nobody is left to tell
}

void on_signal(int signal) {
  write_text(signal == SIGALRM ? "\n[ HANGS    ] " : "\n[ CRASHED  ] ");
  write_text(current);
  write_text(signal == SIGALRM ? ": more than 300 s\n" : "\n");
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

class NameTheTest : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo& test) override {
    const std::string name = std::string(test.test_suite_name()) + "." + test.name();
    std::strncpy(current, name.c_str(), sizeof current - 1);
    if (name.find(".Long") == std::string::npos) alarm(limit_s);
  }
  void OnTestEnd(const testing::TestInfo&) override { alarm(0); }
};

}  // namespace

int main(int count, char** arguments) {
  testing::InitGoogleMock(&count, arguments);
  std::signal(SIGALRM, on_signal);
#if !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)  // they say more of a crash themselves
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT})
    std::signal(signal, on_signal);
#endif
  testing::UnitTest::GetInstance()->listeners().Append(new NameTheTest);
  return RUN_ALL_TESTS();
}
