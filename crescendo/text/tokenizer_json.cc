#include "crescendo/text/tokenizer_json.h"

#include <array>
#include <unordered_map>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/json.h"
#include "crescendo/core/utf8.h"
#include "crescendo/text/large_json.h"
#include "crescendo/text/slow_tokenizer.h"

namespace crescendo {

namespace {

using Value = LargeJson;

constexpr int64_t kMostTokens = int64_t{1} << 24;  // a guard against ids that would make huge tables

const Value& member(const Value& object, const char* key, const std::string& where) {
  const auto it = object.is_object() ? object.find(key) : object.end();
  check(object.is_object() && it != object.end(), where, " has no '", key, "'");
  return *it;
}

std::string text_of(const Value& value, const std::string& where) {
  check(value.is_string(), where, " must be a string, got ", json_text(value).substr(0, 80));
  return value.get<std::string>();
}

bool flag_of(const Value& object, const char* key, bool otherwise, const std::string& where) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return otherwise;
  check(it->is_boolean(), where, ": '", key, "' must be true or false, got ", json_text(*it).substr(0, 80));
  return it->get<bool>();
}

int32_t id_of(const Value& value, const std::string& where) {
  check(value.is_number_integer() && value.get<double>() >= 0 && value.get<double>() < double(kMostTokens), where,
        ": a token id must be a whole number in 0..", kMostTokens - 1, ", got ", json_text(value).substr(0, 80));
  return value.get<int32_t>();
}

// An option that changes the result and that is not built: present and not at its neutral value is an error.
void refuse_option(const Value& object, const char* key, const std::string& where) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null() || *it == Value(false) || *it == Value("") || *it == Value(0)) return;
  fail(where, ": '", key, "' = ", json_text(*it).substr(0, 80), " is not supported");
}

bool is_null_or_absent(const Value& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null();
}

// code point of the character that stands for a byte; the printable ones of Latin-1 stand for themselves.
const std::array<char32_t, 256>& byte_characters() {
  static const std::array<char32_t, 256> table = [] {
    std::array<char32_t, 256> t{};
    char32_t next = 256;
    for (unsigned b = 0; b < 256; ++b) {
      const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      t[b] = printable ? static_cast<char32_t>(b) : next++;
    }
    return t;
  }();
  return table;
}

// The bytes that a spelling stands for; the spelling itself where a character is not of the alphabet.
std::string bytes_of_spelling(const std::string& spelling) {
  static const std::unordered_map<char32_t, char> bytes = [] {
    std::unordered_map<char32_t, char> map;
    for (unsigned b = 0; b < 256; ++b) map[byte_characters()[b]] = static_cast<char>(b);
    return map;
  }();
  std::string out;
  for (size_t i = 0; i < spelling.size();) {
    const auto lead = static_cast<unsigned char>(spelling[i]);
    char32_t c = lead;
    size_t length = 1;
    if (lead >= 0xC0 && lead < 0xE0 && i + 1 < spelling.size()) {  // the alphabet ends at U+0143
      c = static_cast<char32_t>(lead & 0x1F) << 6 | (static_cast<unsigned char>(spelling[i + 1]) & 0x3F);
      length = 2;
    } else if (lead >= 0x80) {
      return spelling;
    }
    const auto it = bytes.find(c);
    if (it == bytes.end()) return spelling;
    out += it->second;
    i += length;
  }
  return out;
}

// A template that is the text itself, and nothing else.
bool is_bare_template(const Value& pieces) {
  return pieces.is_array() && pieces.size() == 1 && pieces[0].is_object() && pieces[0].contains("Sequence");
}

// A post-processor may change offsets, which are not used here, but no ids.
void check_post_processor(const Value& value, const std::string& where) {
  const std::string type = text_of(member(value, "type", where), where + ".type");
  if (type == "Sequence") {
    const Value& list = member(value, "processors", where);
    check(list.is_array(), where, ".processors must be a list");
    for (const Value& item : list) check_post_processor(item, where);
    return;
  }
  if (type == "TemplateProcessing")
    check(is_bare_template(member(value, "single", where)), where,
          ": a TemplateProcessing that adds tokens to a text, ",
          json_text(member(value, "single", where)).substr(0, 120), ", is not supported");
  else
    check(type == "ByteLevel", where, ": post_processor '", type, "' is not supported (ByteLevel is)");
}

void read_normalizer(BpeTables& tables, const Value& value, const std::string& where) {
  if (value.is_null()) return;
  const std::string type = text_of(member(value, "type", where), where + ".type");
  if (type == "Sequence") {
    const Value& list = member(value, "normalizers", where);
    check(list.is_array(), where, ".normalizers must be a list");
    for (const Value& item : list) read_normalizer(tables, item, where);
    return;
  }
  check(type == "NFC", where, ": normalizer '", type, "' is not supported (NFC is)");
  tables.nfc = true;
}

