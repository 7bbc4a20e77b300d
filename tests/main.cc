// Every test draws the same random numbers in every run, alone or after others, so that one that fails fails again.
#include <ATen/Context.h>
#include <gtest/gtest.h>

namespace {

class Seeded : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo&) override { at::manual_seed(0); }
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  testing::UnitTest::GetInstance()->listeners().Append(new Seeded);
  return RUN_ALL_TESTS();
}
