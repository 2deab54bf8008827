#include "gallop/sparse/routing_record.h"

#include "gallop/base/error.h"

namespace gallop::sparse {

const at::Tensor& RoutingRecord::extra(const std::string& wanted) const {
  const auto found = extras.find(wanted);
  require(found != extras.end(), layer, ": a loss needs ", wanted,
          ", which this router does not show; choose the router that the loss is made for");
  return found->second;
}

}  // namespace gallop::sparse
