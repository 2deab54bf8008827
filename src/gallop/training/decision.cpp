#include "gallop/training/decision.h"

#include <array>

namespace gallop::training {

Decision agree(const collectives::World& world, const Decision& own) {
  std::array<int64_t, 3> worst = {own.finite ? 0 : 1, own.spike ? 1 : 0, own.stop ? 1 : 0};
  world.collectives->largest(worst);
  return {.finite = worst[0] == 0, .spike = worst[1] != 0, .stop = worst[2] != 0};
}

}  // namespace gallop::training
