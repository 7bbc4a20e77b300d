#include "crescendo/cli/flags.h"

#include <gtest/gtest.h>

namespace crescendo {
namespace {

const std::set<std::string> kGenerate = {"--class",  "--prompt",    "--prompts", "--cfg",
                                         "--preset", "--no-decode", "--flip"};
const std::set<std::string> kTrain = {"--set", "--data", "--skip-bad", "--train.lr", "--lr", "--sampler.cfg", "--flip"};
const std::set<std::string> kConvert = {"--labels", "--class", "--heads"};

TEST(Flags, FieldsAreNamedAsTheirOptions) {
  EXPECT_EQ(with_flags("let `skip_bad` 2 go on; mend `data`", kTrain), "let --skip-bad 2 go on; mend --data");
  EXPECT_EQ(with_flags("give `text`, not `labels`", kGenerate), "give --prompt, not --class");
  EXPECT_EQ(with_flags("`labels` is for class models", kConvert), "--labels is for class models")
      << "its own name first";
  EXPECT_EQ(with_flags("`train.lr`", kTrain), "--train.lr");
  EXPECT_EQ(with_flags("less `sampler.cfg`", kTrain), "less --sampler.cfg");
  EXPECT_EQ(with_flags("less `sampler.cfg`", kGenerate), "less --cfg");
  EXPECT_EQ(with_flags("`set`.inner has no key 'x'", kTrain), "--set.inner has no key 'x'");
}

TEST(Flags, ValuesAreGivenAsTheCommandTakesThem) {
  EXPECT_EQ(with_flags("use `flip=false`", kTrain), "use --set flip=false");
  EXPECT_EQ(with_flags("(`text.frozen=false`), which", kTrain), "(--set text.frozen=false), which");
  EXPECT_EQ(with_flags("try `sampler.preset=fast` or", kGenerate), "try --preset fast or");
  EXPECT_EQ(with_flags("ask by `labels=id:2`", kGenerate), "ask by --class id:2");
  EXPECT_EQ(with_flags("`decode=false` does without", kGenerate), "--no-decode does without");
  EXPECT_EQ(with_flags("give `heads=N`", kConvert), "give --heads N");
}

TEST(Flags, WhatTheCommandLacksStays) {
  for (const char* text : {"", "`", "``", "`labels", "`resume` goes on", "`resume=x`", "`decode=true`", "`=1`",
                           "`crescendo train x`", "`Labels`", "`skip-bad`", "'labels'", "a file a`b.png"})
    EXPECT_EQ(with_flags(text, kGenerate), text);
  EXPECT_EQ(with_flags("`crescendo convert x`, or `class`", kGenerate), "`crescendo convert x`, or --class");
}

}  // namespace
}  // namespace crescendo
