#include "gallop/config/registry.h"
#include "gallop/sparse/pooled_selection.h"

namespace gallop::sparse {
namespace {

// Rows: B*E. Pool: L. K = k*L/E.
const config::Register<Selection, config::NoSettings> registered{
    "expert", "each expert takes its best tokens of each sample", "Zhou et al., arXiv 2202.09368",
    [](const auto&, const Selection::Args& args) {
      return std::make_unique<PooledSelection>(Pools{.tokens = true}, ThresholdSettings{}, args);
    }};

}  // namespace
}  // namespace gallop::sparse
