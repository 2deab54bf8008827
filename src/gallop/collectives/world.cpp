#include "gallop/collectives/world.h"

namespace gallop::collectives {
namespace {

class Alone : public Collectives {
 public:
  void sum(std::span<double>) override {}
  void sum(std::span<int64_t>) override {}
  void largest(std::span<int64_t>) override {}
};

}  // namespace

Collectives& alone() {
  static Alone instance;
  return instance;
}

}  // namespace gallop::collectives
