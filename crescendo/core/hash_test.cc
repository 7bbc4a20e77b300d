#include "crescendo/core/hash.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace crescendo {
namespace {

TEST(Hash64, SeesEveryBitAndWhereItemsEnd) {
  std::set<uint64_t> seen;
  std::string text(40, '\0');
  for (char& c : text)
    for (int bit = 0; bit < 8; ++bit) {
      c = static_cast<char>(1 << bit);
      EXPECT_TRUE(seen.insert(Hash64().add(text).value()).second);
      c = 0;
    }
  for (size_t length = 0; length <= text.size(); ++length)
    EXPECT_TRUE(seen.insert(Hash64().add(std::string_view(text).substr(0, length)).value()).second);
  EXPECT_NE(Hash64().add("ab").add("c").value(), Hash64().add("a").add("bc").value());
  EXPECT_NE(Hash64().add("a").add("b").value(), Hash64().add("b").add("a").value());
  EXPECT_EQ(Hash64().add("a").add(uint64_t{1}).value(), Hash64().add("a").add(uint64_t{1}).value());
}

}  // namespace
}  // namespace crescendo
