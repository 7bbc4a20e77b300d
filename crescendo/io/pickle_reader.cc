#include <bit>
#include <cstring>
#include <unordered_map>

#include "crescendo/io/pickle.h"
#include "crescendo/io/pickle_arena.h"
#include "crescendo/io/pickle_globals.h"
#include "crescendo/io/pickle_ops.h"
#include "crescendo/io/pickle_tensors.h"
#include "crescendo/io/pickle_text.h"

namespace crescendo {

namespace {

using namespace pickle;

constexpr size_t kMaxIntBytes = 1024;

// The stack machine: its instructions move ids between stack, memo and containers.
class Machine {
 public:
  Machine(const Bytes& bytes, const PickleOptions& options) : bytes_(bytes), arena_(bytes, options) {}

  PickleValue run() {
    while (!stopped_) step();
    must(stack_.size() == 1 && marks_.empty(), "it must end with one value, not with ", stack_.size(), " values and ",
         marks_.size(), " open marks");
    return arena_.finish(stack_.back());
  }
  size_t position() const { return at_; }

 private:
  template <class... Args>
  void must(bool ok, Args&&... args) const {
    arena_.must(ok, std::forward<Args>(args)...);
  }

  // Input.
  std::string_view take(uint64_t size) {
    must(size <= bytes_.size() - at_, "it is cut short: ", size, " bytes are wanted");
    const std::string_view out(reinterpret_cast<const char*>(bytes_.data.data()) + at_, static_cast<size_t>(size));
    at_ += out.size();
    return out;
  }
  template <class T>
  T take_le() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string_view take_line() {
    const std::string_view rest(reinterpret_cast<const char*>(bytes_.data.data()) + at_, bytes_.size() - at_);
    const size_t end = rest.find('\n');
    must(end != std::string_view::npos, "it is cut short");
    at_ += end + 1;
    return rest.substr(0, end);
  }

  // Stack and memo. Values above the last mark are the mark's; nothing below it may be taken.
  void push(Id id) { stack_.push_back(id); }
  void push_text(Kind kind, std::string_view text) { push(arena_.make_text(kind, std::string(text))); }
  Id top() const {
    must(stack_.size() > (marks_.empty() ? 0 : marks_.back()), "it takes a value from an empty stack");
    return stack_.back();
  }
  Id pop() {
    const Id id = top();
    stack_.pop_back();
    return id;
  }
  std::vector<Id> pop_n(size_t n) {
    std::vector<Id> items(n);
    for (size_t i = n; i-- > 0;) items[i] = pop();
    return items;
  }
  std::vector<Id> pop_to_mark() {
    must(!marks_.empty(), "a mark is missing");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Id> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }
  void memoize(uint64_t key) { memo_[key] = top(); }
  void recall(uint64_t key) {
    const auto it = memo_.find(key);
    must(it != memo_.end(), "it recalls value ", key, ", which was never kept");
    push(it->second);
  }

  // Values written as text.
  template <class T>
  T take_number(std::string_view text, const char* what) const {
    const auto number = number_of<T>(text);
    must(number.has_value(), "'", text.substr(0, 40), "' is no ", what);
    return *number;
  }
  uint64_t take_memo_key() { return take_number<uint64_t>(take_line(), "memo key"); }
  void push_string(const std::optional<std::string>& text) {
    must(text.has_value(), "a string has no quotes or a damaged escape");
    push_text(Kind::kString, *text);
  }
  // "12", "12L"; INT also writes bools, as "00" and "01".
  void push_int_text(std::string_view text, bool may_be_bool) {
    if (may_be_bool && (text == "00" || text == "01")) return push(arena_.make_bool(text == "01"));
    if (text.ends_with('L')) text.remove_suffix(1);
    push(arena_.make_int(take_number<int64_t>(text, "int of 64 bits")));
  }
  void push_long(std::string_view twos_complement) {
    must(twos_complement.size() <= kMaxIntBytes, "an int of ", twos_complement.size(), " bytes");
    const std::string_view raw = shortened(twos_complement);
    if (raw.size() > 8) return push_text(Kind::kBigInt, hex_of(raw));
    uint64_t bits = !raw.empty() && (raw.back() & 0x80) ? ~uint64_t{0} : 0;
    std::memcpy(&bits, raw.data(), raw.size());
    push(arena_.make_int(static_cast<int64_t>(bits)));
  }

