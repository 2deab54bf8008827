#include "gallop/config/registry.h"
#include "gallop/sparse/choice/pooled_selection.h"

namespace gallop::sparse {
namespace {

// Rows: L. Pool: B*E. K = B*k. Threshold: one a position.
const config::Register<Selection, BatchPoolSettings> registered{
    "be", "each position takes its best (sample, expert) pairs", "Expert Race, arXiv 2503.16057",
    [](const BatchPoolSettings& settings, const Selection::Args& args) {
      return std::make_unique<PooledSelection>(Pools{.samples = true, .experts = true}, settings,
                                               args);
    }};

}  // namespace
}  // namespace gallop::sparse
