#include "gallop/config/registry.h"
#include "gallop/sparse/choice/pooled_selection.h"

namespace gallop::sparse {
namespace {

// Rows: B*L. Pool: E. K = k.
const config::Register<Selection, TopKSettings> registered{
    "token", "each token takes its K best experts", "Shazeer et al., arXiv 1701.06538",
    [](const TopKSettings& settings, const Selection::Args& args) {
      return std::make_unique<PooledSelection>(Pools{.experts = true}, settings, args);
    }};

}  // namespace
}  // namespace gallop::sparse
