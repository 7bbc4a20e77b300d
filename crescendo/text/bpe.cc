#include "crescendo/text/bpe.h"

#include <algorithm>
#include <array>
#include <limits>
#include <mutex>
#include <nlohmann/json.hpp>
#include <queue>
#include <unordered_map>

#include "crescendo/core/check.h"
#include "crescendo/core/file.h"
#include "crescendo/core/json.h"
#include "crescendo/core/other_kind.h"
#include "crescendo/core/utf8.h"
#include "crescendo/text/pretokenize.h"
#include "crescendo/text/slow_tokenizer.h"

namespace crescendo {

namespace {

// Not core/json.h's Json: that one keeps key order by linear search, too slow for 150,000 keys.
using Value = nlohmann::json;

constexpr size_t kLongestCachedPiece = 64;  // bytes
constexpr size_t kMostCachedPieces = 1 << 16;
constexpr int64_t kMostTokens = int64_t{1} << 24;  // a guard against ids that would make huge tables

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
};
template <class T>
using StringMap = std::unordered_map<std::string, T, StringHash, std::equal_to<>>;

Value parse(const std::string& text, const std::string& where) {
  try {
    return Value::parse(text);
  } catch (const Value::exception& e) {
    const std::string other = other_kind(std::string_view(text).substr(0, 512), text.size());
    fail(where, " is not valid JSON: ", other.empty() ? e.what() : "it is " + other);
  }
}

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

struct AddedToken {
  std::string content;
  int32_t id;
};

// Added tokens, found leftmost and longest.
class AddedTokens {
 public:
  void add(AddedToken token) {
    auto& list = by_first_byte_[static_cast<unsigned char>(token.content[0])];
    const auto shorter = [&](const AddedToken& t) { return t.content.size() < token.content.size(); };
    list.insert(std::find_if(list.begin(), list.end(), shorter), std::move(token));
  }

  // Calls on_text with what lies between the tokens and on_token with each id.
  template <class OnText, class OnToken>
  void cut(std::string_view text, const OnText& on_text, const OnToken& on_token) const {
    size_t done = 0;
    for (size_t i = 0; i < text.size();) {
      const AddedToken* found = nullptr;
      for (const AddedToken& token : by_first_byte_[static_cast<unsigned char>(text[i])])
        if (text.substr(i).starts_with(token.content)) {
          found = &token;
          break;
        }
      if (!found) {
        ++i;
        continue;
      }
      if (i > done) on_text(text.substr(done, i - done));
      on_token(found->id);
      done = i += found->content.size();
    }
    if (done < text.size()) on_text(text.substr(done));
  }

 private:
  std::array<std::vector<AddedToken>, 256> by_first_byte_;  // longest first
};

uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

struct Merge {
  int32_t rank;
  int32_t id;  // of the joined token
};

}  // namespace

namespace {

// A template that is the text itself, and nothing else.
bool is_bare_template(const Value& pieces) {
  return pieces.is_array() && pieces.size() == 1 && pieces[0].is_object() && pieces[0].contains("Sequence");
}

// It may change offsets, which nobody asks for, but no ids.
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

}  // namespace

