// The groups of commands below `crescendo evaluate`, each registered by a file of its own.
#pragma once

#include <CLI/CLI.hpp>

namespace crescendo {

void add_evaluate_shapes(CLI::App& evaluate);   // shapes
void add_train_classifier(CLI::App& evaluate);  // train-classifier

}  // namespace crescendo
