#include "gallop/config/registry.h"
#include "gallop/sparse/choice/pooled_selection.h"

namespace gallop::sparse {
namespace {

// Rows: B. Pool: L*E. K = L*k.
const config::Register<Selection, TopKSettings> registered{
    "le", "each sample takes its best (token, expert) pairs", "Expert Race, arXiv 2503.16057",
    [](const TopKSettings& settings, const Selection::Args& args) {
      return std::make_unique<PooledSelection>(Pools{.tokens = true, .experts = true}, settings,
                                               args);
    }};

}  // namespace
}  // namespace gallop::sparse
