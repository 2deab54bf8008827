#include "tests/reference/cases.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "gallop/base/error.h"
#include "gallop/base/json.h"
#include "gallop/formats/safetensors.h"
#include "tests/support/paths.h"

namespace gallop::test {
namespace {

struct Kind {
  std::string_view folder, stem;
  /// Another beginning of the names of its files.
  std::string_view other{};
};

// A line here and a REFERENCE_TEST that names it make a new kind.
constexpr Kind kKinds[] = {
    {"activation", "ffn"},
    {"activation", "gelu_tanh"},
    {"diffusion", "adamw"},
    {"diffusion", "ancestral_loop"},
    {"diffusion", "clip_grad_norm"},
    {"diffusion", "ddim_loop"},
    {"diffusion", "ddpm_betas"},
    {"diffusion", "ddpm_tables"},
    {"diffusion", "dit_guided_sampling"},
    {"diffusion", "ema"},
    {"diffusion", "eps_x0_conversion"},
    {"diffusion", "flow_intervals"},
    {"diffusion", "flow_loss"},
    {"diffusion", "flow_ode"},
    {"diffusion", "flow_ode_noise_score"},
    {"diffusion", "flow_path"},
    {"diffusion", "flow_reversed_convention"},
    {"diffusion", "flow_sde"},
    {"diffusion", "p_mean_variance"},
    {"diffusion", "q_sample"},
    {"diffusion", "space_timesteps"},
    {"diffusion", "training_losses_kl"},
    {"diffusion", "training_losses_mse"},
    {"dit", "dit", "sit"},
    {"dit", "dit_cfg", "sit_cfg"},
    {"dit", "label_embed"},
    {"dit", "param_counts"},
    {"dit", "patchify"},
    {"dit", "pos_embed_2d"},
    {"dit", "timestep_embed"},
    {"experts", "smoe_dropout_layer"},
    {"moe", "diffmoe_block"},
    {"moe", "diffmoe_model"},
    {"moe", "dit_moe"},
    {"moe", "dit_moe_model"},
    {"moe", "ec_dit"},
    {"moe", "moh"},
    {"moe", "race"},
    {"moe", "racedit"},
    {"moe", "strategies"},
    {"norm", "layernorm_no_affine"},
    {"routing", "bias_update"},
    {"routing", "combination_usage"},
    {"routing", "gates"},
    {"routing", "kind_avg_k_gate"},
    {"routing", "kind_capacity_top1"},
    {"routing", "kind_capacity_top2"},
    {"routing", "kind_centroid_gate"},
    {"routing", "kind_cosine_gate"},
    {"routing", "kind_dynmole"},
    {"routing", "kind_evomoe"},
    {"routing", "kind_expert_choice"},
    {"routing", "kind_grouped_sigmoid"},
    {"routing", "kind_k_schedule"},
    {"routing", "kind_mod_pmod"},
    {"routing", "kind_mor_expert_choice"},
    {"routing", "kind_mor_token_choice"},
    {"routing", "kind_noisy_topk"},
    {"routing", "kind_promoe"},
    {"routing", "kind_smoothed_gate"},
    {"routing", "kind_soft_moe"},
    {"routing", "kind_switch_dit"},
    {"routing", "kind_task_information_loss"},
    {"routing", "kind_token_choice"},
    {"routing", "losses"},
    {"routing", "plr"},
    {"routing", "selection"},
    {"routing", "threshold"},
};

std::string full_name(const Kind& kind) {
  return std::string(kind.folder) + "/" + std::string(kind.stem);
}

// Does a file name begin with `stem` as a word of its own: "race_hot", "race2" and "race", but
// neither "racedit" nor anything for an empty stem?
bool begins_with(std::string_view name, std::string_view stem) {
  if (stem.empty() || !name.starts_with(stem)) return false;
  return name.size() == stem.size() || std::islower(static_cast<uint8_t>(name[stem.size()])) == 0;
}

bool is_a_folder_of_kinds(const fs::path& folder) {
  return std::any_of(std::begin(kKinds), std::end(kKinds),
                     [&](const Kind& kind) { return kind.folder == folder.filename().string(); });
}

struct Said {
  std::optional<std::string> metadata, config;
};

// What a file says of its kind; nothing where it says nothing or cannot be read, which is for the
// test of the file to tell.
Said said_by(const fs::path& file) {
  Said said;
  try {
    const formats::SafetensorsReader reader(file);
    const auto& metadata = reader.metadata();
    if (const auto found = metadata.find("kind"); found != metadata.end())
      said.metadata = found->second;
    const auto config = metadata.find("config");
    if (config == metadata.end()) return said;
    const Json parsed = Json::parse(config->second);
    const Json* kind = parsed.is_object() ? parsed.find("kind") : nullptr;
    if (kind != nullptr && kind->is_string()) said.config = kind->as_string();
  } catch (const Error&) {
  }
  return said;
}

// Configs have a `kind` of a model or an activation, too ("DiT", "relu"): it decides where it is
// the full name of a kind of cases, or where nothing else does.
std::string kind_of_file(const fs::path& file, std::string_view folder) {
  const Said said = said_by(file);
  if (said.metadata) return kind_of(said.metadata, folder, "");
  if (said.config && said.config->find('/') != std::string::npos)
    return kind_of(said.config, folder, "");
  const std::string by_name = kind_of(std::nullopt, folder, file.stem().string());
  return by_name.empty() && said.config ? kind_of(said.config, folder, "") : by_name;
}

}  // namespace

fs::path case_folder() {
  const char* const named = std::getenv("GALLOP_FIXTURES");
  if (named == nullptr || *named == '\0') return fs::path(data_folder) / "fixtures";
  require(fs::is_directory(named), "GALLOP_FIXTURES = \"", named, "\" is no folder as seen from ",
          fs::current_path(),
          ": give the full path of one that holds reference cases (.safetensors)");
  const fs::path folder = fs::absolute(named).lexically_normal();
  return folder.has_filename() ? folder : folder.parent_path();
}

std::vector<std::string> reference_kinds() {
  std::vector<std::string> names;
  for (const Kind& kind : kKinds) names.push_back(full_name(kind));
  return names;
}

std::string kind_of(const std::optional<std::string>& said, std::string_view folder,
                    std::string_view stem) {
  if (said) {
    for (const Kind& kind : kKinds)
      if (*said == full_name(kind) || *said == kind.stem) return full_name(kind);
    return "";
  }
  const Kind* best = nullptr;
  size_t length = 0;
  for (const Kind& kind : kKinds) {
    if (!folder.empty() && kind.folder != folder) continue;
    for (const std::string_view beginning : {kind.stem, kind.other}) {
      if (begins_with(stem, beginning) && beginning.size() > length) {
        best = &kind;
        length = beginning.size();
      }
    }
  }
  return best != nullptr ? full_name(*best) : "";
}

std::vector<ReferenceCase> cases_in(const fs::path& folder) {
  std::vector<ReferenceCase> cases;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const fs::path& file = entry.path();
    if (file.extension() != ".safetensors") continue;
    fs::path name = fs::relative(file, folder).replace_extension();
    std::string below = name.parent_path().filename().string();
    if (below.empty() && is_a_folder_of_kinds(folder)) below = folder.filename().string();
    cases.push_back({file, name.generic_string(), kind_of_file(file, below)});
  }
  std::sort(cases.begin(), cases.end(),
            [](const ReferenceCase& a, const ReferenceCase& b) { return a.name < b.name; });
  return cases;
}

std::vector<ReferenceCase> cases_in(const fs::path& folder, const std::string& kind) {
  std::vector<ReferenceCase> cases = cases_in(folder);
  std::erase_if(cases, [&](const ReferenceCase& c) { return c.kind != kind; });
  return cases;
}

}  // namespace gallop::test
