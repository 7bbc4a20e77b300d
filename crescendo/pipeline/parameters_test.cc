#include "crescendo/pipeline/parameters.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <regex>

#include "crescendo/core/json.h"

namespace crescendo {
namespace {

// As viewers read it: the last line holds the parameters, a value in quotes is a JSON string, and a line that begins
// with "Negative prompt:" is no more of the prompt.
std::map<std::string, std::string> read(const std::string& text) {
  std::map<std::string, std::string> out;
  const size_t end = text.rfind('\n');
  out["prompt"] = text.substr(0, end);
  const std::string last = text.substr(end + 1);
  const std::regex pair("\\s*(\\w[\\w /-]+):\\s*(\"(?:\\\\.|[^\\\\\"])+\"|[^,]*)(?:,|$)");
  for (std::sregex_iterator it(last.begin(), last.end(), pair), none; it != none; ++it) {
    const std::string value = (*it)[2];
    out[(*it)[1]] = value.starts_with('"') ? Json::parse(value).get<std::string>() : value;
  }
  return out;
}

Parameters with_model(const std::string& model) {
  return {{"Steps", "10"}, {"CFG scale", "3.0"}, {"Seed", "7"}, {"Size", "64x64"}, {"Model", model}};
}

TEST(Parameters, PlainValuesStandAsTheyAre) {
  EXPECT_EQ(parameters_text("a red circle: big, \"x\"", with_model("shapes-64")),
            "a red circle: big, \"x\"\nSteps: 10, CFG scale: 3.0, Seed: 7, Size: 64x64, Model: shapes-64");
}

TEST(Parameters, ValuesForgeNothing) {
  for (const char* model : {"v2, CFG scale: 12, Seed: 5", "a:b", "\"q\"", "\"", "back\\slash", "two\nlines", " edge ",
                            "a\", Seed: 5, Model: \"b"}) {
    const std::string text = parameters_text("p", with_model(model));
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
    const auto got = read(text);
    EXPECT_EQ(got.at("Seed"), "7") << text;
    EXPECT_EQ(got.at("CFG scale"), "3.0") << text;
    EXPECT_EQ(got.at("Model"), model) << text;
    EXPECT_EQ(got.size(), 6) << text;
  }
}

TEST(Parameters, PromptsForgeNothing) {
  for (const char* prompt : {"a\nSteps: 5, Seed: 3, Size: 1x1", "Negative prompt: cats", "a\nNegative prompt: cats",
                             "Steps: 5, Seed: 3, CFG scale: 9", "a\rnegative Prompt: b", "steps: 5",
                             "a\xE2\x80\xA8Seed: 3", "a\xC2\x85Seed: 3", "a\x0bSeed: 3\n\n"}) {
    const std::string text = parameters_text(prompt, with_model("m"));
    EXPECT_EQ(std::count_if(text.begin(), text.end(), [](unsigned char c) { return c < ' '; }), 1) << text;
    EXPECT_EQ(text.find("\xE2\x80\xA8"), std::string::npos) << text;
    std::smatch found;
    ASSERT_TRUE(std::regex_search(text, found, std::regex("seed: *(\\d+)", std::regex::icase))) << text;
    EXPECT_EQ(found[1], "7") << text;  // nor for a reader that takes the first
    EXPECT_FALSE(std::regex_search(text, std::regex("negative prompt:", std::regex::icase))) << text;
    EXPECT_EQ(read(text).at("Steps"), "10") << text;
  }
  EXPECT_EQ(parameters_text("", with_model("m")).front(), '\n');
}

}  // namespace
}  // namespace crescendo
