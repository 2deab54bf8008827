#include "tests/support/read_only.h"

#include <sys/fsuid.h>
#include <unistd.h>

namespace gallop::test {

namespace fs = std::filesystem;

constexpr uid_t nobody = 65534;

ReadOnlyFolder::ReadOnlyFolder(const fs::path& folder)
    : folder_(folder), before_(fs::status(folder).permissions()), root_(::geteuid() == 0) {
  using enum fs::perms;
  fs::permissions(folder_,
                  owner_read | owner_exec | group_read | group_exec | others_read | others_exec);
  if (root_) ::setfsuid(nobody);
}

ReadOnlyFolder::~ReadOnlyFolder() {
  if (root_) ::setfsuid(0);
  fs::permissions(folder_, before_);
}

}  // namespace gallop::test
