#include "crescendo/io/pickle_arena.h"

#include <string_view>
#include <unordered_set>
#include <utility>

namespace crescendo::pickle {

Id Arena::make(Kind kind) {
  must(values_.size() < options_.max_values, "it has more than ", options_.max_values, " values");
  values_.emplace_back().kind = kind;
  return static_cast<Id>(values_.size() - 1);
}

Id Arena::make_bool(bool value) {
  const Id id = make(Kind::kBool);
  values_[id].integer = value;
  return id;
}

Id Arena::make_int(int64_t value) {
  const Id id = make(Kind::kInt);
  values_[id].integer = value;
  return id;
}

Id Arena::make_float(double value) {
  const Id id = make(Kind::kFloat);
  values_[id].number = value;
  return id;
}

Id Arena::make_text(Kind kind, std::string text) {
  text_bytes_ += text.size();
  must(text_bytes_ <= 8 * input_.size() + 65536, "its strings are copied too often");
  const Id id = make(kind);
  values_[id].text = std::move(text);
  return id;
}

Id Arena::make_foreign(const std::string& class_name) {
  const auto [it, is_new] = class_index_.emplace(class_name, static_cast<int64_t>(class_names_.size()));
  if (is_new) class_names_.push_back(class_name);
  const Id id = make(Kind::kForeign);
  values_[id].integer = it->second;
  return id;
}

Id Arena::make_items(Kind kind, std::vector<Id> items) {
  charge(items.size());
  const Id id = make(kind);
  values_[id].items = std::move(items);
  return id;
}

Id Arena::make_tensor(Kind kind, Tensor tensor) {
  const Id id = make(kind);
  values_[id].tensor = std::move(tensor);
  return id;
}

int64_t Arena::int_of(Id id, const char* what) const {
  must(values_[id].kind == Kind::kInt, what, " must be an int");
  return values_[id].integer;
}

const std::string& Arena::string_of(Id id, const char* what) const {
  must(values_[id].kind == Kind::kString, what, " must be a string");
  return values_[id].text;
}

const std::vector<Id>& Arena::items_of(Id id, const char* what) const {
  must(values_[id].kind == Kind::kTuple || values_[id].kind == Kind::kList, what, " must be a tuple");
  return values_[id].items;
}

std::vector<int64_t> Arena::ints_of(Id id, const char* what) const {
  const auto& items = items_of(id, what);
  must(items.size() <= 64, what, " has more than 64 dimensions");
  std::vector<int64_t> out;
  for (const Id item : items) out.push_back(int_of(item, what));
  return out;
}

// Instructions of a few bytes can copy whole containers, again and again.
void Arena::charge(size_t items) {
  items_copied_ += items;
  must(items_copied_ <= 4 * options_.max_values, "its containers hold too many items");
}

void Arena::extend(Id target, const std::vector<Id>& items) {
  charge(items.size());
  auto& to = values_[target].items;
  to.insert(to.end(), items.begin(), items.end());
}

void Arena::append(Id list, const std::vector<Id>& items) {
  if (values_[list].kind == Kind::kForeign) return;
  must(values_[list].kind == Kind::kList, "it appends to what is no list");
  extend(list, items);
}

void Arena::add(Id set, const std::vector<Id>& items) {
  if (values_[set].kind == Kind::kForeign) return;
  must(values_[set].kind == Kind::kSet, "it adds to what is no set");
  extend(set, items);
}

void Arena::set_items(Id dict, const std::vector<Id>& keys_and_values) {
  if (values_[dict].kind == Kind::kForeign) {
    text_bytes_ += class_name(dict).size();
    values_[dict].text = class_name(dict);
    values_[dict].kind = Kind::kDict;
  }
  must(values_[dict].kind == Kind::kDict, "it sets an item of what is no dict");
  must(keys_and_values.size() % 2 == 0, "a key without a value");
  extend(dict, keys_and_values);
}

// Depth-first without recursion. `state` tells a value that is being built (seeing it again means that it contains
// itself) from one that is done (and may be shared).
PickleValue Arena::finish(Id root) const {
  enum : uint8_t { kNew, kOpen, kDone };
  std::vector<uint8_t> state(values_.size(), kNew);
  std::unordered_map<Id, PickleValue> done;
  std::vector<std::pair<Id, size_t>> path{{root, 0}};  // a value, and which of its items comes next
  state[root] = kOpen;
  while (!path.empty()) {
    auto& [id, next] = path.back();
    const auto& items = values_[id].items;
    if (next < items.size()) {
      const Id child = items[next++];
      must(state[child] != kOpen, "a container contains itself");
      if (state[child] == kDone) continue;
      must(path.size() < options_.max_depth, "containers are nested more than ", options_.max_depth, " deep");
      state[child] = kOpen;
      path.emplace_back(child, 0);
      continue;
    }
    done.emplace(id, converted(values_[id], done));
    state[id] = kDone;
    path.pop_back();
  }
  return done.at(root);
}

PickleValue Arena::converted(const Value& from, const std::unordered_map<Id, PickleValue>& done) const {
  using Out = PickleValue::Kind;
  const auto list = [&](Out kind) {
    PickleValue::List items;
    items.reserve(from.items.size());
    for (const Id item : from.items) items.push_back(done.at(item));
    return PickleValue::list(std::move(items), kind);
  };
  switch (from.kind) {
    case Kind::kNone:
      return {};
    case Kind::kBool:
      return PickleValue::boolean(from.integer != 0);
    case Kind::kInt:
      return PickleValue::integer(from.integer);
    case Kind::kBigInt:
      return PickleValue::text(Out::kBigInt, from.text);
    case Kind::kFloat:
      return PickleValue::number(from.number);
    case Kind::kString:
      return PickleValue::string(from.text);
    case Kind::kBytes:
      return PickleValue::text(Out::kBytes, from.text);
    case Kind::kList:
      return list(Out::kList);
    case Kind::kTuple:
      return list(Out::kTuple);
    case Kind::kSet:
    case Kind::kFrozenSet:
      return list(Out::kSet);
    case Kind::kDict:
      return converted_dict(from, done);
    case Kind::kTensor:
    case Kind::kStorage:
      return PickleValue::tensor(from.tensor);
    case Kind::kNumpyDtype:
      return PickleValue::string("numpy." + from.text);
    case Kind::kGlobal:
      return PickleValue::text(Out::kForeign, from.text);
    case Kind::kForeign:
      return PickleValue::text(Out::kForeign, class_names_[static_cast<size_t>(from.integer)]);
  }
  fail(input_.name, ": pickle: value of unknown kind");
}

PickleValue Arena::converted_dict(const Value& from, const std::unordered_map<Id, PickleValue>& done) const {
  PickleValue::Dict entries;
  entries.reserve(from.items.size() / 2);
  std::unordered_set<std::string_view> names;
  std::unordered_set<int64_t> numbers;
  const auto once = [&](bool inserted, const auto& key) {
    check(inserted, input_.name, ": pickle: a dict has the key '", key, "' twice");
  };
  for (size_t i = 0; i < from.items.size(); i += 2) {
    const Value& key = values_[from.items[i]];
    check(key.kind != Kind::kList && key.kind != Kind::kSet && key.kind != Kind::kDict, input_.name,
          ": pickle: a dict has a key that is no plain value");
    if (key.kind == Kind::kString) once(names.insert(key.text).second, key.text);
    if (key.kind == Kind::kInt) once(numbers.insert(key.integer).second, key.integer);
    entries.emplace_back(done.at(from.items[i]), done.at(from.items[i + 1]));
  }
  return PickleValue::dict(std::move(entries), from.text);
}

}  // namespace crescendo::pickle
