#include "gallop/config/registry.h"
#include "gallop/sparse/pooled_selection.h"

namespace gallop::sparse {
namespace {

// Rows: B*L. Pool: E. K = k.
const config::Register<Selection, config::NoSettings> registered{
    "token", "each token takes its K best experts", "Shazeer et al., arXiv 1701.06538",
    [](const auto&, const Selection::Args& args) {
      return std::make_unique<PooledSelection>(Pools{.experts = true}, ThresholdSettings{}, args);
    }};

}  // namespace
}  // namespace gallop::sparse
