// The instructions of Python's pickle, protocols 0 to 5, and PyTorch's names of storages: what reader and writer share.
#pragma once

#include <c10/core/ScalarType.h>

#include <array>
#include <string_view>

namespace crescendo::pickle {

enum Opcode : unsigned char {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kPopMark = '1',
  kDup = '2',
  kFloatText = 'F',
  kIntText = 'I',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kLongText = 'L',
  kBinInt2 = 'M',
  kNone = 'N',
  kPersId = 'P',
  kBinPersId = 'Q',
  kReduce = 'R',
  kStringText = 'S',
  kBinString = 'T',
  kShortBinString = 'U',
  kUnicodeText = 'V',
  kBinUnicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kDict = 'd',
  kAppends = 'e',
  kGet = 'g',
  kBinGet = 'h',
  kInst = 'i',
  kLongBinGet = 'j',
  kList = 'l',
  kObj = 'o',
  kPut = 'p',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kSetItems = 'u',
  kBinBytes = 'B',
  kShortBinBytes = 'C',
  kBinFloat = 'G',
  kEmptyList = ']',
  kEmptyTuple = ')',
  kEmptyDict = '}',
  kProto = 0x80,
  kNewObj = 0x81,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kLong4 = 0x8b,
  kShortBinUnicode = 0x8c,
  kBinUnicode8 = 0x8d,
  kBinBytes8 = 0x8e,
  kEmptySet = 0x8f,
  kAddItems = 0x90,
  kFrozenSet = 0x91,
  kNewObjEx = 0x92,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
  kByteArray8 = 0x96,
};

struct NamedDtype {
  std::string_view name;
  at::ScalarType dtype;
};
inline constexpr std::array kStorageTypes = {
    NamedDtype{"DoubleStorage", at::kDouble}, NamedDtype{"FloatStorage", at::kFloat},
    NamedDtype{"HalfStorage", at::kHalf},     NamedDtype{"BFloat16Storage", at::kBFloat16},
    NamedDtype{"LongStorage", at::kLong},     NamedDtype{"IntStorage", at::kInt},
    NamedDtype{"ShortStorage", at::kShort},   NamedDtype{"CharStorage", at::kChar},
    NamedDtype{"ByteStorage", at::kByte},     NamedDtype{"BoolStorage", at::kBool},
};
// Known, so that they can be passed over: no weight is stored so.
inline constexpr std::array kUnreadStorageTypes = {
    NamedDtype{"ComplexFloatStorage", at::kComplexFloat},
    NamedDtype{"ComplexDoubleStorage", at::kComplexDouble},
    NamedDtype{"QInt8Storage", at::kQInt8},
    NamedDtype{"QUInt8Storage", at::kQUInt8},
    NamedDtype{"QInt32Storage", at::kQInt32},
};

}  // namespace crescendo::pickle
