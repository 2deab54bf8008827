#include "gallop/sparse/layers/experts.h"

#include "gallop/base/error.h"

namespace gallop::sparse {

at::Tensor Experts::keys_ED() const {
  fail(name(), ": this kind of expert has no keys that a router could be made of");
}

}  // namespace gallop::sparse
