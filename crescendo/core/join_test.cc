#include "crescendo/core/join.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

namespace crescendo {
namespace {

TEST(Join, PutsTheGlueBetweenPartsOnly) {
  EXPECT_EQ(join(std::vector<std::string>{}), "");
  EXPECT_EQ(join(std::vector<std::string>{"a"}), "a");
  EXPECT_EQ(join(std::vector<int>{1, 2, 3}), "1, 2, 3");
  EXPECT_EQ(join(std::vector<std::string>{"", "b", ""}, "; "), "; b; ") << "an empty part is a part";
}

TEST(Join, SaysEachPartAsItIsTold) {
  const std::map<std::string, int> counts{{"x", 2}, {"y", 3}};
  EXPECT_EQ(join(counts, " + ", [](const auto& entry) { return std::to_string(entry.second) + entry.first; }),
            "2x + 3y");
  EXPECT_EQ(join(std::vector<std::string>{"ab", "c"}, ", ", &std::string::size), "2, 1");
}

}  // namespace
}  // namespace crescendo
