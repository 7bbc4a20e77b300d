#include "crescendo/data/pictures.h"

#include <gtest/gtest.h>

#include "tests/support.h"

namespace crescendo {
namespace {

TEST(Pictures, AreFilesFoldersAndSets) {
  const test::TemporaryDirectory dir;
  std::filesystem::create_directories(dir / "set/below");
  write_png(dir / "set/b.png", Image(6, 4));
  write_png(dir / "set/below/a.png", Image(4, 4));
  write_png(dir / "c.png", Image(5, 5));
  const std::vector<std::string> inputs{(dir / "set").string(), (dir / "c.png").string(), "shapes:seed=3"};
  const auto names = [](const std::vector<NamedPicture>& pictures) {
    std::vector<std::string> out;
    for (const auto& p : pictures) out.push_back(std::filesystem::path(p.name).filename());
    return out;
  };
  EXPECT_EQ(names(read_pictures(std::span(inputs).first(2), 0, 0)),
            (std::vector<std::string>{"b.png", "a.png", "c.png"}));
  const auto one_each = read_pictures(inputs, /*side=*/16, /*count=*/1);
  EXPECT_EQ(names(one_each), (std::vector<std::string>{"b.png", "c.png", "shapes:seed=3 0"}));
  for (const auto& p : one_each) EXPECT_EQ(std::pair(p.image.width, p.image.height), std::pair(int64_t{16}, int64_t{16}));
  EXPECT_CONTAINS(test::usage_error_of([&] { read_pictures(std::span(inputs).last(1), 0, 0); }), "how many");
  std::filesystem::create_directories(dir / "empty");
  EXPECT_CONTAINS(test::error_of([&] { read_pictures(std::vector{(dir / "empty").string()}, 0, 0); }), "holds no");
}

}  // namespace
}  // namespace crescendo
