#include "gallop/models/fitted_names.h"

#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "gallop/models/denoiser.h"
#include "gallop/models/dit/dit_config.h"
#include "gallop/models/weights.h"
#include "tests/support/errors.h"

namespace gallop::models {
namespace {

using ::gallop::testing::message_of;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

using Tensors = std::map<std::string, at::Tensor>;

std::unique_ptr<Denoiser> tiny(uint64_t seed) {
  config::Component component("denoiser", "dit");
  auto& settings = component.as<DitSettings>();
  settings.depth = 2;
  settings.width = 8;
  settings.heads = 2;
  settings.patch = 2;
  auto model = make_denoiser(component, {.channels = 1, .height = 4, .width = 4, .classes = 3});
  model->materialize(seed);
  return model;
}

/// The tensors of a model, each under the name that `rename` makes of its own.
Tensors renamed(const Denoiser& model,
                const std::function<std::string(const std::string&)>& rename) {
  Tensors tensors;
  for (const auto& [name, tensor] : named_tensors(model)) tensors[rename(name)] = tensor;
  return tensors;
}

Tensors behind(const Denoiser& model, const std::string& prefix) {
  return renamed(model, [&](const std::string& name) { return prefix + name; });
}

void expect_same_names(const Tensors& tensors, const Denoiser& model) {
  ASSERT_EQ(tensors.size(), model.parameters().size());
  for (const nn::Parameter* p : model.parameters()) EXPECT_TRUE(tensors.contains(p->name()));
}

TEST(FittedNames, ACommonPrefixIsNamedAndTakenOff) {
  const auto model = tiny(1);
  const std::string count = std::to_string(model->parameters().size());
  for (const std::string prefix :
       {"module.", "_orig_mod.", "module._orig_mod.", "model.", "model.diffusion_model.", "net.",
        "anything.at.all.", "_fsdp_wrapped_module.", "ema_model.module."}) {
    const FittedNames fitted = fit_names(*model, behind(*model, prefix), "f");
    expect_same_names(fitted.tensors, *model);
    EXPECT_THAT(fitted.notes, ElementsAre("'" + prefix + "' is taken off " + count + " names"));

    const auto other = tiny(2);
    load_weights(*other, behind(*model, prefix), "f");
    for (const nn::Parameter* p : model->parameters())
      EXPECT_TRUE((**p).equal(**other->find_parameter(p->name()))) << p->name();
  }
}

TEST(FittedNames, NamesOfTheModelStayAsTheyAre) {
  const auto model = tiny(1);
  EXPECT_THAT(fit_names(*model, behind(*model, ""), "f").notes, IsEmpty());
  // Only a part of it: what the names have in common is no prefix.
  Tensors blocks = renamed(*model, [](const std::string& name) { return name; });
  std::erase_if(blocks, [](const auto& entry) { return !entry.first.starts_with("blocks.1."); });
  const FittedNames fitted = fit_names(*model, blocks, "f");
  EXPECT_THAT(fitted.notes, IsEmpty());
  EXPECT_EQ(fitted.tensors.size(), blocks.size());
}

// torch.optim.swa_utils.AveragedModel counts beside the model it wraps.
TEST(FittedNames, OtherTensorsBesideThePrefixStay) {
  const auto model = tiny(1);
  Tensors tensors = behind(*model, "module.");
  tensors["n_averaged"] = at::zeros({});
  tensors["text_encoder.pos_embed"] = at::zeros({1, 2});
  const FittedNames fitted = fit_names(*model, tensors, "f");
  EXPECT_TRUE(fitted.tensors.contains("n_averaged"));
  EXPECT_TRUE(fitted.tensors.contains("text_encoder.pos_embed"));
  EXPECT_TRUE(fitted.tensors.contains("pos_embed"));
  EXPECT_EQ(compare(*model, fitted.tensors).missing.size(), 0u);
}

// torch.compile and activation checkpoints of single blocks, inside of the names.
TEST(FittedNames, WrappersInsideOfNamesAreTakenOut) {
  const auto model = tiny(1);
  for (const std::string before : {"", "module."}) {
    Tensors tensors = renamed(*model, [&](const std::string& name) {
      std::string inside = name;
      if (name.starts_with("blocks.1.")) inside.insert(9, "_checkpoint_wrapped_module._orig_mod.");
      return before + inside;
    });
    const FittedNames fitted = fit_names(*model, tensors, "f");
    expect_same_names(fitted.tensors, *model);
    ASSERT_FALSE(fitted.notes.empty());
    EXPECT_THAT(fitted.notes.front(), AllOf(HasSubstr("'_checkpoint_wrapped_module.'"),
                                            HasSubstr("'_orig_mod.'"), HasSubstr("taken out of")));
  }
}

TEST(FittedNames, ASecondSetOfWeightsIsLeftAlone) {
  const auto model = tiny(1);
  Tensors tensors = behind(*model, "");
  for (const auto& [name, tensor] : behind(*tiny(2), "ema.")) tensors[name] = tensor;
  const FittedNames fitted = fit_names(*model, tensors, "f");
  EXPECT_THAT(fitted.notes, IsEmpty());
  const char* name = "blocks.0.attn.qkv.weight";
  EXPECT_TRUE(fitted.tensors.at(name).equal(**model->find_parameter(name)));
  // And it does not fill what the first one lacks.
  tensors.erase(name);
  EXPECT_FALSE(fit_names(*model, tensors, "f").tensors.contains(name));
}

TEST(FittedNames, SeveralPrefixesAreAskedAbout) {
  const auto model = tiny(1);
  Tensors tensors = behind(*model, "model.");
  for (const auto& [name, tensor] : behind(*model, "ema.")) tensors[name] = tensor;
  const std::string count = std::to_string(model->parameters().size());
  EXPECT_THAT(message_of([&] { fit_names(*model, tensors, "'w.safetensors'"); }),
              AllOf(HasSubstr("'w.safetensors' holds"), HasSubstr("'ema.' (" + count + " tensors)"),
                    HasSubstr("'model.' (" + count), HasSubstr("--prefix")));
}

// Names of a release: asked for, found by themselves, or not wanted.
TEST(FittedNames, ReleasesAreAskedByName) {
  const auto model = tiny(1);
  Tensors tensors = behind(*model, "");
  const auto experts = [&](const Tensors& from) {
    return from.contains("blocks.1.moe.experts.up.weight");
  };
  tensors["blocks.1.moe.experts.0.up_proj.weight"] = at::zeros({2, 3});
  const FittedNames found = fit_names(*model, tensors, "f");
  EXPECT_TRUE(experts(found.tensors));
  EXPECT_THAT(found.notes, ElementsAre("names of 'dit-moe' are read as ours"));
  EXPECT_TRUE(experts(fit_names(*model, tensors, "f", "dit-moe").tensors));
  EXPECT_FALSE(experts(fit_names(*model, tensors, "f", "own").tensors));
  const auto asked = [&](const std::string& names) {
    return message_of([&] { fit_names(*model, tensors, "f", names); });
  };
  EXPECT_THAT(asked("diffmoe"), HasSubstr("f has no tensor named as in 'diffmoe'"));
  EXPECT_THAT(asked("difmoe"), AllOf(HasSubstr("difmoe"), HasSubstr("'diffmoe'")));
}

TEST(FittedNames, TheNearestNamesAreShown) {
  const auto model = tiny(1);
  Tensors tensors = renamed(*model, [](const std::string& name) {
    const size_t at = name.find("attn.qkv.");
    return at == std::string::npos ? name : std::string(name).replace(at, 9, "attn.to_qkv.");
  });
  EXPECT_THAT(message_of([&] { load_weights(*model, tensors, "f"); }),
              HasSubstr("missing:    blocks.1.attn.qkv.weight (the nearest in the file: "
                        "blocks.1.attn.to_qkv.weight)"));
}

TEST(FittedNames, NoNameInCommonShowsThoseOfBothSides) {
  const auto model = tiny(1);
  EXPECT_THAT(message_of([&] { load_weights(*model, {{"conv.weight", at::zeros({3})}}, "f"); }),
              AllOf(HasSubstr("f holds no tensor of the model"), HasSubstr("conv.weight"),
                    HasSubstr("x_embedder.proj.weight"), Not(HasSubstr("missing:"))));
}

}  // namespace
}  // namespace gallop::models
