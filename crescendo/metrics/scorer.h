// Pictures -> report, whatever the measure and whoever drew them.
#pragma once

#include <string>
#include <vector>

#include "crescendo/core/json.h"
#include "crescendo/image/image.h"

namespace crescendo {

struct Score {
  std::string what;  // was judged: "120 images of 20 prompts"
  Json json;
  std::string line{};            // the report in short, for a log
  std::string table{};           // the report in lines, for a reader
  std::vector<Json> pictures{};  // of each picture, where each is judged by itself
};

class Scorer {
 public:
  virtual ~Scorer() = default;
  // A scorer that knows what each picture was to show takes them in that order.
  virtual Score score(const std::vector<Image>& images) const = 0;
};

}  // namespace crescendo
