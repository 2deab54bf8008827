#include "gallop/sparse/choice/switched_off.h"

#include <ATen/ops/zeros.h>

#include <algorithm>

#include "gallop/base/error.h"
#include "gallop/base/human.h"
#include "gallop/base/number.h"
#include "gallop/base/printable.h"
#include "gallop/config/value.h"
#include "gallop/sparse/choice/chooser.h"
#include "gallop/sparse/choice/settings_of_rows.h"

namespace gallop::sparse {

namespace {

const Chooser& chooser_of(const nn::Module& model, const std::string& layer) {
  std::vector<std::string> known;
  for (const nn::Module* module : model.modules()) {
    const auto* chooses = dynamic_cast<const Chooses*>(module);
    const Chooser* chooser = chooses != nullptr ? chooses->chooser() : nullptr;
    if (chooser == nullptr) continue;
    if (module->name() == layer) return *chooser;
    known.push_back(module->name());
  }
  fail("no layer ", printable_in_quotes(layer), " of the model chooses anything",
       known.empty() ? "" : " (those that do: " + join_list(known) + ")",
       config::did_you_mean(layer, known));
}

}  // namespace

SwitchedOff switched_off(const nn::Module& model, const std::vector<std::string>& words) {
  SwitchedOff off;
  for (const std::string& word : words) {
    const size_t colon = word.find(':');
    require(colon != std::string::npos, printable_in_quotes(word),
            " is not of the form LAYER:NUMBER,..., for example \"blocks.3.moe:0,5\"");
    const std::string layer = word.substr(0, colon);
    const int64_t candidates = chooser_of(model, layer).candidates();
    for (size_t begin = colon + 1; begin <= word.size();) {
      const size_t end = std::min(word.find(',', begin), word.size());
      const std::string digits = word.substr(begin, end - begin);
      const auto number = whole_number<int64_t>(digits);
      require(number && *number >= 0 && *number < candidates, layer, ": ",
              printable_in_quotes(digits), " is none of its ", candidates, " candidates, 0 to ",
              candidates - 1);
      off[layer].push_back(*number);
      begin = end + 1;
    }
  }
  return off;
}

Kept RowsSwitchedOff::left(const std::string& layer, const Kept& kept) const {
  const int64_t E = kept.candidates();
  at::Tensor off_SE;
  for (size_t s = 0; s < settings.size(); ++s) {
    if (settings[s] == nullptr) continue;
    const auto found = settings[s]->find(layer);
    if (found == settings[s]->end()) continue;
    if (!off_SE.defined()) {
      off_SE = at::zeros({static_cast<int64_t>(settings.size()), E}, at::TensorOptions(at::kBool));
    }
    for (const int64_t candidate : found->second) {
      off_SE.select(0, static_cast<int64_t>(s)).select(0, candidate).fill_(true);
    }
  }
  if (!off_SE.defined()) return kept;
  at::Tensor place_P = kept.candidate_P();
  if (setting_B.defined()) {
    const at::Tensor sample_P = kept.token_P().floor_divide(std::max<int64_t>(1, kept.tokens()));
    place_P = place_P.add(setting_B.index_select(0, sample_P), E);
  }
  const at::Tensor left_P = off_SE.to(place_P.device())
                                .reshape(-1)
                                .index_select(0, place_P)
                                .logical_not()
                                .nonzero()
                                .reshape(-1);
  const Pairs::Shape shape{
      .samples = kept.samples(), .tokens = kept.tokens(), .candidates = kept.candidates()};
  Kept result(Pairs::of_sorted(shape, kept.token_P().index_select(0, left_P),
                               kept.candidate_P().index_select(0, left_P)),
              kept.weights_P.index_select(0, left_P));
  result.before_drops = kept.chosen();
  result.pools = kept.pools;
  return result;
}

RowsSwitchedOff switched_off_of_rows(const std::vector<const SwitchedOff*>& wanted,
                                     at::Device device) {
  RowsSwitchedOff rows;
  rows.setting_B = settings_of_rows(wanted, device, rows.settings);
  return rows;
}

}  // namespace gallop::sparse
