#include "tests/config/sample_recipe.h"

namespace gallop::config::sample {
namespace {

struct Fixed final : Chooser {
  explicit Fixed(double value) : value_(value) {}
  double value() const override { return value_; }
  double value_;
};

const Register<Chooser, RaceSettings> race{
    "race", "all pairs compete", "arXiv 0000.00001",
    [](const RaceSettings& s, const Chooser::Args& a) {
      return std::make_unique<Fixed>(s.momentum * static_cast<double>(a.factor));
    }};
const Register<Chooser, TokenSettings> token{
    "token", "each token chooses", "", [](const TokenSettings& s, const Chooser::Args& a) {
      return std::make_unique<Fixed>(static_cast<double>(s.capacity * a.factor));
    }};
const Register<Chooser, NoSettings> plain{
    "plain", "keeps | everything", "arXiv 0000.00002",
    [](const NoSettings&, const Chooser::Args&) { return std::make_unique<Fixed>(7); }};

}  // namespace
}  // namespace gallop::config::sample
