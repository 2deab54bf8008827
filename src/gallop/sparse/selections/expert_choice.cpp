#include "gallop/config/registry.h"
#include "gallop/sparse/choice/pooled_selection.h"

namespace gallop::sparse {
namespace {

// Rows: B*E. Pool: L. K = k*L/E.
const config::Register<Selection, TopKSettings> registered{
    "expert", "each expert takes its best tokens of each sample", "Zhou et al., arXiv 2202.09368",
    [](const TopKSettings& settings, const Selection::Args& args) {
      return std::make_unique<PooledSelection>(Pools{.tokens = true}, settings, args);
    }};

}  // namespace
}  // namespace gallop::sparse
