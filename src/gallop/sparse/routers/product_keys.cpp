#include <ATen/ops/stack.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "gallop/base/error.h"
#include "gallop/config/registry.h"
#include "gallop/nn/linear.h"
#include "gallop/ops/linear.h"
#include "gallop/ops/product_topk.h"
#include "gallop/sparse/choice/target_head.h"

namespace gallop::sparse {
namespace {

struct ProductKeysSettings : config::Fields<ProductKeysSettings> {
  int64_t heads = 1, width = 128;
  std::optional<int64_t> places;
  void fields(config::Visitor& v) override {
    v.field("heads", heads, "queries of a token, each of which finds candidates of its own",
            config::at_least(1));
    v.field("width", width, "of a query, whose halves meet keys of half that width",
            config::at_least(2));
    v.field("places", places,
            "candidates that a query lists; absent: those that it keeps, active / heads",
            config::at_least(1));
  }
  void validate() const override {
    require(width % 2 == 0, "router.width = ", width, " has no two equal halves");
  }
};

// The two factors of E that lie nearest to its root: candidate i * M + j has the keys i and j.
std::pair<int64_t, int64_t> sides_of(int64_t experts) {
  auto rows = static_cast<int64_t>(std::sqrt(static_cast<double>(experts)));
  while (rows * rows > experts) --rows;
  while (experts % rows != 0) --rows;
  return {rows, experts / rows};
}

// Query h of a token, q = W_h x, scores candidate (i, j) with q_1 . k_1hi + q_2 . k_2hj, and the
// best of all E = N M candidates are found among the best of N + M halves. What a candidate is, all
// queries share; two that find the same add up.
class ProductKeysRouter : public Router {
 public:
  ProductKeysRouter(const ProductKeysSettings& settings, const Args& args)
      : Router(*args.parent, "router"),
        heads_(settings.heads),
        places_(places_of(settings, args)),
        query_(*this, "query", args.D, settings.heads * settings.width, {.bias = false}),
        rows_(*this, "rows.weight",
              {settings.heads, sides_of(args.experts).first, settings.width / 2},
              nn::Init::normal(0.02)),
        columns_(*this, "columns.weight",
                 {settings.heads, sides_of(args.experts).second, settings.width / 2},
                 nn::Init::normal(0.02)),
        head_(*this, args) {
    require(places_ <= args.experts, name(), ": a query lists ", places_, " of the ", args.experts,
            " candidates; fewer router.places, or fewer active experts");
  }

  std::optional<Listing> listing() const override {
    return Listing{.queries = heads_, .places = places_};
  }

  Routed forward(const at::Tensor& x_BLD, const nn::ForwardContext& ctx) const override {
    const int64_t B = x_BLD.size(0), L = x_BLD.size(1), half = rows_.shape()[2];
    const at::Tensor query_TH2d = query_.forward(x_BLD).reshape({B * L, heads_, 2, half});
    const auto scores = [&](int64_t side, const at::Tensor& keys_HNd) {
      std::vector<at::Tensor> of_heads;
      for (int64_t h = 0; h < heads_; ++h) {
        of_heads.push_back(
            ops::linear(query_TH2d.select(1, h).select(1, side), keys_HNd.select(0, h), {}));
      }
      return at::stack(of_heads, 1).reshape({B * L * heads_, keys_HNd.size(1)});
    };
    const at::Tensor row_QN = scores(0, *rows_), column_QM = scores(1, *columns_);
    const at::Tensor found_QC = ops::product_topk(row_QN.detach(), column_QM.detach(), places_);
    const int64_t M = column_QM.size(1);
    const at::Tensor logits_QC =
        row_QN.gather(1, found_QC.floor_divide(M)).add(column_QM.gather(1, found_QC.remainder(M)));
    const auto by_sample = [&](const at::Tensor& x_QC) {
      return x_QC.reshape({B, L * heads_, places_});
    };
    return {.logits_BLE = by_sample(logits_QC),
            .candidates_BLE = by_sample(found_QC),
            .head_BLH = head_.forward(x_BLD, ctx)};
  }

  // Queries, the scores of both halves, and the list.
  nn::Activations activations(double tokens) const override {
    const double queries = tokens * rows_.attributes().uses * static_cast<double>(heads_);
    const auto halves = static_cast<double>(rows_.shape()[1] + columns_.shape()[1]);
    const auto width = static_cast<double>(2 * rows_.shape()[2]);
    const double numbers = queries * (width + halves + 5 * static_cast<double>(places_));
    return {.kept = numbers, .passing = numbers};
  }

 private:
  static int64_t places_of(const ProductKeysSettings& settings, const Args& args) {
    const double kept = args.active / static_cast<double>(settings.heads);
    const int64_t places = settings.places.value_or(static_cast<int64_t>(std::ceil(kept)));
    require(kept <= static_cast<double>(places), args.parent->name(), ": ", kept,
            " candidates are kept of each of ", settings.heads, " queries, which list only ",
            places, "; more router.places");
    return std::max<int64_t>(1, places);
  }

  int64_t heads_, places_;
  nn::Linear query_;
  nn::Parameter rows_, columns_;
  TargetHead head_;
};

const config::RegisterKind<Router, ProductKeysRouter, ProductKeysSettings> registered{
    "product_keys",
    "lists the best of millions by the sum of two half scores; several queries a token",
    "PEER, arXiv 2407.04153; product keys, arXiv 1907.05242"};

}  // namespace
}  // namespace gallop::sparse
