#include "gallop/sparse/choice/pairs.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <vector>

#include "gallop/base/error.h"

namespace gallop::sparse {

at::Tensor order_by_candidate(const at::Tensor& candidate_P, int64_t candidates) {
  const int64_t P = candidate_P.numel();
  // A table of all candidates pays only where it is not longer than the pairs.
  if (!candidate_P.is_cpu() || candidates > 4 * P) {
    return at::argsort(candidate_P, /*stable=*/true, /*dim=*/0, /*descending=*/false);
  }
  const at::Tensor source = candidate_P.contiguous();
  const int64_t* candidate = source.const_data_ptr<int64_t>();
  std::vector<int64_t> next(candidates + 1);
  for (int64_t p = 0; p < P; ++p) ++next[candidate[p] + 1];
  for (int64_t e = 0; e < candidates; ++e) next[e + 1] += next[e];
  at::Tensor order_P = at::empty({P}, source.options());
  int64_t* order = order_P.mutable_data_ptr<int64_t>();
  for (int64_t p = 0; p < P; ++p) order[next[candidate[p]]++] = p;
  return order_P;
}

Pairs Pairs::of_mask(const at::Tensor& mask_BLE) {
  const int64_t samples = mask_BLE.dim() == 2 ? 1 : mask_BLE.size(0);
  Pairs pairs({.samples = samples, .tokens = mask_BLE.size(-2), .candidates = mask_BLE.size(-1)});
  pairs.forms_->mask_BLE = mask_BLE;
  return pairs;
}

Pairs Pairs::of_lists(const at::Tensor& candidate_BLK, int64_t candidates) {
  Pairs pairs({.samples = candidate_BLK.size(0),
               .tokens = candidate_BLK.size(1),
               .candidates = candidates});
  pairs.forms_->lists_BLK = candidate_BLK;
  return pairs;
}

Pairs Pairs::of_sorted(const Shape& shape, const at::Tensor& token_P,
                       const at::Tensor& candidate_P) {
  Pairs pairs(shape);
  pairs.forms_->token_P = token_P;
  pairs.forms_->candidate_P = candidate_P;
  return pairs;
}

Pairs Pairs::of_runs(const Shape& shape, const at::Tensor& token_P, const at::Tensor& offsets) {
  Pairs pairs(shape);
  pairs.forms_->token_P = token_P;
  pairs.forms_->offsets = offsets;
  return pairs;
}

Pairs Pairs::of_positions(const at::Tensor& positions_BK, int64_t tokens) {
  const int64_t B = positions_BK.size(0);
  const at::Tensor first_B1 = at::arange(B, positions_BK.options()).mul(tokens).unsqueeze(1);
  const at::Tensor token_P = positions_BK.add(first_B1).flatten();
  return of_sorted({.samples = B, .tokens = tokens, .candidates = 1}, token_P,
                   at::zeros(token_P.sizes(), token_P.options()));
}

// token_P, and candidate_P where the source gives it on the way.
void Pairs::list_one_by_one() const {
  require(defined(), "pairs that nobody chose: a choice made none");
  if (forms_->token_P.defined()) return;
  const int64_t E = candidates();
  if (forms_->lists_BLK.defined()) {
    const int64_t K = forms_->lists_BLK.size(-1);
    const at::Tensor candidate_N = forms_->lists_BLK.reshape({-1});
    const at::Tensor order_P = order_by_candidate(candidate_N, E);
    forms_->candidate_P = candidate_N.index_select(0, order_P);
    forms_->token_P = K == 0 ? order_P : order_P.floor_divide(K);
    return;
  }
  const at::Tensor mask_ET = forms_->mask_BLE.reshape({samples() * tokens(), E}).t();
  const at::Tensor pairs_P2 = mask_ET.nonzero();  // sorted by candidate, then token
  forms_->token_P = pairs_P2.select(1, 1).contiguous();
  forms_->candidate_P = pairs_P2.select(1, 0).contiguous();
}

int64_t Pairs::count() const {
  if (forms_->lists_BLK.defined()) return forms_->lists_BLK.numel();
  return token_P().size(0);
}

const at::Tensor& Pairs::token_P() const {
  list_one_by_one();
  return forms_->token_P;
}

const at::Tensor& Pairs::candidate_P() const {
  list_one_by_one();
  if (!forms_->candidate_P.defined()) {
    forms_->candidate_P =
        at::arange(candidates()).repeat_interleave(loads()).to(forms_->token_P.device());
  }
  return forms_->candidate_P;
}

const at::Tensor& Pairs::offsets() const {
  if (!forms_->offsets.defined()) {
    const int64_t E = candidates();
    const at::Tensor loads_E = forms_->mask_BLE.defined()
                                   ? forms_->mask_BLE.reshape({samples() * tokens(), E}).sum(0)
                                   : candidate_P().bincount({}, E);
    forms_->offsets = at::zeros({E + 1}, at::TensorOptions(at::kLong));
    forms_->offsets.narrow(0, 1, E).copy_(loads_E.cumsum(0));
  }
  return forms_->offsets;
}

at::Tensor Pairs::place_P() const { return token_P().mul(candidates()).add(candidate_P()); }

const at::Tensor& Pairs::mask_BLE() const {
  if (!forms_->mask_BLE.defined()) {
    const at::Tensor place = place_P();
    forms_->mask_BLE =
        at::zeros({samples() * tokens() * candidates()}, place.options().dtype(at::kBool))
            .index_fill_(0, place, true)
            .reshape({samples(), tokens(), candidates()});
  }
  return forms_->mask_BLE;
}

const at::Tensor& Pairs::lists_BLK() const { return forms_->lists_BLK; }

at::Tensor Pairs::loads() const { return offsets().diff(); }

at::Tensor Pairs::count_B() const {
  return token_P().floor_divide(tokens()).bincount({}, samples());
}

int64_t Pairs::starved() const {
  const at::Tensor& token = token_P();
  const int64_t T = samples() * tokens();
  const at::Tensor served_T =
      at::zeros({T}, token.options().dtype(at::kBool)).index_fill_(0, token, true);
  return T - served_T.sum().item<int64_t>();
}

Pairs Pairs::of_samples(const at::Tensor& wanted_B) const {
  const at::Tensor sample_P = token_P().floor_divide(tokens());
  const at::Tensor kept_Q = wanted_B.index_select(0, sample_P).nonzero().squeeze(1);
  return of_sorted(shape_, token_P().index_select(0, kept_Q),
                   candidate_P().index_select(0, kept_Q));
}

}  // namespace gallop::sparse
