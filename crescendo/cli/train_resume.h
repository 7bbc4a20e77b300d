// What a resumed run must find as it was when it was begun, since its weights stand for it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "crescendo/tokenizer/kl_vae.h"

namespace crescendo {

// The error of a change: what the run in `out` was begun with, what is asked for now, and how to go on.
[[noreturn]] void refuse_change(const std::filesystem::path& out, const std::string& before, const std::string& now);

// Each compares with the model that the run in `out` has saved; where it has saved none, there is nothing to compare.
// A class may get another name; none may stand under another number, or go.
void check_same_classes(const std::filesystem::path& out, const std::vector<std::string>& labels);
void check_same_tokenizer(const std::filesystem::path& out, const std::string& name, const KlVae& vae);
// A frozen encoder with its weights; of one that learns along, what makes tokens of texts.
void check_same_text_encoder(const std::filesystem::path& out, const std::filesystem::path& folder, bool frozen);

// A class model may not tell a class from its mirror image.
void warn_of_flipped_classes(const std::vector<std::string>& classes);

}  // namespace crescendo
