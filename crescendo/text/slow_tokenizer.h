// A tokenizer in the older files of Hugging Face's layout: vocab.json (spelling -> id) and merges.txt (a merge a line),
// with what else belongs to it in tokenizer_config.json, added_tokens.json and special_tokens_map.json.
#pragma once

#include <filesystem>
#include <string>

namespace crescendo {

bool has_slow_tokenizer(const std::filesystem::path& folder);

// The text of the tokenizer.json that says the same. The class named in tokenizer_config.json (or the model_type beside
// it) tells how text is normalized and split: Qwen2's and GPT-2's are known, another is an error that names it, and so
// is a special token whose id stands in none of the files.
std::string tokenizer_json_of_slow(const std::filesystem::path& folder);

}  // namespace crescendo
