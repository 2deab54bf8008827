#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

namespace gallop::sparse {

/// A set of (token, candidate) pairs, of B samples with L tokens each and E candidates. It is made
/// from a mask, from the candidates of each token, or from the pairs themselves; every other form
/// is made where someone asks for it, and once. All but the mask and the offsets grow with the
/// pairs alone, so that candidates may be millions. A copy shares the forms. Not for several
/// threads.
class Pairs {
 public:
  struct Shape {
    int64_t samples = 0, tokens = 0, candidates = 0;  ///< B, L, E
  };

  Pairs() = default;
  /// Where mask_BLE (bool; [T, E] is one sample) is set.
  static Pairs of_mask(const at::Tensor& mask_BLE);
  /// K candidates of each token, int64 [B, L, K], none of them twice for one token.
  static Pairs of_lists(const at::Tensor& candidate_BLK, int64_t candidates);
  /// Pairs one by one, int64 [P], sorted by candidate, tokens b*L+l ascending inside one. A pair
  /// may stand there more than once, where several queries of a token found the same candidate.
  static Pairs of_sorted(const Shape& shape, const at::Tensor& token_P,
                         const at::Tensor& candidate_P);
  /// The same where pairs offsets[e] .. offsets[e+1]-1 belong to candidate e; int64 [E+1] on the
  /// CPU.
  static Pairs of_runs(const Shape& shape, const at::Tensor& token_P, const at::Tensor& offsets);
  /// For a part that takes K positions of every sample, int64 [B, K] ascending: those tokens with
  /// its one candidate.
  static Pairs of_positions(const at::Tensor& positions_BK, int64_t tokens);

  bool defined() const { return forms_ != nullptr; }
  int64_t samples() const { return shape_.samples; }
  int64_t tokens() const { return shape_.tokens; }
  int64_t candidates() const { return shape_.candidates; }
  /// P.
  int64_t count() const;

  /// [P] int64: token b*L+l of each pair; sorted by candidate, tokens ascending inside one.
  const at::Tensor& token_P() const;
  /// [P] int64: the candidate of each pair.
  const at::Tensor& candidate_P() const;
  /// [E+1] int64 on the CPU: pairs offsets[e] .. offsets[e+1]-1 belong to candidate e.
  const at::Tensor& offsets() const;
  /// [P] int64: the place of each pair among all, token * E + candidate.
  at::Tensor place_P() const;
  /// Bool [B, L, E], or the mask that they were made of.
  const at::Tensor& mask_BLE() const;
  /// [B, L, K] where each token has as many, best first; undefined where they were made otherwise.
  const at::Tensor& lists_BLK() const;

  /// Tokens of each candidate, [E] int64 on the CPU.
  at::Tensor loads() const;
  /// Pairs of each sample, [B] int64.
  at::Tensor count_B() const;
  /// Tokens with no pair.
  int64_t starved() const;
  /// The pairs of those samples alone, bool [B].
  Pairs of_samples(const at::Tensor& wanted_B) const;

 private:
  struct Forms {
    at::Tensor mask_BLE, lists_BLK, token_P, candidate_P, offsets;
  };
  explicit Pairs(const Shape& shape) : shape_(shape), forms_(std::make_shared<Forms>()) {}
  void list_one_by_one() const;

  Shape shape_;
  std::shared_ptr<Forms> forms_;
};

/// The order in which pairs are sorted by candidate, those of one candidate as they were: [P]
/// int64. Time and memory grow with the pairs alone.
at::Tensor order_by_candidate(const at::Tensor& candidate_P, int64_t candidates);

}  // namespace gallop::sparse