void read_pre_tokenizer(BpeTables& tables, const Value& value, const std::string& where, bool& byte_level) {
  const std::string type = text_of(member(value, "type", where), where + ".type");
  check(!byte_level, where, ": '", type, "' after ByteLevel is not supported");
  if (type == "Sequence") {
    const Value& list = member(value, "pretokenizers", where);
    check(list.is_array(), where, ".pretokenizers must be a list");
    for (const Value& item : list) read_pre_tokenizer(tables, item, where, byte_level);
  } else if (type == "Split") {
    const Value& pattern = member(value, "pattern", where);
    check(pattern.is_object() && pattern.size() == 1 && (pattern.contains("Regex") || pattern.contains("String")),
          where, ": a Split pattern must be a Regex or a String, got ", json_text(pattern).substr(0, 80));
    const std::string behavior = text_of(member(value, "behavior", where), where + ".behavior");
    const std::string text = text_of(*pattern.begin(), where + ".pattern");
    // Where matches and gaps are pieces alike, an inverted pattern cuts the same; and where a pattern leaves no gaps,
    // nothing is lost when they are removed.
    const bool whole = pattern.contains("Regex") && (text == kQwen2Split || text == kGpt2Split);
    check(behavior == "Isolated" || (behavior == "Removed" && whole && flag_of(value, "invert", false, where)), where,
          ": Split behavior '", behavior, "' is not supported (Isolated is)");
    tables.splitters.emplace_back(text, pattern.contains("String"), where);
  } else if (type == "ByteLevel") {
    refuse_option(value, "add_prefix_space", where + ": ByteLevel");
    if (flag_of(value, "use_regex", true, where)) tables.splitters.emplace_back(kGpt2Split, false, where);
    byte_level = true;
  } else {
    fail(where, ": pre-tokenizer '", type, "' is not supported (Sequence, Split and ByteLevel are)");
  }
}

// The bytes of a token, whose table grows as needed.
std::optional<std::string>& bytes_at(BpeTables& tables, int32_t id) {
  if (static_cast<size_t>(id) >= tables.bytes.size()) tables.bytes.resize(static_cast<size_t>(id) + 1);
  return tables.bytes[static_cast<size_t>(id)];
}

void read_model(BpeTables& tables, const Value& value, const std::string& where) {
  check(value.is_object(), where, " must be an object");
  const std::string type = text_of(value.value("type", Value("BPE")), where + ".type");
  check(type == "BPE", where, ": model '", type, "' is not supported (BPE is)");
  // unk_token, fuse_unk and byte_fallback have no effect: every byte must have a token (checked below).
  for (const char* option : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"})
    refuse_option(value, option, where);

  const Value& vocab = member(value, "vocab", where);
  check(vocab.is_object(), where, ".vocab must be an object");
  tables.ids.reserve(vocab.size());
  for (const auto& [spelling, id_value] : vocab.items()) {
    const int32_t id = id_of(id_value, where + ".vocab");
    check(!bytes_at(tables, id), where, ".vocab: id ", id, " is given twice, the second time to '", spelling, "'");
    tables.ids.emplace(spelling, id);
    bytes_at(tables, id) = bytes_of_spelling(spelling);
  }
  std::string missing;
  for (unsigned b = 0; b < 256; ++b) {
    const auto it = tables.ids.find(byte_spelling(static_cast<unsigned char>(b)));
    if (it == tables.ids.end())
      missing += concat(missing.empty() ? "" : " ", b);
    else
      tables.byte_ids[b] = it->second;
  }
  check(missing.empty(), where,
        ".vocab lacks the tokens of these bytes, so some texts could not be encoded: ", missing);
  if (flag_of(value, "ignore_merges", false, where))
    for (const auto& [spelling, id] : tables.ids) tables.whole_tokens.emplace(*bytes_at(tables, id), id);

  const Value& list = member(value, "merges", where);
  check(list.is_array(), where, ".merges must be a list");
  tables.merges.reserve(list.size());
  int32_t rank = 0;
  for (const Value& item : list) {
    std::string left, right;
    if (item.is_string()) {  // "a b"
      const auto& text = item.get_ref<const std::string&>();
      const size_t space = text.find(' ');
      check(space != std::string::npos, where, ".merges[", rank, "] must be two tokens, got ", json_text(item));
      left = text.substr(0, space);
      right = text.substr(space + 1);
    } else {  // ["a", "b"]
      check(item.is_array() && item.size() == 2 && item[0].is_string() && item[1].is_string(), where, ".merges[", rank,
            "] must be two tokens, got ", json_text(item).substr(0, 80));
      left = item[0].get<std::string>();
      right = item[1].get<std::string>();
    }
    const auto a = tables.ids.find(left), b = tables.ids.find(right), joined = tables.ids.find(left + right);
    check(a != tables.ids.end() && b != tables.ids.end() && joined != tables.ids.end(), where, ".merges[", rank, "]: '",
          a == tables.ids.end()   ? left
          : b == tables.ids.end() ? right
                                  : left + right,
          "' is not in the vocabulary");
    tables.merges.insert_or_assign(BpeTables::pair(a->second, b->second), BpeTables::Merge{rank, joined->second});
    ++rank;
  }
}

void read_added_tokens(BpeTables& tables, const Value& value, const std::string& where) {
  check(value.is_array(), where, " must be a list");
  for (const Value& item : value) {
    check(item.is_object(), where, " must hold objects");
    const std::string content = text_of(member(item, "content", where), where + ".content");
    check(!content.empty(), where, ": an added token is empty");
    const std::string what = where + ": added token '" + content + "'";
    for (const char* option : {"single_word", "lstrip", "rstrip"}) refuse_option(item, option, what);
    const int32_t id = id_of(member(item, "id", what), what);
    tables.ids.insert_or_assign(content, id);
    bytes_at(tables, id) = content;
    if (flag_of(item, "normalized", !flag_of(item, "special", false, what), what))
      tables.normalized_added.add(tables.nfc ? to_nfc(content) : content, id);
    else
      tables.raw_added.add(content, id);
  }
}

void read_pad_token(BpeTables& tables, const std::string& config, const std::string& where) {
  if (config.empty()) return;
  const Value value = parse_large_json(config, where);
  check(value.is_object(), where, " must be an object");
  if (is_null_or_absent(value, "pad_token")) return;
  const Value& token = value["pad_token"];
  const std::string spelling =
      text_of(token.is_object() ? member(token, "content", where) : token, where + ".pad_token");
  const auto it = tables.ids.find(spelling);
  check(it != tables.ids.end(), where, ": pad_token '", spelling, "' is not in the vocabulary");
  tables.pad = it->second;
}

}  // namespace

