#include "crescendo/text/bpe.h"

#include <algorithm>
#include <mutex>

#include "crescendo/core/check.h"
#include "crescendo/core/utf8.h"

namespace crescendo {

namespace {

constexpr size_t kLongestCachedPiece = 64;  // bytes
constexpr size_t kMostCachedPieces = 1 << 16;

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

// Joins the adjacent pair of best rank, leftmost first, until no pair has a merge.
void merge_piece(const BpeTables& t, std::string_view piece, Scratch& scratch, std::vector<int64_t>& out) {
  if (!t.whole_tokens.empty())
    if (const auto it = t.whole_tokens.find(piece); it != t.whole_tokens.end()) {
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
        {t.byte_ids[static_cast<unsigned char>(piece[static_cast<size_t>(i)])], i - 1, i + 1 < length ? i + 1 : -1});
  const auto at = [&](int32_t i) -> Scratch::Symbol& { return symbols[static_cast<size_t>(i)]; };
  const auto find_merge = [&](int32_t left) -> const BpeTables::Merge* {
    if (left < 0 || at(left).next < 0) return nullptr;
    const auto it = t.merges.find(BpeTables::pair(at(left).id, at(at(left).next).id));
    return it == t.merges.end() ? nullptr : &it->second;
  };
  for (int32_t i = 0; i + 1 < length; ++i)
    if (const BpeTables::Merge* m = find_merge(i)) heap.push_back({m->rank, i, m->id});
  std::make_heap(heap.begin(), heap.end());
  const auto consider = [&](int32_t left) {
    if (const BpeTables::Merge* m = find_merge(left)) {
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
    const BpeTables::Merge* m = find_merge(best.position);
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

}  // namespace

void AddedTokens::add(std::string content, int32_t id) {
  auto& list = by_first_byte_[static_cast<unsigned char>(content[0])];
  const auto place =
      std::find_if(list.begin(), list.end(), [&](const Token& t) { return t.content.size() < content.size(); });
  list.insert(place, {std::move(content), id});
}

void AddedTokens::cut(std::string_view text, const std::function<void(std::string_view)>& on_text,
                      const std::function<void(int32_t)>& on_token) const {
  size_t done = 0;
  for (size_t i = 0; i < text.size();) {
    const Token* found = nullptr;
    for (const Token& token : by_first_byte_[static_cast<unsigned char>(text[i])])
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

// Pieces seen before. A thread that finds it locked by another works without it.
struct Bpe::Cache {
  std::mutex mutex;
  StringMap<std::vector<int64_t>> pieces;
};

Bpe::Bpe(BpeTables tables)
    : tables_(std::make_shared<const BpeTables>(std::move(tables))), cache_(std::make_shared<Cache>()) {}

std::vector<int64_t> Bpe::encode(std::string_view text) const {
  const BpeTables& t = *tables_;
  std::vector<int64_t> ids;
  Scratch scratch;
  const std::unique_lock lock(cache_->mutex, std::try_to_lock);

  const auto encode_piece = [&](std::string_view piece) {
    if (!lock.owns_lock() || piece.size() > kLongestCachedPiece) return merge_piece(t, piece, scratch, ids);
    auto& pieces = cache_->pieces;
    if (const auto it = pieces.find(piece); it != pieces.end()) {
      ids.insert(ids.end(), it->second.begin(), it->second.end());
      return;
    }
    const size_t before = ids.size();
    merge_piece(t, piece, scratch, ids);
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
    const bool known = id >= 0 && id < vocab_size() && tables_->bytes[static_cast<size_t>(id)];
    check(known, tables_->name, ": there is no token with the id ", id, " (ids lie in 0..", vocab_size() - 1, ")");
    out += *tables_->bytes[static_cast<size_t>(id)];
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
