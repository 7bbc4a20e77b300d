#include "crescendo/train/text_side.h"

#include "crescendo/core/check.h"
#include "crescendo/core/log.h"
#include "crescendo/io/tensor_map.h"
#include "crescendo/pipeline/prompts.h"
#include "crescendo/train/precision.h"
#include "crescendo/train/resume.h"
#include "crescendo/train/training_checkpoint.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

// Where the text encoder to train with lies; a new one is made in the run folder when the run begins.
fs::path encoder_folder(const RunOptions& run, const Recipe& recipe, const std::vector<std::string>& captions) {
  if (!recipe.text.encoder.empty()) return find_text_encoder(recipe.text.encoder);
  check(run.init.empty() || run.init_partial, run.init,
        " has no text_encoder to go on with; name one with `text.encoder=`");
  const fs::path folder = run.out / kTextEncoderFolder;
  if (!run.resume && !fs::exists(run.out / kCheckpointFile))
    make_text_encoder(folder, recipe.text, recipe.config.model.text_hidden, captions,
                      static_cast<uint64_t>(recipe.config.train.seed));
  return folder;
}

}  // namespace

TextSide::TextSide(const RunOptions& run, const Recipe& recipe, const Dataset& dataset)
    : captions(captions_of(dataset)), frozen(recipe.text.frozen) {
  if (recipe.config.flip) check_flip(captions);
  folder = encoder_folder(run, recipe, captions);
  if (run.resume) check_same_text_encoder(run.out, folder, frozen);
  encoder = load_text_encoder(folder, recipe.config.model, run.device,
                              frozen ? training_dtype(recipe.config.train.precision, run.device) : at::kFloat);
  if (frozen) check_states_fit(static_cast<int64_t>(DistinctTexts(captions).texts.size()), *encoder);
  if (!frozen) prepare_to_train(*encoder, run.device);
  tower = encoder->tower().config();
  log_info(concat(frozen ? "frozen text encoder of " : "text encoder of ", total_numel(encoder->tower().weights()),
                  " parameters, ", encoder->tokenizer().vocab_size(), " tokens"));
}

}  // namespace crescendo
