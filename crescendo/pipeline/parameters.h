// The text `parameters` of a picture: what programs that show generated pictures read.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace crescendo {

using Parameters = std::vector<std::pair<std::string, std::string>>;  // "Seed" and "7"

// "PROMPT\nSteps: 10, Seed: 7, Model: \"a, b\"", as AUTOMATIC1111's program began to write it. A value with a comma, a
// colon, a quote or a line end stands in quotes, as a JSON string. The prompt is one line, and a colon behind a key in
// it, or behind "Negative prompt", gets a space before it, so that no parser takes part of a prompt for a parameter.
std::string parameters_text(const std::string& prompt, const Parameters& parameters);

}  // namespace crescendo