std::string byte_spelling(unsigned char byte) {
  const char32_t c = byte_characters()[byte];
  if (c < 0x80) return {static_cast<char>(c)};
  return {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
}

Bpe make_bpe(const TokenizerFiles& files, const std::string& name) {
  const std::string where = name + "/tokenizer.json";
  const Value root = parse_large_json(files.tokenizer_json, where);
  check(root.is_object(), where, " must be an object");
  BpeTables tables;
  tables.name = name;
  if (!is_null_or_absent(root, "normalizer")) read_normalizer(tables, root["normalizer"], where + ": normalizer");
  bool byte_level = false;
  check(!is_null_or_absent(root, "pre_tokenizer"), where,
        " has no pre_tokenizer; one that ends in ByteLevel is needed");
  read_pre_tokenizer(tables, root["pre_tokenizer"], where + ": pre_tokenizer", byte_level);
  check(byte_level, where, ": pre_tokenizer has no ByteLevel step; only byte-level BPE is supported");
  if (!is_null_or_absent(root, "post_processor"))
    check_post_processor(root["post_processor"], where + ": post_processor");
  read_model(tables, member(root, "model", where), where + ": model");
  if (!is_null_or_absent(root, "added_tokens")) read_added_tokens(tables, root["added_tokens"], where);
  read_pad_token(tables, files.tokenizer_config_json, name + "/tokenizer_config.json");
  return Bpe(std::move(tables));
}

Bpe load_bpe(const std::filesystem::path& folder) { return make_bpe(TokenizerFiles::read(folder), folder.string()); }

bool has_tokenizer_files(const std::filesystem::path& folder) {
  return std::filesystem::exists(folder / "tokenizer.json") || has_slow_tokenizer(folder);
}

TokenizerFiles TokenizerFiles::read(const std::filesystem::path& folder) {
  TokenizerFiles files;
  files.tokenizer_json = std::filesystem::exists(folder / "tokenizer.json") || !has_slow_tokenizer(folder)
                             ? decode_text(read_file(folder / "tokenizer.json"), (folder / "tokenizer.json").string())
                             : tokenizer_json_of_slow(folder);
  const auto config = folder / "tokenizer_config.json", map = folder / "special_tokens_map.json";
  if (std::filesystem::exists(config)) files.tokenizer_config_json = decode_text(read_file(config), config.string());
  if (!std::filesystem::exists(map)) return files;
  const Json special = read_json(map);
  Json own =
      files.tokenizer_config_json.empty() ? Json::object() : parse_json(files.tokenizer_config_json, config.string());
  const auto pad = special.is_object() ? special.find("pad_token") : special.end();
  if (special.is_object() && pad != special.end() && own.is_object() && own.value("pad_token", Json()).is_null()) {
    own["pad_token"] = *pad;
    files.tokenizer_config_json = json_text(own, 2);
  }
  return files;
}

void TokenizerFiles::write(const std::filesystem::path& folder) const {
  make_directories(folder);
  write_file_atomically(folder / "tokenizer.json", tokenizer_json);
  if (!tokenizer_config_json.empty()) write_file_atomically(folder / "tokenizer_config.json", tokenizer_config_json);
}

}  // namespace crescendo
