#include "gallop/diffusion/ddpm_schedule.h"

#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/errors.h"
#include "tests/support/fixture.h"

namespace gallop::diffusion {
namespace {

using ::testing::HasSubstr;
using testing::message_of;

at::Tensor tensor(const std::vector<double>& values) { return at::tensor(values, at::kDouble); }
at::Tensor tensor(const std::vector<int64_t>& values) { return at::tensor(values, at::kLong); }

REFERENCE_TEST(DdpmTableCases, AreThoseOfTheReference, "diffusion/ddpm_tables") {
  const Json& config = fixture.config();
  fixture.expect_constant("beta_start", 1e-4);
  fixture.expect_constant("beta_end", 0.02);
  fixture.expect_constant("max_beta", 0.999);
  const DdpmSchedule full(config.at("schedule").as_string(), config.at("T").as_int());
  for (const Json& process : config.at("processes").as_array()) {
    const std::string key = process.at("key").as_string();
    const DdpmSchedule s = full.respaced(process.at("respacing").as_string());
    EXPECT_EQ(s.steps(), process.at("steps").as_int()) << key;
    fixture.expect_close(tensor(s.timestep_map), "out." + key + ".timestep_map");

    const at::Tensor index = fixture.in(key + ".index");
    const std::pair<const char*, const std::vector<double>*> tables[] = {
        {"betas", &s.betas},
        {"alphas_cumprod", &s.alphas_cumprod},
        {"alphas_cumprod_prev", &s.alphas_cumprod_prev},
        {"alphas_cumprod_next", &s.alphas_cumprod_next},
        {"sqrt_alphas_cumprod", &s.sqrt_alphas_cumprod},
        {"sqrt_one_minus_alphas_cumprod", &s.sqrt_one_minus_alphas_cumprod},
        {"log_one_minus_alphas_cumprod", &s.log_one_minus_alphas_cumprod},
        {"sqrt_recip_alphas_cumprod", &s.sqrt_recip_alphas_cumprod},
        {"sqrt_recipm1_alphas_cumprod", &s.sqrt_recipm1_alphas_cumprod},
        {"posterior_variance", &s.posterior_variance},
        {"posterior_log_variance_clipped", &s.posterior_log_variance_clipped},
        {"posterior_mean_coef1", &s.posterior_mean_coef1},
        {"posterior_mean_coef2", &s.posterior_mean_coef2}};
    for (const auto& [name, table] : tables)
      fixture.expect_close(tensor(*table).index_select(0, index), "out." + key + "." + name);
  }
  fixture.expect_all_checked();
}

REFERENCE_TEST(DdpmBetaCases, OfAnyNumberOfStepsAreThoseOfTheReference, "diffusion/ddpm_betas") {
  for (const std::string& name : fixture.names_with_prefix("out.")) {
    const size_t dot = name.find('.');
    fixture.expect_close(tensor(betas(name.substr(0, dot), std::stoll(name.substr(dot + 1)))),
                         "out." + name);
  }
  fixture.expect_all_checked();
}

TEST(DdpmBetas, CosineHasTwoNames) {
  EXPECT_EQ(betas("cosine", 10), betas("squaredcos_cap_v2", 10));
}

TEST(DdpmBetas, RefuseWhatIsNoProcess) {
  EXPECT_THAT(message_of([] { betas("quadratic", 10); }), HasSubstr("'quadratic'"));
  EXPECT_THAT(message_of([] { betas("linear", 0); }), HasSubstr("not 0"));
  // 1000/20 * 0.02 = 1.
  EXPECT_THAT(message_of([] { betas("linear", 20); }), HasSubstr("more than 20 steps, not 20"));
  EXPECT_EQ(betas("linear", 21).size(), 21u);
  EXPECT_THAT(message_of([] { DdpmSchedule({0.1, 1.0}); }), HasSubstr("beta of step 1 is 1"));
  EXPECT_THAT(message_of([] { DdpmSchedule(std::vector<double>{}); }),
              HasSubstr("at least one step"));
}

REFERENCE_TEST(SpaceTimestepsCases, KeepTheStepsOfTheReference, "diffusion/space_timesteps") {
  const Json::Array& cases = fixture.config().at("cases").as_array();
  for (size_t i = 0; i < cases.size(); ++i) {
    const Json::Array& pair = cases[i].as_array();
    fixture.expect_close(tensor(space_timesteps(pair[0].as_int(), pair[1].as_string())),
                         "out." + std::to_string(i));
  }
  fixture.expect_all_checked();
}

TEST(SpaceTimesteps, KeepsAllWhenNothingIsSaid) {
  EXPECT_THAT(space_timesteps(4, ""), ::testing::ElementsAre(0, 1, 2, 3));
}

TEST(SpaceTimesteps, SaysWhatCannotBeHad) {
  EXPECT_THAT(message_of([] { space_timesteps(10, "11"); }), HasSubstr("asks for 11 of 10 steps"));
  EXPECT_THAT(message_of([] { space_timesteps(10, "6,1"); }), HasSubstr("one of its sections"));
  EXPECT_THAT(message_of([] { space_timesteps(1000, "ddim300"); }), HasSubstr("exactly 300"));
  for (const char* bad : {"ten", "5,", ",5", "0", "-3", "5 ", "ddim", "9223372036854775808"})
    EXPECT_THAT(message_of([&] { space_timesteps(10, bad); }), HasSubstr(bad)) << bad;
}

TEST(DdpmSchedule, RespacingARespacedProcessKeepsTheOriginalTimes) {
  const DdpmSchedule half = DdpmSchedule("linear", 100).respaced(std::vector<int64_t>{1, 3, 5, 7});
  const DdpmSchedule quarter = half.respaced(std::vector<int64_t>{1, 3});
  EXPECT_THAT(quarter.timestep_map, ::testing::ElementsAre(3, 7));
  EXPECT_DOUBLE_EQ(quarter.alphas_cumprod[0], half.alphas_cumprod[1]);
  EXPECT_THAT(message_of([&] { half.respaced(std::vector<int64_t>{4}); }),
              HasSubstr("kept step 4"));
}

}  // namespace
}  // namespace gallop::diffusion
