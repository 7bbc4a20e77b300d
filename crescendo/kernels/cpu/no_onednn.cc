// In place of onednn.cc in a build without the library.
#include "crescendo/core/check.h"
#include "crescendo/kernels/cpu/onednn.h"

namespace crescendo::onednn {

std::string version() { return {}; }

const std::string& instructions(c10::ScalarType) {
  static const std::string none;
  return none;
}

std::shared_ptr<const LaidOut> lay_out(c10::ScalarType, int64_t, int64_t, const void*) {
  fail("this build has no oneDNN");
}

void multiply(const Product&) { fail("this build has no oneDNN"); }

}  // namespace crescendo::onednn
