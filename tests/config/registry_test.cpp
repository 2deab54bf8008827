#include "gallop/config/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/config/sample_recipe.h"

namespace gallop::config {
namespace {

using sample::Chooser;
using sample::RaceSettings;
using sample::TokenSettings;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string message(const std::function<void()>& act) {
  try {
    act();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "no error";
}

TEST(Registry, ListsKindsByName) {
  std::vector<std::string> kinds;
  for (const auto* info : components_of("test_chooser")) kinds.push_back(info->kind);
  EXPECT_THAT(kinds, ElementsAre("plain", "race", "token"));
  EXPECT_THAT(component_categories(), Contains("test_chooser"));
  EXPECT_TRUE(components_of("nothing").empty());
}

TEST(Registry, NamesTheNearestKindAndAll) {
  EXPECT_EQ(message([] { find_component("test_chooser", "racee"); }),
            "unknown test_chooser 'racee', did you mean 'race'? (known: 'plain', 'race', 'token')");
  EXPECT_THAT(message([] { find_component("test_choser", "race"); }),
              HasSubstr("unknown component category 'test_choser', did you mean 'test_chooser'?"));
}

TEST(Registry, RefusesASecondKindOfTheSameName) {
  ComponentInfo info{"test_chooser", "race", "another one", "",
                     [] { return std::make_unique<NoSettings>(); }};
  const auto text = message([&] { add_component(info); });
  EXPECT_THAT(text, HasSubstr("all pairs compete"));
  EXPECT_THAT(text, HasSubstr("another one"));
  EXPECT_EQ(find_component("test_chooser", "race").summary, "all pairs compete");
}

TEST(Registry, MakesTheKindFromSettingsAndArguments) {
  Component component("test_chooser", "race");
  EXPECT_DOUBLE_EQ(make<Chooser>(component, {.factor = 2})->value(), 1.98);
  component.choose("token");
  component.as<TokenSettings>().capacity = 5;
  EXPECT_DOUBLE_EQ(make<Chooser>(component, {.factor = 3})->value(), 15);
}

TEST(Component, IsAValue) {
  Component first("test_chooser", "race");
  first.as<RaceSettings>().momentum = 0.5;
  Component second(first);
  second.as<RaceSettings>().momentum = 0.25;
  EXPECT_EQ(first.as<RaceSettings>().momentum, 0.5);
  second = first;
  EXPECT_EQ(second.as<RaceSettings>().momentum, 0.5);
  const Component& alias = second;
  second = alias;
  EXPECT_EQ(second.as<RaceSettings>().momentum, 0.5);
}

TEST(Component, ChoosingAnotherKindTakesItsDefaultsAndAnUnknownOneChangesNothing) {
  Component component("test_chooser", "race");
  component.as<RaceSettings>().momentum = 0.5;
  EXPECT_THROW(component.choose("rice"), Error);
  EXPECT_EQ(component.kind(), "race");
  EXPECT_EQ(component.as<RaceSettings>().momentum, 0.5);
  component.choose("token");
  EXPECT_EQ(component.as<TokenSettings>().capacity, 2);
  component.choose("race");
  EXPECT_EQ(component.as<RaceSettings>().momentum, 0.99);
}

TEST(Component, MayNameAKindThatIsNotRegisteredUntilItIsUsed) {
  Component component("test_chooser", "later");
  Component copy(component);
  EXPECT_EQ(copy.kind(), "later");
  EXPECT_THROW(copy.settings(), Error);
}

}  // namespace
}  // namespace gallop::config
