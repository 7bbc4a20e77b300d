#include "crescendo/metrics/geneval_files.h"

#include <gtest/gtest.h>

#include "crescendo/core/file.h"
#include "tests/support.h"

namespace crescendo {
namespace {

class GenevalFilesTest : public ::testing::Test {
 protected:
  GenevalFilesTest() {
    const GenevalPrompt red{"colors", {{"cat", 1, "red", {}}}, {}, "a photo of a red cat"};
    const GenevalPrompt dog{"single_object", {{"dog", 1, {}, {}}}, {}, "a photo of a dog"};
    samples_ = {{"00000/samples/0000.png", red}, {"00000/samples/0001.png", red}, {"00001/samples/0000.png", dog}};
  }
  std::map<std::string, GenevalObjects> read(const std::string& lines) {
    write_file_atomically(dir_ / "d.jsonl", lines);
    return read_geneval_detections(dir_ / "d.jsonl");
  }
  test::TemporaryDirectory dir_;
  std::vector<GenevalSample> samples_;
};

const char* const kLines =
    R"({"filename": "runs/x/00000/samples/0000.png", "detections": [{"class": "cat", "box": [1, 2, 3, 4], "score": 0.9, "color": "red"}]}
{"filename": "00000/samples/0001.png", "detections": [{"class": "cat", "box": [1, 2, 3, 4], "score": 0.9, "color": "blue"}, {"class": "cat", "box": [1, 2, 3, 4], "score": 0.2}]}
{"filename": "00001/samples/0000.png", "details": "{\"dog\": [[1, 2, 3, 4, 0.5]]}"}
)";

TEST_F(GenevalFilesTest, JudgesAndWritesWhatTheSummaryReads) {
  const auto results = judge_geneval_samples(samples_, read(kLines));
  ASSERT_EQ(results.size(), 3u);
  EXPECT_TRUE(results[0].verdict.correct);
  EXPECT_FALSE(results[1].verdict.correct);  // the one without a colour is not sure enough to be asked
  EXPECT_TRUE(results[2].verdict.correct);
  write_geneval_results(dir_ / "r.jsonl", results);
  const auto again = read_geneval_results(dir_ / "r.jsonl");
  EXPECT_EQ(geneval_summary_text(geneval_summarise(again)), geneval_summary_text(geneval_summarise(results)));
  EXPECT_EQ(again[1].verdict.reason, results[1].verdict.reason);
  EXPECT_EQ(geneval_summarise(again).prompts, 2);
  // Results can be judged again, by other thresholds: a stricter one finds no dog.
  const auto detections = read_geneval_detections(dir_ / "r.jsonl");
  EXPECT_FALSE(judge_geneval_samples(std::span(samples_).last(1), detections, {.score = 0.6})[0].verdict.correct);
}

TEST_F(GenevalFilesTest, RefusesWhatWouldCountWrongly) {
  const std::string lines = kLines, first = lines.substr(0, lines.find('\n') + 1);
  EXPECT_CONTAINS(test::error_of([&] { judge_geneval_samples(samples_, read(first)); }),
                  "2 of 3 pictures have no line of detections, e.g. 00000/samples/0001.png");
  EXPECT_CONTAINS(test::error_of([&] { read(first + first); }), "line 2: 00000/samples/0000.png stands there twice");
  const auto colourless = read(R"({"filename": "00000/samples/0000.png", "details": {"cat": [[1, 2, 3, 4, 0.9]]}})");
  EXPECT_CONTAINS(test::error_of([&] { judge_geneval_samples(std::span(samples_).first(1), colourless); }),
                  "asks for a colour");
  EXPECT_CONTAINS(test::error_of([&] {
                    read(R"({"filename": "a", "detections": [{"class": "x", "box": [3, 0, 1, 1], "score": 1}]})");
                  }),
                  "x1 >= x0");
  EXPECT_CONTAINS(
      test::error_of([&] { read(R"({"filename": "a", "detections": [{"class": "x", "box": [3, 0], "score": 1}]})"); }),
      "a box is");
  EXPECT_CONTAINS(test::error_of([&] { read(R"({"filename": "a"})"); }), "neither detections nor details");
  EXPECT_CONTAINS(test::error_of([&] { read("[]"); }), "must be an object");
  write_file_atomically(dir_ / "r.jsonl", R"({"filename": "a", "correct": 1, "metadata": "{}"})");
  EXPECT_CONTAINS(test::error_of([&] { read_geneval_results(dir_ / "r.jsonl"); }), "true or false");
}

}  // namespace
}  // namespace crescendo
