// The groups of commands below `crescendo evaluate`, each registered by a file of its own.
#pragma once

#include <CLI/CLI.hpp>

namespace crescendo {

void add_evaluate_shapes(CLI::App& evaluate);   // shapes
void add_train_classifier(CLI::App& evaluate);  // train-classifier
void add_evaluate_images(CLI::App& evaluate);         // images
void add_evaluate_statistics(CLI::App& evaluate);     // stats, merge, fid, compare, weights-info
void add_evaluate_fidelity(CLI::App& evaluate);       // fidelity
void add_evaluate_files(CLI::App& evaluate);          // pack, unpack, captions
void add_evaluate_geneval_files(CLI::App& evaluate);  // geneval-gen, geneval-score, geneval-summary

}  // namespace crescendo
