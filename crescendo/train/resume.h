// What a resumed run must find as it was when it was begun, since its weights stand for it.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "crescendo/tokenizer/kl_vae.h"
#include "crescendo/train/recipe.h"

namespace crescendo {

// Compares with the recipe that the run in `out` was begun with: data, flips, text encoder. Data of another name will
// do where `same_images` finds the same pictures in it: a folder may have moved.
void check_begun_alike(const std::filesystem::path& out, const Recipe& now, const std::function<bool()>& same_images);

// Each compares with the model that the run in `out` has saved; where it has saved none, there is nothing to compare.
// A class may get another name; none may stand under another number, or go.
void check_same_classes(const std::filesystem::path& out, const std::vector<std::string>& labels);
void check_same_tokenizer(const std::filesystem::path& out, const std::string& name, const KlVae& vae);
// A frozen encoder with its weights; of one that learns along, what makes tokens of texts.
void check_same_text_encoder(const std::filesystem::path& out, const std::filesystem::path& folder, bool frozen);

// A class model may not tell a class from its mirror image.
void warn_of_flipped_classes(const std::vector<std::string>& classes);

}  // namespace crescendo
