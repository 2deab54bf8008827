#pragma once

#include "gallop/sparse/choice/routing_record.h"

namespace gallop::sparse {

/// [B, L, E] the probability that each pair would be among a token's k best if the noise of that
/// pair alone were drawn again: Phi((clean logit - what it must exceed) / scale of its noise), k <
/// E (Shazeer et al., arXiv 1701.06538). Of token choice by a router that shows `clean_logits` and
/// `noise_scale`. The gradient also flows through the value to be exceeded.
at::Tensor expected_load(const RoutingRecord& record);

}  // namespace gallop::sparse
