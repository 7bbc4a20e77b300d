#include <ATen/ATen.h>

#include <algorithm>
#include <unordered_map>

#include "crescendo/core/check.h"
#include "crescendo/io/pickle.h"
#include "crescendo/io/pickle_ops.h"

namespace crescendo {

namespace {

using namespace pickle;

class Writer {
 public:
  explicit Writer(const std::function<std::string(const Tensor&)>& add_storage) : add_storage_(add_storage) {}

  std::string run(const PickleValue& value) {
    op(kProto);
    out_ += '\x02';
    write(value, 0);
    op(kStop);
    return std::move(out_);
  }

 private:
  using Kind = PickleValue::Kind;

  // A shared branch is written once per use, so a small value can become a huge stream: no larger than what is read.
  void op(Opcode opcode) {
    check(++ops_ <= PickleOptions{}.max_values, "pickle: written out, the data has more than ",
          PickleOptions{}.max_values, " values");
    out_ += static_cast<char>(opcode);
  }
  template <class T>
  void raw(T value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }

  // Names stand once in the stream and are recalled afterwards.
  void global(const std::string& module, const std::string& name) {
    const auto [it, inserted] = memo_.emplace(module + "." + name, memo_.size());
    if (!inserted) {
      op(kLongBinGet);
      return raw(static_cast<uint32_t>(it->second));
    }
    op(kGlobal);
    out_ += module + "\n" + name + "\n";
    op(kLongBinPut);
    raw(static_cast<uint32_t>(it->second));
  }
  void string(const std::string& text) {
    check(text.size() <= UINT32_MAX, "pickle: a string of ", text.size(), " bytes");
    op(kBinUnicode);
    raw(static_cast<uint32_t>(text.size()));
    out_ += text;
  }
  void integer(int64_t value) {
    if (value >= INT32_MIN && value <= INT32_MAX) {
      op(kBinInt);
      return raw(static_cast<int32_t>(value));
    }
    op(kLong1);
    out_ += '\x08';
    raw(value);
  }
  void integers(at::IntArrayRef values) {
    op(kMark);
    for (const int64_t value : values) integer(value);
    op(kTuple);
  }
  void empty_ordered_dict() {
    global("collections", "OrderedDict");
    op(kEmptyTuple);
    op(kReduce);
  }

  void tensor(const Tensor& value) {
    check(value.defined() && value.layout() == at::kStrided, "pickle: a tensor is undefined or sparse");
    const auto type = std::find_if(kStorageTypes.begin(), kStorageTypes.end(),
                                   [&](const NamedDtype& known) { return known.dtype == value.scalar_type(); });
    check(type != kStorageTypes.end(), "pickle: PyTorch's files have no storage for ", dtype_name(value.scalar_type()));
    // _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, backward_hooks)
    global("torch._utils", "_rebuild_tensor_v2");
    op(kMark);
    op(kMark);
    string("storage");
    global("torch", std::string(type->name));
    string(add_storage_(value));
    string("cpu");
    integer(value.numel());
    op(kTuple);
    op(kBinPersId);
    integer(0);
    integers(value.sizes());
    std::vector<int64_t> strides(static_cast<size_t>(value.dim()));
    for (int64_t i = value.dim(), stride = 1; i-- > 0; stride *= std::max<int64_t>(value.size(i), 1))
      strides[static_cast<size_t>(i)] = stride;
    integers(strides);
    op(kNewFalse);
    empty_ordered_dict();
    op(kTuple);
    op(kReduce);
  }

  void write(const PickleValue& value, int depth) {
    check(depth < 256, "pickle: containers are nested more than 256 deep");
    switch (value.kind()) {
      case Kind::kNone:
        return op(kNone);
      case Kind::kBool:
        return op(value.as_bool() ? kNewTrue : kNewFalse);
      case Kind::kInt:
        return integer(value.as_int());
      case Kind::kFloat:
        // PyTorch 1.13 refuses the instruction for floats; a tensor of no dimensions acts like a number and is allowed.
        return tensor(at::scalar_tensor(value.as_number(), at::kDouble));
      case Kind::kString:
        return string(value.as_string());
      case Kind::kList:
      case Kind::kTuple:
        if (value.is(Kind::kList)) op(kEmptyList);
        op(kMark);
        for (const auto& item : value.items()) write(item, depth + 1);
        return op(value.is(Kind::kList) ? kAppends : kTuple);
      case Kind::kDict:
        // Any class but OrderedDict is written as a plain dict: weights_only=True would refuse it.
        if (value.type_name() == "collections.OrderedDict")
          empty_ordered_dict();
        else
          op(kEmptyDict);
        op(kMark);
        for (const auto& [key, item] : value.entries()) {
          write(key, depth + 1);
          write(item, depth + 1);
        }
        return op(kSetItems);
      case Kind::kTensor:
        return tensor(value.as_tensor());
      case Kind::kBigInt:
      case Kind::kBytes:
      case Kind::kSet:
      case Kind::kForeign:
        break;
    }
    fail("pickle: ", value.kind_name(), " cannot be written to a file that opens with weights_only=True");
  }

  const std::function<std::string(const Tensor&)>& add_storage_;
  std::string out_;
  size_t ops_ = 0;
  std::unordered_map<std::string, size_t> memo_;
};

}  // namespace

std::string write_pickle(const PickleValue& value, const std::function<std::string(const Tensor&)>& add_storage) {
  return Writer(add_storage).run(value);
}

}  // namespace crescendo