std::string byte_spelling(unsigned char byte) {
  const char32_t c = byte_characters()[byte];
  if (c < 0x80) return {static_cast<char>(c)};
  return {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
}

struct Bpe::Tables {
  std::string name;
  bool nfc = false;
  std::vector<RegexSplitter> splitters;
  AddedTokens raw_added;         // matched in the text as it is
  AddedTokens normalized_added;  // matched after normalization
  StringMap<int32_t> ids;        // spelling -> id
  std::array<int32_t, 256> byte_ids;
  std::unordered_map<uint64_t, Merge> merges;
  StringMap<int32_t> whole_tokens;  // bytes -> id, filled where a piece that is a token needs no merges
  std::vector<std::string> bytes;   // id -> bytes
  std::vector<bool> known;          // id -> is there such a token
  int32_t pad = -1;

  void read_normalizer(const Value& value, const std::string& where);
  void read_pre_tokenizer(const Value& value, const std::string& where, bool& byte_level);
  void read_model(const Value& value, const std::string& where);
  void read_added_tokens(const Value& value, const std::string& where);
  void read_pad_token(const std::string& config, const std::string& where);
  void set_bytes(int32_t id, std::string token);

  // A heap of candidate merges, best rank first: n log n in the length of the piece.
  struct Scratch {
    struct Symbol {
      int32_t id, previous, next;
    };
    struct Candidate {
      int32_t rank, position, id;
      bool operator<(const Candidate& o) const {  // std::priority_queue takes the greatest
        return rank != o.rank ? rank > o.rank : position > o.position;
      }
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };
  void merge_piece(std::string_view piece, Scratch& scratch, std::vector<int64_t>& ids) const;
};

// Pieces seen before. A helper only: who finds it in use by another thread works without it.
struct Bpe::Cache {
  std::mutex mutex;
  StringMap<std::vector<int64_t>> pieces;
};

void Bpe::Tables::set_bytes(int32_t id, std::string token) {
  const auto index = static_cast<size_t>(id);
  if (index >= bytes.size()) {
    bytes.resize(index + 1);
    known.resize(index + 1);
  }
  bytes[index] = std::move(token);
  known[index] = true;
}

void Bpe::Tables::read_normalizer(const Value& value, const std::string& where) {
  if (value.is_null()) return;
  const std::string type = text_of(member(value, "type", where), where + ".type");
  if (type == "Sequence") {
    const Value& list = member(value, "normalizers", where);
    check(list.is_array(), where, ".normalizers must be a list");
    for (const Value& item : list) read_normalizer(item, where);
    return;
  }
  check(type == "NFC", where, ": normalizer '", type, "' is not supported (NFC is)");
  nfc = true;
}

void Bpe::Tables::read_pre_tokenizer(const Value& value, const std::string& where, bool& byte_level) {
  const std::string type = text_of(member(value, "type", where), where + ".type");
  check(!byte_level, where, ": '", type, "' after ByteLevel is not supported");
  if (type == "Sequence") {
    const Value& list = member(value, "pretokenizers", where);
    check(list.is_array(), where, ".pretokenizers must be a list");
    for (const Value& item : list) read_pre_tokenizer(item, where, byte_level);
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
    splitters.emplace_back(text, pattern.contains("String"), where);
  } else if (type == "ByteLevel") {
    refuse_option(value, "add_prefix_space", where + ": ByteLevel");
    if (flag_of(value, "use_regex", true, where)) splitters.emplace_back(kGpt2Split, false, where);
    byte_level = true;
  } else {
    fail(where, ": pre-tokenizer '", type, "' is not supported (Sequence, Split and ByteLevel are)");
  }
}

void Bpe::Tables::read_model(const Value& value, const std::string& where) {
  check(value.is_object(), where, " must be an object");
  const std::string type = text_of(value.value("type", Value("BPE")), where + ".type");
  check(type == "BPE", where, ": model '", type, "' is not supported (BPE is)");
  // unk_token, fuse_unk and byte_fallback say nothing here: every byte must have a token (checked below).
  for (const char* option : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"})
    refuse_option(value, option, where);

  const Value& vocab = member(value, "vocab", where);
  check(vocab.is_object(), where, ".vocab must be an object");
  ids.reserve(vocab.size());
  for (const auto& [spelling, id_value] : vocab.items()) {
    const int32_t id = id_of(id_value, where + ".vocab");
    check(!(static_cast<size_t>(id) < known.size() && known[static_cast<size_t>(id)]), where, ".vocab: id ", id,
          " is given twice, the second time to '", spelling, "'");
    ids.emplace(spelling, id);
    set_bytes(id, bytes_of_spelling(spelling));
  }
  std::string missing;
  for (unsigned b = 0; b < 256; ++b) {
    const auto it = ids.find(byte_spelling(static_cast<unsigned char>(b)));
    if (it == ids.end())
      missing += concat(missing.empty() ? "" : " ", b);
    else
      byte_ids[b] = it->second;
  }
  check(missing.empty(), where,
        ".vocab lacks the tokens of these bytes, so some texts could not be encoded: ", missing);
  if (flag_of(value, "ignore_merges", false, where))
    for (const auto& [spelling, id] : ids) whole_tokens.emplace(bytes[static_cast<size_t>(id)], id);

  const Value& list = member(value, "merges", where);
  check(list.is_array(), where, ".merges must be a list");
  merges.reserve(list.size());
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
    const auto a = ids.find(left), b = ids.find(right), joined = ids.find(left + right);
    check(a != ids.end() && b != ids.end() && joined != ids.end(), where, ".merges[", rank, "]: '",
          a == ids.end()   ? left
          : b == ids.end() ? right
                           : left + right,
          "' is not in the vocabulary");
    merges.insert_or_assign(pair_key(a->second, b->second), Merge{rank, joined->second});
    ++rank;
  }
}

void Bpe::Tables::read_added_tokens(const Value& value, const std::string& where) {
  check(value.is_array(), where, " must be a list");
  for (const Value& item : value) {
    check(item.is_object(), where, " must hold objects");
    const std::string content = text_of(member(item, "content", where), where + ".content");
    check(!content.empty(), where, ": an added token is empty");
    const std::string what = where + ": added token '" + content + "'";
    for (const char* option : {"single_word", "lstrip", "rstrip"}) refuse_option(item, option, what);
    const int32_t id = id_of(member(item, "id", what), what);
    ids.insert_or_assign(content, id);
    set_bytes(id, content);
    if (flag_of(item, "normalized", !flag_of(item, "special", false, what), what))
      normalized_added.add({nfc ? to_nfc(content) : content, id});
    else
      raw_added.add({content, id});
  }
}

void Bpe::Tables::read_pad_token(const std::string& config, const std::string& where) {
  if (config.empty()) return;
  const Value value = parse(config, where);
  check(value.is_object(), where, " must be an object");
  if (is_null_or_absent(value, "pad_token")) return;
  const Value& token = value["pad_token"];
  const std::string spelling =
      text_of(token.is_object() ? member(token, "content", where) : token, where + ".pad_token");
  const auto it = ids.find(spelling);
  check(it != ids.end(), where, ": pad_token '", spelling, "' is not in the vocabulary");
  pad = it->second;
}

Bpe::Bpe(const TokenizerFiles& files, const std::string& name) : cache_(std::make_shared<Cache>()) {
  const std::string where = name + "/tokenizer.json";
  const Value root = parse(files.tokenizer_json, where);
  check(root.is_object(), where, " must be an object");
  auto tables = std::make_shared<Tables>();
  tables->name = name;
  if (!is_null_or_absent(root, "normalizer")) tables->read_normalizer(root["normalizer"], where + ": normalizer");
  bool byte_level = false;
  check(!is_null_or_absent(root, "pre_tokenizer"), where,
        " has no pre_tokenizer; one that ends in ByteLevel is needed");
  tables->read_pre_tokenizer(root["pre_tokenizer"], where + ": pre_tokenizer", byte_level);
  check(byte_level, where, ": pre_tokenizer has no ByteLevel step; only byte-level BPE is supported");
  if (!is_null_or_absent(root, "post_processor"))
    check_post_processor(root["post_processor"], where + ": post_processor");
  tables->read_model(member(root, "model", where), where + ": model");
  if (!is_null_or_absent(root, "added_tokens")) tables->read_added_tokens(root["added_tokens"], where);
  tables->read_pad_token(files.tokenizer_config_json, name + "/tokenizer_config.json");
  tables_ = std::move(tables);
}

Bpe Bpe::load(const std::filesystem::path& folder) { return Bpe(TokenizerFiles::read(folder), folder.string()); }

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

// Joins the adjacent pair of best rank, leftmost first, until no pair has a merge.
void Bpe::Tables::merge_piece(std::string_view piece, Scratch& scratch, std::vector<int64_t>& out) const {
  if (!whole_tokens.empty())
    if (const auto it = whole_tokens.find(piece); it != whole_tokens.end()) {
      out.push_back(it->second);
      return;
    }
  check(piece.size() < size_t{1} << 30, "cannot encode text: a word of ", piece.size(), " bytes is too long");
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  symbols.clear();
  heap.clear();
  const auto length = static_cast<int32_t>(piece.size());
  for (int32_t i = 0; i < length; ++i)
    symbols.push_back(
        {byte_ids[static_cast<unsigned char>(piece[static_cast<size_t>(i)])], i - 1, i + 1 < length ? i + 1 : -1});
  const auto at = [&](int32_t i) -> Scratch::Symbol& { return symbols[static_cast<size_t>(i)]; };
  const auto find_merge = [&](int32_t left) -> const Merge* {
    if (left < 0 || at(left).next < 0) return nullptr;
    const auto it = merges.find(pair_key(at(left).id, at(at(left).next).id));
    return it == merges.end() ? nullptr : &it->second;
  };
  for (int32_t i = 0; i + 1 < length; ++i)
    if (const Merge* m = find_merge(i)) heap.push_back({m->rank, i, m->id});
  std::make_heap(heap.begin(), heap.end());
  const auto consider = [&](int32_t left) {
    if (const Merge* m = find_merge(left)) {
      heap.push_back({m->rank, left, m->id});
      std::push_heap(heap.begin(), heap.end());
    }
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const auto best = heap.back();
    heap.pop_back();
    auto& left = at(best.position);
    if (left.id < 0) continue;  // has been joined to the symbol before it
    const Merge* m = find_merge(best.position);
    if (!m || m->rank != best.rank) continue;  // one of the two has changed since
    auto& right = at(left.next);
    left.id = best.id;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) at(left.next).previous = best.position;
    consider(left.previous);
    consider(best.position);
  }
  for (int32_t i = length > 0 ? 0 : -1; i >= 0; i = at(i).next) out.push_back(at(i).id);
}

std::vector<int64_t> Bpe::encode(std::string_view text) const {
  const Tables& t = *tables_;
  std::vector<int64_t> ids;
  Tables::Scratch scratch;
  const std::unique_lock lock(cache_->mutex, std::try_to_lock);

  const auto encode_piece = [&](std::string_view piece) {
    if (!lock.owns_lock() || piece.size() > kLongestCachedPiece) return t.merge_piece(piece, scratch, ids);
    auto& pieces = cache_->pieces;
    if (const auto it = pieces.find(piece); it != pieces.end()) {
      ids.insert(ids.end(), it->second.begin(), it->second.end());
      return;
    }
    const size_t before = ids.size();
    t.merge_piece(piece, scratch, ids);
    if (pieces.size() >= kMostCachedPieces) pieces.clear();
    pieces.emplace(piece, std::vector<int64_t>(ids.begin() + static_cast<std::ptrdiff_t>(before), ids.end()));
  };
  // Each splitter cuts the pieces of the one before it.
  const std::function<void(std::string_view, size_t)> split = [&](std::string_view piece, size_t from) {
    if (from == t.splitters.size()) return encode_piece(piece);
    if (from + 1 == t.splitters.size()) return t.splitters[from].split(piece, encode_piece);
    t.splitters[from].split(piece, [&](std::string_view part) { split(part, from + 1); });
  };
  const auto add_id = [&](int32_t id) { ids.push_back(id); };
  const auto encode_normalized = [&](std::string_view part) {
    t.normalized_added.cut(
        part, [&](std::string_view between) { split(between, 0); }, add_id);
  };
  const auto encode_raw = [&](std::string_view part) {
    if (!t.nfc || is_plainly_nfc(part)) return encode_normalized(part);
    const std::string normalized = to_nfc(part);
    encode_normalized(normalized);
  };
  std::string repaired;
  if (!is_valid_utf8(text)) text = repaired = replace_invalid_utf8(text);
  t.raw_added.cut(text, encode_raw, add_id);
  return ids;
}

std::string Bpe::decode(std::span<const int64_t> ids) const {
  std::string out;
  for (const int64_t id : ids) {
    const bool known = id >= 0 && id < vocab_size() && tables_->known[static_cast<size_t>(id)];
    check(known, tables_->name, ": there is no token with the id ", id, " (ids lie in 0..", vocab_size() - 1, ")");
    out += tables_->bytes[static_cast<size_t>(id)];
  }
  return replace_invalid_utf8(out);
}

int64_t Bpe::vocab_size() const { return static_cast<int64_t>(tables_->bytes.size()); }

std::optional<int64_t> Bpe::token_id(std::string_view spelling) const {
  const auto it = tables_->ids.find(spelling);
  return it == tables_->ids.end() ? std::nullopt : std::optional<int64_t>(it->second);
}

int64_t Bpe::pad_id() const {
  check(tables_->pad >= 0, tables_->name, "/tokenizer_config.json names no pad_token");
  return tables_->pad;
}

}  // namespace crescendo
