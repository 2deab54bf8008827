#pragma once

#include <string>
#include <vector>

namespace gallop::nn {

class Module;

/// What a part may need in every forward and only some models, or some blocks around it, give.
enum class Given {
  time,        ///< ForwardContext::time_embedding_BD
  label,       ///< ForwardContext::label_B
  null_label,  ///< ForwardContext::unconditional_B: rows without a label
  target,      ///< the training target as a row of numbers a token
  all_tokens,  ///< all tokens of a sample, in their order
};
/// "a time that the model embeds".
const char* description_of(Given given);

struct Need {
  Given what;
  std::string by;  ///< who, as a person would say it: "the router 'timestep'"
};

/// Throws Error if `part`, or a part below it, needs that, which `giver` ("the model 'dit'") does
/// not give; it says who needs it and where.
void refuse_need(const Module& part, Given what, const std::string& giver);
/// The same for all that is not among `given`.
void require_given(const Module& part, const std::vector<Given>& given, const std::string& giver);

}  // namespace gallop::nn
