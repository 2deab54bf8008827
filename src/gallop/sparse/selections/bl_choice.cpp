#include "gallop/config/registry.h"
#include "gallop/sparse/choice/pooled_selection.h"

namespace gallop::sparse {
namespace {

// Rows: E. Pool: B*L. K = B*L*k/E. Threshold: one an expert.
const config::Register<Selection, BatchPoolSettings> registered{
    "bl", "each expert takes its best tokens of the batch",
    "Expert Race, arXiv 2503.16057; the pool of DiffMoE, arXiv 2503.14487",
    [](const BatchPoolSettings& settings, const Selection::Args& args) {
      return std::make_unique<PooledSelection>(Pools{.tokens = true, .samples = true}, settings,
                                               args);
    }};

}  // namespace
}  // namespace gallop::sparse
