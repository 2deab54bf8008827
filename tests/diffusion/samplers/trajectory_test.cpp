#include "gallop/diffusion/samplers/trajectory.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gallop/diffusion/samplers/ddpm.h"
#include "gallop/diffusion/samplers/runge_kutta.h"
#include "tests/diffusion/samplers/states.h"
#include "tests/support/errors.h"
#include "tests/support/tensors.h"

namespace gallop::diffusion {
namespace {

using ::testing::HasSubstr;
using testing::make_objective;
using testing::make_sampler;
using testing::message_of;

at::Tensor network(const at::Tensor& x, const at::Tensor& t_B) {
  return x * 0.3 + t_B.to(x.scalar_type()).view({-1, 1, 1, 1});
}

class Trajectories : public ::testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<Sampler> sampler(int64_t steps) const {
    const std::string kind = GetParam();
    const bool discrete = kind == "ddpm" || kind == "ddim";
    const auto objective = discrete ? make_objective<DdpmSettings>("ddpm",
                                                                   [](DdpmSettings& s) {
                                                                     s.steps = 40;
                                                                     s.variance = "fixed-small";
                                                                   })
                                    : make_objective<FlowSettings>("flow", [](FlowSettings&) {});
    return config::make<Sampler>(config::Component("sampler", kind),
                                 {.objective = objective, .steps = steps});
  }
};

// Two of them advanced in turns are what each is alone: nothing is shared.
TEST_P(Trajectories, OwnTheirState) {
  const at::Tensor a = testing::random_normal({2, 1, 3, 3}, "a"),
                   b = testing::random_normal({3, 1, 3, 3}, "b");
  const auto noise_for = [](const char* name, int64_t rows) {
    return [name, rows](int64_t step) {
      return testing::random_normal({rows, 1, 3, 3}, name + std::to_string(step));
    };
  };
  const auto few = sampler(4), many = sampler(7);
  const at::Tensor alone_a = few->sample(network, a, noise_for("na", 2)),
                   alone_b = many->sample(network, b, noise_for("nb", 3));
  const auto first = few->begin(a, noise_for("na", 2)), second = many->begin(b, noise_for("nb", 3));
  int64_t calls = 0;
  while (!first->done() || !second->done()) {
    for (Trajectory* one : {first.get(), second.get()}) {
      if (one->done()) continue;
      const Query query = one->query();
      EXPECT_TRUE(one->query().x_BCHW.equal(query.x_BCHW)) << "the same until it is answered";
      one->answer(network(query.x_BCHW, query.t_B));
      ++calls;
    }
  }
  EXPECT_EQ(calls, few->evaluations() + many->evaluations());
  EXPECT_TRUE(first->state().x_BCHW.equal(alone_a));
  EXPECT_TRUE(second->state().x_BCHW.equal(alone_b));
  EXPECT_EQ(second->state().step, 6);
}

TEST_P(Trajectories, AskBeforeTheyAreAnswered) {
  const at::Tensor x = testing::random_normal({1, 1, 2, 2}, "x");
  const auto trajectory =
      sampler(1)->begin(x, [&](int64_t) { return testing::random_normal(x.sizes(), "n"); });
  EXPECT_THAT(message_of([&] { trajectory->answer(x); }), HasSubstr("before it asked"));
  while (!trajectory->done()) {
    const Query query = trajectory->query();
    trajectory->answer(network(query.x_BCHW, query.t_B));
  }
  EXPECT_THAT(message_of([&] { trajectory->query(); }), HasSubstr("after its last of 1 steps"));
}

INSTANTIATE_TEST_SUITE_P(Samplers, Trajectories,
                         ::testing::Values("ddpm", "ddim", "euler", "heun", "rk4", "euler-maruyama",
                                           "sde-heun"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace gallop::diffusion