  void push_items(Kind kind, std::vector<Id> items) { push(arena_.make_items(kind, std::move(items))); }
  void push_dict(const std::vector<Id>& keys_and_values) {
    const Id id = arena_.make(Kind::kDict);
    arena_.set_items(id, keys_and_values);
    push(id);
  }
  void push_call(Id callee, Id arguments) { push(call(arena_, callee, arguments)); }

  void step() {
    arena_.op_begin = at_;
    const auto op = take_le<uint8_t>();
    switch (op) {
      case kProto: {
        const int protocol = take_le<uint8_t>();
        return must(protocol <= 5, "protocol ", protocol, " is not known");
      }
      case kFrame: {
        const auto size = take_le<uint64_t>();
        return must(size <= bytes_.size() - at_, "a frame of ", size, " bytes leaves the file");
      }
      case kStop:
        stopped_ = true;
        return;

      case kMark:
        return marks_.push_back(stack_.size());
      case kPop:
        // On an empty segment POP removes the mark itself, as Python does.
        if (!marks_.empty() && marks_.back() == stack_.size()) return marks_.pop_back();
        pop();
        return;
      case kPopMark:
        pop_to_mark();
        return;
      case kDup:
        return push(top());
      case kPut:
        return memoize(take_memo_key());
      case kBinPut:
        return memoize(take_le<uint8_t>());
      case kLongBinPut:
        return memoize(take_le<uint32_t>());
      case kMemoize:
        return memoize(memo_.size());
      case kGet:
        return recall(take_memo_key());
      case kBinGet:
        return recall(take_le<uint8_t>());
      case kLongBinGet:
        return recall(take_le<uint32_t>());

      case kNone:
        return push(arena_.make(Kind::kNone));
      case kNewTrue:
        return push(arena_.make_bool(true));
      case kNewFalse:
        return push(arena_.make_bool(false));
      case kBinInt:
        return push(arena_.make_int(take_le<int32_t>()));
      case kBinInt1:
        return push(arena_.make_int(take_le<uint8_t>()));
      case kBinInt2:
        return push(arena_.make_int(take_le<uint16_t>()));
      case kLong1:
        return push_long(take(take_le<uint8_t>()));
      case kLong4:
        return push_long(take(take_le<uint32_t>()));
      case kIntText:
        return push_int_text(take_line(), /*may_be_bool=*/true);
      case kLongText:
        return push_int_text(take_line(), /*may_be_bool=*/false);
      case kFloatText:
        return push(arena_.make_float(take_number<double>(take_line(), "float")));
      case kBinFloat:
        return push(arena_.make_float(std::bit_cast<double>(__builtin_bswap64(take_le<uint64_t>()))));

      case kStringText:
        return push_string(unquoted(take_line()));
      case kUnicodeText:
        return push_string(unescaped(take_line()));
      case kBinString:
      case kBinUnicode:
        return push_text(Kind::kString, take(take_le<uint32_t>()));
      case kShortBinString:
      case kShortBinUnicode:
        return push_text(Kind::kString, take(take_le<uint8_t>()));
      case kBinUnicode8:
        return push_text(Kind::kString, take(take_le<uint64_t>()));
      case kBinBytes:
        return push_text(Kind::kBytes, take(take_le<uint32_t>()));
      case kShortBinBytes:
        return push_text(Kind::kBytes, take(take_le<uint8_t>()));
      case kBinBytes8:
      case kByteArray8:
        return push_text(Kind::kBytes, take(take_le<uint64_t>()));

      case kEmptyList:
        return push(arena_.make(Kind::kList));
      case kList:
        return push_items(Kind::kList, pop_to_mark());
      case kEmptyTuple:
        return push(arena_.make(Kind::kTuple));
      case kTuple:
        return push_items(Kind::kTuple, pop_to_mark());
      case kTuple1:
        return push_items(Kind::kTuple, pop_n(1));
      case kTuple2:
        return push_items(Kind::kTuple, pop_n(2));
      case kTuple3:
        return push_items(Kind::kTuple, pop_n(3));
      case kEmptyDict:
        return push(arena_.make(Kind::kDict));
      case kDict:
        return push_dict(pop_to_mark());
      case kEmptySet:
        return push(arena_.make(Kind::kSet));
      case kFrozenSet:
        return push_items(Kind::kFrozenSet, pop_to_mark());
      // The items are taken before the container below them is looked at.
      case kAppend:
      case kAppends: {
        const auto items = op == kAppend ? pop_n(1) : pop_to_mark();
        return arena_.append(top(), items);
      }
      case kSetItem:
      case kSetItems: {
        const auto items = op == kSetItem ? pop_n(2) : pop_to_mark();
        return arena_.set_items(top(), items);
      }
      case kAddItems: {
        const auto items = pop_to_mark();
        return arena_.add(top(), items);
      }

      case kGlobal: {
        const auto module = take_line(), name = take_line();
        return push(find_global(arena_, module, name));
      }
      case kStackGlobal: {
        const Id name = pop(), module = pop();
        const std::string module_text = arena_.string_of(module, "a module");
        const std::string name_text = arena_.string_of(name, "the name of a global");
        return push(find_global(arena_, module_text, name_text));
      }
      case kReduce:
      case kNewObj: {
        const Id arguments = pop(), callee = pop();
        return push_call(callee, arguments);
      }
      case kNewObjEx: {
        const Id keywords = pop(), arguments = pop(), callee = pop();
        const bool foreign = arena_[callee].kind == Kind::kForeign ||
                             (arena_[callee].kind == Kind::kGlobal && arena_[callee].global == Global::kForeign);
        must(foreign || (arena_[keywords].kind == Kind::kDict && arena_[keywords].items.empty()),
             "a call with keywords");
        return push_call(callee, arguments);
      }
      case kInst: {
        const auto module = take_line(), name = take_line();
        const Id arguments = arena_.make_items(Kind::kTuple, pop_to_mark());
        return push_call(find_global(arena_, module, name), arguments);
      }
      case kObj: {
        auto items = pop_to_mark();
        must(!items.empty(), "an object without a class");
        const Id callee = items.front();
        items.erase(items.begin());
        return push_call(callee, arena_.make_items(Kind::kTuple, std::move(items)));
      }
      case kBuild: {
        const Id state = pop();
        return set_state(arena_, top(), state);
      }
      case kBinPersId:
        return push(load_storage(arena_, pop()));
      case kPersId:
        arena_.broken("a persistent id in text form");
      default:
        arena_.broken("instruction ", int{op}, " is not known or not allowed");
    }
  }

  const Bytes& bytes_;
  Arena arena_;
  size_t at_ = 0;  // next byte
  bool stopped_ = false;
  std::vector<Id> stack_;
  std::vector<size_t> marks_;  // sizes of the stack at each MARK
  std::unordered_map<uint64_t, Id> memo_;
};

}  // namespace

PickleValue parse_pickle(const Bytes& bytes, const PickleOptions& options, size_t* consumed) {
  Machine machine(bytes, options);
  PickleValue value = machine.run();
  if (consumed)
    *consumed = machine.position();
  else
    check(machine.position() == bytes.size(), bytes.name, ": ", bytes.size() - machine.position(),
          " bytes after the end of the pickle");
  return value;
}

}  // namespace crescendo
