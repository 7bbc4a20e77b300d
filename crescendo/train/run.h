// A whole run of training: recipe -> data, tokenizer, first weights, text side -> loop -> model directory.
#pragma once

#include "crescendo/train/recipe.h"
#include "crescendo/train/samples.h"

namespace crescendo {

// Trains by a settled recipe until its images are done or a signal asks to stop; the run folder then holds model/, the
// checkpoint (train/loop.h), the recipe, latents and samples. Resumed, the run must be the one that was begun.
// `choose_samples` says what is drawn of the model from time to time, `choose_evaluation` what is measured of it; the
// latter is asked where train.evaluate_images is not 0.
TrainProgress run_training(const Recipe& recipe, const RunOptions& run, const ChooseSamples& choose_samples,
                           const ChooseEvaluation& choose_evaluation = {});

}  // namespace crescendo
