#include "crescendo/data/geneval_folder.h"

#include <gtest/gtest.h>

#include "crescendo/core/file.h"
#include "crescendo/image/image.h"
#include "tests/support.h"

namespace crescendo {
namespace {

GenevalPrompt prompt(const std::string& text) {
  return {"single_object", {{text, 1, {}, {}}}, {}, "a photo of a " + text};
}

TEST(GenevalFolder, ThereAndBack) {
  const test::TemporaryDirectory dir;
  const std::vector<GenevalPrompt> prompts = {prompt("cat"), prompt("dog")};
  write_geneval_folder(dir.path(), prompts);
  EXPECT_CONTAINS(test::error_of([&] { read_geneval_folder(dir.path()); }), "holds no samples");
  EXPECT_EQ(geneval_sample_name(1, 3), "00001/samples/0003.png");
  for (const auto& name : {geneval_sample_name(1, 3), geneval_sample_name(0, 0), geneval_sample_name(1, 0)})
    write_png(dir.path() / name, Image(2, 2));
  write_png(dir.path() / "00000" / "grid.png", Image(2, 2));
  write_png(dir.path() / "00001" / "samples" / "best.png", Image(2, 2));  // the official scorer takes numbers only
  make_directories(dir.path() / "notes");
  const auto samples = read_geneval_folder(dir.path());
  ASSERT_EQ(samples.size(), 3u);
  EXPECT_EQ(samples[0].file, "00000/samples/0000.png");
  EXPECT_EQ(samples[2].file, "00001/samples/0003.png");
  EXPECT_EQ(samples[2].prompt.prompt, "a photo of a dog");
  // Going on is well, with other prompts it is not.
  write_geneval_folder(dir.path(), prompts);
  EXPECT_CONTAINS(test::error_of([&] {
                    write_geneval_folder(dir.path(), std::vector{prompts[1], prompts[0]});
                  }),
                  "holds another prompt than number 0");
}

TEST(GenevalFolder, RefusesDamagedOnes) {
  const test::TemporaryDirectory dir;
  write_geneval_folder(dir.path(), std::vector{prompt("cat")});
  const std::string line = read_file(dir.path() / "00000" / "metadata.jsonl");
  write_file_atomically(dir.path() / "00000" / "metadata.jsonl", line + line);
  EXPECT_CONTAINS(test::error_of([&] { read_geneval_folder(dir.path()); }), "must hold one prompt, holds 2");
  EXPECT_CONTAINS(test::error_of([&] { read_geneval_folder(dir / "nowhere"); }), "is no folder");
}

}  // namespace
}  // namespace crescendo
