#include "gallop/base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "gallop/base/error.h"

namespace gallop {
namespace {

std::string error_of(const std::string& text) {
  try {
    Json::parse(text, "a.json");
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(Json, ReadsEveryKind) {
  const Json v = Json::parse(
      R"({"n": null, "b": true, "i": -3, "d": 2.5, "s": "a\u00e9\n", "l": [1, [], {}], "o": {"x": 1e3}})");
  EXPECT_TRUE(v.at("n").is_null());
  EXPECT_TRUE(v.at("b").as_bool());
  EXPECT_EQ(v.at("i").as_int(), -3);
  EXPECT_TRUE(v.at("i").is_int());
  EXPECT_EQ(v.at("d").as_double(), 2.5);
  EXPECT_FALSE(v.at("d").is_int());
  EXPECT_EQ(v.at("s").as_string(), "a\xc3\xa9\n");
  EXPECT_EQ(v.at("l").size(), 3u);
  EXPECT_EQ(v.at("o").at("x").as_int(), 1000);  // an integral double is an int
  EXPECT_EQ(v.find("absent"), nullptr);
  EXPECT_EQ(v.as_object()[1].first, "b");  // order of the text
}

TEST(Json, WritesWhatItReads) {
  const std::string line = R"({"z": [1, 2.0, -0.1, "\"\\\u0001", null, false], "a": {}, "e": []})";
  EXPECT_EQ(Json::parse(line).dump(), line);
  EXPECT_EQ(Json::parse(R"({"a":[1,{}],"b":[]})").dump(2),
            "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}");
}

TEST(Json, NumbersSurvive) {
  for (const double d : {0.1, 1e300, -5e-324, 123456789.125, 1e22, 3.0})
    EXPECT_EQ(Json::parse(Json(d).dump()).as_double(), d);
  for (const int64_t i : {std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()})
    EXPECT_EQ(Json::parse(Json(i).dump()).as_int(), i);
  EXPECT_EQ(Json(std::nan("")).dump(), "null");
  EXPECT_EQ(Json(-INFINITY).dump(), "null");
  EXPECT_FALSE(Json::parse(Json(4.0).dump()).is_int());
}

TEST(Json, NumbersAreWrittenInTheFewestCharacters) {
  EXPECT_EQ(Json(1e5).dump(), "1e+05");
  EXPECT_EQ(Json(12345.0).dump(), "12345.0");
  EXPECT_EQ(Json(0.0001).dump(), "1e-04");
}

TEST(Json, InvalidUtf8IsWrittenAsReplacement) {
  EXPECT_EQ(Json("a\xff"
                 "b")
                .dump(),
            "\"a\xef\xbf\xbd"
            "b\"");
}

TEST(Json, Builds) {
  Json v;
  v["b"] = 1;
  v["a"]["c"].push_back("x");
  v["b"] = 2.5;
  EXPECT_EQ(v.dump(), R"({"b": 2.5, "a": {"c": ["x"]}})");
  EXPECT_THROW(v.push_back(1), Error);
  EXPECT_THROW(Json(1)["a"], Error);
}

TEST(Json, WrongKindIsAnError) {
  const Json v = Json::parse(R"({"s": "x", "d": 1.5, "h": 1e19})");
  EXPECT_THROW(v.at("s").as_int(), Error);
  EXPECT_THROW(v.at("d").as_int(), Error);
  EXPECT_THROW(v.at("h").as_int(), Error);
  EXPECT_THROW(v.at("d").as_bool(), Error);
  EXPECT_THROW(v.at("d").as_string(), Error);
  EXPECT_THROW(v.at("d").as_array(), Error);
  EXPECT_THROW(v.at("d").find("x"), Error);
  try {
    v.at("missing");
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("missing"));
  }
}

TEST(Json, FaultsSayLineAndColumn) {
  EXPECT_THAT(error_of("{\"a\": 1,\n \"a\": 2}"),
              testing::StartsWith("a.json: line 2, column 4: key \"a\" is there twice"));
  EXPECT_THAT(error_of("[1,\n\n  x]"), testing::StartsWith("a.json: line 3, column 3: "));
  EXPECT_THAT(error_of("[1] 2"), testing::StartsWith("a.json: line 1, column 5: "));
}

TEST(Json, RefusesWhatIsNoJson) {
  for (const char* text : {"",
                           " ",
                           "{",
                           "[1,]",
                           "{\"a\":1,}",
                           "[1 2]",
                           "// c\n1",
                           "/* c */ 1",
                           "nul",
                           "NaN",
                           "Infinity",
                           "01",
                           "+1",
                           "1.",
                           ".5",
                           "'a'",
                           "\"a",
                           "\"\t\"",
                           "\"\\x\"",
                           "\"\\ud800\"",
                           "\"\xff\"",
                           "{1:2}",
                           "1e999",
                           "9223372036854775808",
                           "-9223372036854775809",
                           "123456789012345678901234567890"})
    EXPECT_NE(error_of(text), "") << text;
}

TEST(Json, ZeroByteIsNotTheEnd) {
  EXPECT_THAT(error_of(std::string("{}\n\0", 4)),
              testing::StartsWith("a.json: line 2, column 1: zero byte"));
  EXPECT_NE(error_of(std::string("[1\0]", 4)), "");
}

TEST(Json, DepthIsLimited) {
  const auto nested = [](size_t n) { return std::string(n, '[') + std::string(n, ']'); };
  EXPECT_EQ(error_of(nested(256)), "");
  EXPECT_THAT(error_of(nested(257)), testing::HasSubstr("256"));
  EXPECT_NE(error_of(std::string(1'000'000, '[')), "");
}

}  // namespace
}  // namespace gallop
