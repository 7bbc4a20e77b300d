#include "crescendo/text/slow_tokenizer.h"

#include <array>
#include <charconv>
#include <map>
#include <sstream>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/json.h"
#include "crescendo/text/large_json.h"
#include "crescendo/text/pretokenize.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

using Value = LargeJson;

Value read_value(const fs::path& path) { return parse_large_json(read_file(path), path.string()); }

// An object, empty where the file is absent.
Value optional_object(const fs::path& path) {
  if (!fs::exists(path)) return Value::object();
  Value value = read_value(path);
  check(value.is_object(), path.string(), " must be an object");
  return value;
}

// "Qwen2Tokenizer", also of the fast kind that reads the same files.
std::string class_of(const fs::path& folder, const Value& config) {
  if (const auto it = config.find("tokenizer_class"); it != config.end() && it->is_string()) {
    std::string name = it->get<std::string>();
    if (name.ends_with("Fast")) name.resize(name.size() - 4);
    return name;
  }
  const Value model = optional_object(folder / "config.json");
  const auto type = model.find("model_type");
  const std::string name = type != model.end() && type->is_string() ? type->get<std::string>() : "";
  if (name.starts_with("qwen2")) return "Qwen2Tokenizer";
  if (name == "gpt2") return "GPT2Tokenizer";
  fail(folder.string(), ": vocab.json and merges.txt do not say how text is split; tokenizer_config.json must name a ",
       "tokenizer_class, Qwen2Tokenizer or GPT2Tokenizer, or a tokenizer.json is needed");
}

Value read_merges(const fs::path& path) {
  Value out = Value::array();
  std::istringstream lines(read_file(path));
  int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty() || (number == 1 && line.starts_with("#version"))) continue;
    const size_t space = line.find(' ');
    check(space != std::string::npos && space > 0 && space + 1 < line.size() &&
              line.find(' ', space + 1) == std::string::npos,
          path.string(), ", line ", number, ": a merge must be two tokens, got '", line.substr(0, 80), "'");
    out.push_back(Value::array({line.substr(0, space), line.substr(space + 1)}));
  }
  return out;
}

// A token's spelling, as text or as an object with its flags.
std::string spelling_of(const Value& token, const std::string& where) {
  const Value& content = token.is_object() && token.contains("content") ? token["content"] : token;
  check(content.is_string(), where, ": a token must be a text, got ", json_text(content).substr(0, 80));
  return content.get<std::string>();
}

constexpr std::array kSpecialKeys = {"bos_token", "eos_token", "unk_token",  "sep_token",
                                     "pad_token", "cls_token", "mask_token", "additional_special_tokens"};

class AddedTokens {
 public:
  AddedTokens(const fs::path& folder, const Value& vocab) : folder_(folder), vocab_(vocab) {}

  // {"1456": {"content": "<|endoftext|>", "special": true, ..}}, of newer files.
  void take_decoder(const Value& config) {
    const auto it = config.find("added_tokens_decoder");
    if (it == config.end() || !it->is_object()) return;
    for (const auto& [id_text, flags] : it->items()) {
      int64_t id = 0;
      const auto [end, error] = std::from_chars(id_text.data(), id_text.data() + id_text.size(), id);
      check(error == std::errc() && end == id_text.data() + id_text.size() && flags.is_object(), folder_.string(),
            "/tokenizer_config.json: added_tokens_decoder['", id_text, "'] is no token under its id");
      Value token = flags;
      token["id"] = id;
      put(spelling_of(flags, folder_.string() + "/tokenizer_config.json"), std::move(token));
    }
  }
  // {"<|endoftext|>": 1456}, of older ones.
  void take_ids(const Value& ids) {
    for (const auto& [spelling, id] : ids.items())
      if (!tokens_.contains(spelling)) put(spelling, {{"content", spelling}, {"id", id}, {"normalized", true}});
  }
  // {"eos_token": "<|endoftext|>", "additional_special_tokens": [..]}
  void take_special(const Value& map, const std::string& file) {
    for (const char* key : kSpecialKeys) {
      const auto it = map.find(key);
      if (it == map.end() || it->is_null()) continue;
      const Value list = it->is_array() ? *it : Value::array({*it});
      for (const Value& token : list) mark_special(spelling_of(token, file + ": " + key), file + ": " + key);
    }
  }
  Value list() const {
    std::map<int64_t, Value> by_id;
    for (const auto& entry : tokens_) {
      check(entry.second["id"].is_number_integer(), folder_.string(), ": the id of the added token '", entry.first,
            "' must be a whole number");
      by_id.emplace(entry.second["id"].get<int64_t>(), entry.second);
    }
    Value out = Value::array();
    for (auto& entry : by_id) out.push_back(std::move(entry.second));
    return out;
  }

