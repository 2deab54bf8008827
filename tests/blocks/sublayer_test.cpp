#include "gallop/blocks/sublayer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/layer_norm.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/blocks/two_lanes.h"
#include "tests/support/block_body.h"
#include "tests/support/fixture.h"
#include "tests/support/tensors.h"
#include "tests/support/weights.h"

namespace gallop::blocks {
namespace {

using testing::random_normal;

constexpr int64_t B = 2, L = 5, D = 8;

at::Tensor normal(at::IntArrayRef shape, const std::string& name) {
  return random_normal(shape, name).to(at::kDouble);
}

// tanh(x A)
class Tanh : public nn::Branch {
 public:
  using Branch::Branch;
  at::Tensor forward(const at::Tensor& x_BLD, const nn::ForwardContext&) const override {
    return x_BLD.matmul(A).tanh();
  }
  const at::Tensor A = normal({D, D}, "A");
};

class SublayerTest : public ::testing::Test {
 protected:
  at::Tensor normed(const at::Tensor& x) const { return at::layer_norm(x, {D}, {}, {}, 1e-6); }
  at::Tensor input(const at::Tensor& x) const {
    return normed(x) * (1 + m_.scale_BD.unsqueeze(1)) + m_.shift_BD.unsqueeze(1);
  }
  at::Tensor gate() const { return m_.gate_BD.unsqueeze(1); }

  nn::Module root_;
  Tanh branch_{root_, "branch"};
  const Modulation m_{normal({B, D}, "shift"), normal({B, D}, "scale"), normal({B, D}, "gate")};
  const at::Tensor x_ = normal({B, L, D}, "x"), weight_BL_ = normal({B, L}, "weight");
};

TEST_F(SublayerTest, NormStandsBeforeTheBranch) {
  nn::Taps taps;
  const Sublayer layer{.branch = branch_, .tap = "out", .input_tap = "in"};
  const at::Tensor y = branch_.forward(input(x_), {});
  testing::expect_close(layer.forward(x_, m_, {}, testing::plain_stream(), {.taps = &taps}),
                        x_ + gate() * y, 1e-12, 1e-12, "state");
  ASSERT_EQ(taps.tensors.size(), 2U);
  EXPECT_EQ(taps.tensors[0].first, "in");
  testing::expect_close(taps.tensors[0].second, input(x_), 1e-12, 1e-12, "in");
  testing::expect_close(taps.tensors[1].second, y, 1e-12, 1e-12, "out");
  testing::expect_close(layer.forward(x_, m_, weight_BL_, testing::plain_stream(), {}),
                        x_ + gate() * y * weight_BL_.unsqueeze(-1), 1e-12, 1e-12, "weighted");
}

TEST_F(SublayerTest, NormsStandOnBothSides) {
  const Sublayer layer{.branch = branch_, .norm = NormPlacement::sandwich};
  testing::expect_close(layer.forward(x_, m_, {}, testing::plain_stream(), {}),
                        x_ + gate() * normed(branch_.forward(input(x_), {})), 1e-12, 1e-12,
                        "state");
}

// The stream reads and adds, whatever its state is.
TEST_F(SublayerTest, WorksOnTheStateOfAnyStream) {
  const auto stream =
      testing::make<ResidualStream>("kind = \"two_lanes\"", {.parent = &root_, .D = D});
  const at::Tensor state = normal({B, L, 2, D}, "state");
  const auto before = testing::Lanes::of(state);
  const at::Tensor y = gate() * branch_.forward(input(before.seen()), {});
  for (const bool weighted : {false, true}) {
    const Sublayer layer{.branch = branch_};
    const at::Tensor after =
        layer.forward(state, m_, weighted ? weight_BL_ : at::Tensor(), *stream, {});
    const auto want = before.written(weighted ? y * weight_BL_.unsqueeze(-1) : y);
    testing::expect_close(after.select(2, 0), want.a, 1e-12, 1e-12, "lane a");
    testing::expect_close(after.select(2, 1), want.b, 1e-12, 1e-12, "lane b");
  }
}

}  // namespace
}  // namespace gallop::blocks
