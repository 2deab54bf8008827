#include "gallop/data/class_labels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/errors.h"

namespace gallop::data {
namespace {

using gallop::testing::message_of;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

ClassLabels named(std::vector<std::string> names, bool null_label = true) {
  const auto classes = static_cast<int64_t>(names.size());
  return {.classes = classes, .names = std::move(names), .null_label = null_label};
}

std::vector<int64_t> labels_of(const std::string& list, const ClassLabels& known) {
  std::vector<int64_t> labels;
  for (const LabelText& text : split_labels(list)) {
    labels.push_back(resolve_label(text, known).label);
  }
  return labels;
}

std::string error_of(const std::string& list, const ClassLabels& known) {
  return message_of([&] { labels_of(list, known); });
}

// The order that a folder of classes has.
const ClassLabels up_to_11 = named({"0", "1", "10", "11", "2", "3", "4", "5", "6", "7", "8", "9"});

TEST(ClassLabels, AnExactNameComesBeforeOneInAnotherCase) {
  const ClassLabels known = named({"A", "B", "C", "a", "b", "c"});
  EXPECT_THAT(labels_of("a,A,c", known), ElementsAre(3, 0, 5));
  EXPECT_THAT(labels_of("Dog,dog", named({"cat", "dog", "DOG", "Dog"})), ElementsAre(3, 1));
}

TEST(ClassLabels, ANameInAnotherCaseMustBeTheOnlyOne) {
  EXPECT_THAT(labels_of("RIGHT,left", named({"Left", "Middle", "Right"})), ElementsAre(2, 0));
  EXPECT_THAT(error_of("dOG", named({"dog", "cat", "DOG"})),
              AllOf(HasSubstr("no class has exactly this name"), HasSubstr("0 'dog' and 2 'DOG'")));
}

TEST(ClassLabels, ANameThatIsANumberComesBeforeTheNumber) {
  EXPECT_THAT(labels_of("2,10,11", up_to_11), ElementsAre(4, 2, 3));
  const ResolvedLabel found = resolve_label({"2"}, up_to_11);
  EXPECT_THAT(found.note, AllOf(HasSubstr("number 4"), HasSubstr("2 '10': @2")));
  EXPECT_THAT(labels_of("@2,@10", up_to_11), ElementsAre(2, 10));
  EXPECT_EQ(resolve_label({"0"}, up_to_11).note, "") << "both readings are the same";
}

TEST(ClassLabels, ANumberThatCouldBeAnotherClassIsRefusedWithBothReadings) {
  const ClassLabels known = named({"01", "02", "03", "04", "05"});
  EXPECT_THAT(labels_of("05,01", known), ElementsAre(4, 0));
  EXPECT_THAT(error_of("3", known), AllOf(HasSubstr("two readings"), HasSubstr("3 '04'"),
                                          HasSubstr("2 '03'"), HasSubstr("@3")));
  EXPECT_THAT(error_of("007", up_to_11), HasSubstr("two readings"));
  EXPECT_THAT(labels_of("1", named({"00", "01", "02"})), ElementsAre(1)) << "one reading";
}

TEST(ClassLabels, TheNumberOfClassesIsNeverNoClass) {
  const ClassLabels known = named({"01", "02", "03", "04", "05"});
  EXPECT_THAT(error_of("5", known),
              AllOf(HasSubstr("out of range: the model knows 0 to 4"), HasSubstr("4 '05'")));
  EXPECT_THAT(error_of("@5", known), HasSubstr("out of range"));
  const ClassLabels unnamed{.classes = 3, .names = {}, .null_label = true};
  EXPECT_THAT(error_of("3", unnamed),
              AllOf(HasSubstr("label 3 is out of range"), HasSubstr("'none' for no class")));
  EXPECT_THAT(error_of("-1", unnamed), HasSubstr("label -1 is out of range"));
  EXPECT_THAT(error_of("99999999999999999999", unnamed), HasSubstr("out of range"));
}

TEST(ClassLabels, NoneIsNoClassWhereNoClassIsCalledSo) {
  EXPECT_THAT(labels_of("none,NONE,@none", named({"a", "b"})), ElementsAre(2, 2, 2));
  EXPECT_THAT(labels_of("none,@none", named({"all", "none", "some"})), ElementsAre(1, 3));
  const ResolvedLabel loose = resolve_label({"none"}, named({"All", "None"}));
  EXPECT_EQ(loose.label, 1);
  EXPECT_THAT(loose.note, HasSubstr("no class is @none"));
  EXPECT_THAT(error_of("none", named({"a", "b"}, false)), HasSubstr("label_dropout = 0"));
  EXPECT_THAT(error_of("@none", named({"a", "none"}, false)), HasSubstr("label_dropout = 0"));
}

TEST(ClassLabels, NamesWithCommasAndQuotesCanBeSaid) {
  const ClassLabels known =
      named({"great white shark, white shark", "say \"ah\"", "@none", "none", "7", " x"});
  EXPECT_THAT(labels_of("\"great white shark, white shark\",\"say \"\"ah\"\"\"", known),
              ElementsAre(0, 1));
  EXPECT_THAT(labels_of("\"@none\",@none,\"none\",\"7\", x,7", known),
              ElementsAre(2, 6, 3, 4, 5, 4));
  EXPECT_EQ(resolve_label({"great white shark, white shark"}, known).label, 0);
  EXPECT_THAT(error_of("\"5\"", known), HasSubstr("none of the classes"));
  EXPECT_THAT(error_of("\"7", known), HasSubstr("not closed"));
  EXPECT_THAT(error_of("\"7\"x", known), HasSubstr("a comma or the end"));
  for (const char* empty : {"", "7,", ",7", "7,,7", "7, ,7"})
    EXPECT_THAT(error_of(empty, known), HasSubstr("an entry is empty")) << empty;
}

TEST(ClassLabels, BlanksAroundANameAreTakenOffWhereNoNameHasThem) {
  EXPECT_THAT(labels_of("cat, dog ,none, 1", named({"cat", "dog"})), ElementsAre(0, 1, 2, 1));
  EXPECT_THAT(labels_of(" dog,dog", named({"dog", " dog"})), ElementsAre(1, 0));
}

TEST(ClassLabels, EqualNamesAreRefused) {
  EXPECT_THAT(error_of("crane", named({"crane", "dog", "crane"})),
              AllOf(HasSubstr("2 classes have this name"), HasSubstr("@0 or @2")));
}

TEST(ClassLabels, UnknownNamesSayWhatThereIs) {
  EXPECT_THAT(error_of("Lefd", named({"Left", "Right"})), HasSubstr("did you mean 'Left'?"));
  const ClassLabels unnamed{.classes = 3, .names = {}, .null_label = false};
  EXPECT_THAT(error_of("cat", unnamed), HasSubstr("name no classes: use 0 to 2"));
  std::vector<std::string> many;
  for (int i = 0; i < 1000; ++i) many.push_back("class " + std::to_string(i));
  EXPECT_LT(error_of("x", named(many)).size(), 400u);
}

TEST(ClassLabels, WhatIsShownStaysOnOneLine) {
  const ClassLabels known = named({"a\nb", "\x1b[31mred", "caf\xc3\xa9"});
  EXPECT_EQ(shown_label(0, known), "0 'a\\nb'");
  EXPECT_EQ(shown_label(1, known), "1 '\\x1b[31mred'");
  EXPECT_EQ(shown_label(2, known), "2 'caf\xc3\xa9'");
  EXPECT_EQ(shown_label(3, known), "none");
  EXPECT_EQ(shown_label(7, known), "7");
  EXPECT_THAT(error_of("x", known), Not(HasSubstr("\n")));
  EXPECT_THAT(labels_of("a\nb", known), ElementsAre(0));
}

}  // namespace
}  // namespace gallop::data