 private:
  void put(const std::string& spelling, Value token) { tokens_[spelling] = std::move(token); }
  void mark_special(const std::string& spelling, const std::string& where) {
    if (spelling.empty()) return;
    auto it = tokens_.find(spelling);
    if (it == tokens_.end()) {
      const auto known = vocab_.find(spelling);
      check(known != vocab_.end(), where, " is '", spelling, "', whose id stands neither in vocab.json nor in ",
            "added_tokens.json nor in tokenizer_config.json");
      put(spelling, {{"content", spelling}, {"id", *known}});
      it = tokens_.find(spelling);
    }
    it->second["special"] = true;
    it->second["normalized"] = false;
  }

  const fs::path& folder_;
  const Value& vocab_;
  std::map<std::string, Value> tokens_;
};

}  // namespace

bool has_slow_tokenizer(const fs::path& folder) {
  return fs::exists(folder / "vocab.json") && fs::exists(folder / "merges.txt");
}

std::string tokenizer_json_of_slow(const fs::path& folder) {
  const Value config = optional_object(folder / "tokenizer_config.json");
  const std::string name = class_of(folder, config);
  check(name == "Qwen2Tokenizer" || name == "GPT2Tokenizer", folder.string(), ": vocab.json and merges.txt of a ", name,
        " are not supported (of Qwen2Tokenizer and GPT2Tokenizer they are); a tokenizer.json is needed");
  for (const char* option : {"add_prefix_space", "add_bos_token", "split_special_tokens"})
    if (const auto it = config.find(option); it != config.end() && *it == Value(true))
      fail(folder.string(), "/tokenizer_config.json: '", option, "' = true is not supported");
  const bool qwen2 = name == "Qwen2Tokenizer";

  Value vocab = read_value(folder / "vocab.json");
  check(vocab.is_object(), (folder / "vocab.json").string(), " must be an object");
  AddedTokens added(folder, vocab);
  added.take_decoder(config);
  added.take_ids(optional_object(folder / "added_tokens.json"));
  added.take_special(config, (folder / "tokenizer_config.json").string());
  added.take_special(optional_object(folder / "special_tokens_map.json"),
                     (folder / "special_tokens_map.json").string());

  Value pre_tokenizer = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", !qwen2}};
  if (qwen2) {
    Value split = {{"type", "Split"}, {"behavior", "Isolated"}};
    split["pattern"]["Regex"] = kQwen2Split;
    pre_tokenizer = {{"type", "Sequence"}, {"pretokenizers", Value::array({split, pre_tokenizer})}};
  }
  Value root;
  root["version"] = "1.0";
  root["added_tokens"] = added.list();
  if (qwen2) root["normalizer"]["type"] = "NFC";
  root["pre_tokenizer"] = std::move(pre_tokenizer);
  root["decoder"]["type"] = "ByteLevel";
  root["model"]["type"] = "BPE";
  root["model"]["merges"] = read_merges(folder / "merges.txt");
  root["model"]["vocab"] = std::move(vocab);
  return json_text(root);
}

}  // namespace crescendo
