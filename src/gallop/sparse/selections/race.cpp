#include "gallop/config/registry.h"
#include "gallop/sparse/choice/pooled_selection.h"

namespace gallop::sparse {
namespace {

// Rows: 1. Pool: B*L*E. K = B*L*k. Threshold: one scalar.
const config::Register<Selection, BatchPoolSettings> registered{
    "race", "one top-K over all (token, expert) pairs of the batch",
    "Expert Race, arXiv 2503.16057",
    [](const BatchPoolSettings& settings, const Selection::Args& args) {
      return std::make_unique<PooledSelection>(
          Pools{.tokens = true, .samples = true, .experts = true}, settings, args);
    }};

}  // namespace
}  // namespace gallop::sparse
