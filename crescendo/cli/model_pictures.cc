#include "crescendo/cli/model_pictures.h"

#include "crescendo/core/interrupt.h"
#include "crescendo/pipeline/prompts.h"

namespace crescendo {

Wanted Wanted::part(int64_t first, int64_t count) const {
  const auto cut = [&]<class T>(const std::vector<T>& all) {
    return all.empty() ? all : std::vector<T>(all.begin() + first, all.begin() + first + count);
  };
  return {cut(labels), cut(prompts), cut(seeds)};
}

ModelPictures::ModelPictures(const std::filesystem::path& dir, const ModelInfo& info, at::Device device,
                             at::ScalarType dtype, const SamplerArgs& sampler, at::Device encoder_device, int64_t batch)
    : sampler_(sampler.fields.given()), batch_(batch) {
  if (info.model.is_text())
    encoder_ =
        std::make_unique<TextEncoder>(load_text_encoder(dir / kTextEncoderFolder, info.model, encoder_device, dtype));
  pipeline_ = Pipeline::load(dir, {device, dtype, true, sampler.int8});
}

std::vector<Image> ModelPictures::draw(const Wanted& wanted) const {
  Request request;
  request.sampler = sampler_;
  request.labels = wanted.labels;
  request.seeds = wanted.seeds;
  request.batch = batch_;
  if (encoder_) encode_prompts(*encoder_, wanted.prompts, request);
  std::vector<Image> images(wanted.seeds.size());
  PipelineHooks hooks;
  hooks.on_progress = [](double, const std::string&) { return !interrupted(); };
  hooks.on_image = [&](Generated g) { images[static_cast<size_t>(g.index)] = std::move(g.image); };
  if (!pipeline_->generate(request, hooks)) images.clear();
  return images;
}

}  // namespace crescendo
