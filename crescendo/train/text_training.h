// What training a text model needs besides latents: a text encoder, new or at hand, and what it reads for each image.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "crescendo/data/dataset.h"
#include "crescendo/text/text_encoder.h"
#include "crescendo/train/loop.h"

namespace crescendo {

struct TextEncoderOptions {
  std::string encoder;
  bool frozen = false;
  int64_t vocabulary = 512;
  int64_t layers = 4;
  int64_t heads = 4;
  int64_t key_value_heads = 2;
  int64_t intermediate = 384;

  template <class Self, class V>
  static void fields(Self& s, V&& v) {
    v("encoder", s.encoder, "a model's, or a folder in Hugging Face layout; empty: a small new one, as below");
    v("frozen", s.frozen, "keep its weights; otherwise it is trained along");
    v("vocabulary", s.vocabulary, "new encoder: most tokens, learned from the captions");
    v("layers", s.layers, "new encoder: blocks; their width is model.text_hidden");
    v("heads", s.heads, "new encoder: attention heads");
    v("key_value_heads", s.key_value_heads, "new encoder: heads of keys and values, which share the others");
    v("intermediate", s.intermediate, "new encoder: hidden width of a block's MLP");
  }
  // `hidden` is model.text_hidden.
  void validate(int64_t hidden) const;
};

// Of every image; warns of empty ones.
std::vector<std::string> captions_of(const Dataset& dataset);

// Whether a text names a side, so that it is untrue of the mirrored picture: left, right, clockwise, east and west,
// with their compounds, as whole words in any case; and the Chinese signs for left and right.
bool names_side(const std::string& text);
// Refuses flips where a caption names a side; the message quotes one.
void check_flip(std::span<const std::string> captions);
// Refuses a frozen encoder whose states of so many captions do not fit in memory, before any is read.
void check_states_fit(int64_t captions, const TextEncoder& encoder);

// Writes a small Qwen2 of random weights and `hidden` channels, with a vocabulary learned from the captions.
void make_text_encoder(const std::filesystem::path& folder, const TextEncoderOptions& options, int64_t hidden,
                       std::span<const std::string> captions, uint64_t seed);
// Weights as training needs them: fp32, on the device.
void prepare_to_train(TextEncoder& encoder, at::Device device);
// Writes the encoder of `source` to `folder`: its tokenizer and system prompt as they are, and `weights` in place of
// its own. Without weights its own are copied, once.
void save_text_encoder(const std::filesystem::path& folder, const std::filesystem::path& source,
                       const Qwen2Config& config, const TensorMap& weights);

// Latents with the text of their captions. A frozen encoder reads every caption once, before training.
class CaptionedLatents : public LatentSource {
 public:
  // One caption per image of `latents`, which must outlive this. Says how many captions are too long.
  CaptionedLatents(const LatentSource& latents, std::span<const std::string> captions, const TextEncoder& encoder,
                   bool frozen);
  int64_t size() const override { return latents_.size(); }
  TrainingBatch batch(const std::vector<int64_t>& indices, const std::vector<uint64_t>& seeds) const override;

 private:
  const LatentSource& latents_;
  Tensor caption_;     // (images) row of each image in what follows
  Tensor states_;      // (captions, N, hidden), frozen encoder
  TextTokens tokens_;  // (captions, P + N), encoder that is trained along
};

}  // namespace crescendo
