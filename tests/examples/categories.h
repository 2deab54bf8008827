#pragma once

#include "gallop/nn/row_table.h"

namespace gallop::nn {

// A sample of F categories as one vector: the sum of a row for each.
class Categories : public Module {
 public:
  Categories(Module& parent, int64_t rows, int64_t F, int64_t D)
      : Module(parent, "categories"),
        table_(*this, "table", rows, D, {.lookups = static_cast<double>(F), .per_sample = true}) {}
  at::Tensor forward(const at::Tensor& category_BF) const {
    return table_.lookup(category_BF).sum(1);  // [B, D]
  }

 private:
  RowTable table_;
};

}  // namespace gallop::nn
