// One list of fields per options struct: it drives the config file, --set, help, --dry-run and checkpoint metadata.
//
//   struct Options {
//     double lr = 1e-4;
//     template <class Self, class V> static void fields(Self& self, V&& visit) {
//       visit("lr", self.lr, "peak learning rate");
//     }
//   };
//
// A field is a bool, int64_t, double, std::string, a named enum (enums.h), a std::vector of one of these, a
// std::optional (null where unset) of any, a struct with fields of its own, or Json (an object that is read later). A
// key that no field has is an error that names the nearest one. A struct that also reads what older programs wrote has
// static void read_older(Json&), which rewrites it.
#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "crescendo/core/check.h"
#include "crescendo/core/enums.h"
#include "crescendo/core/json.h"

namespace crescendo {

// The name nearest to `name` by edit distance; empty where none is near.
std::string nearest_name(std::string_view name, const std::vector<std::string>& names);
// "; did you mean 'width'?", or nothing where none is near.
std::string did_you_mean(std::string_view name, const std::vector<std::string>& names);

struct IgnoreField {
  template <class... Args>
  void operator()(Args&&...) const {}
};

template <class T>
concept HasFields = requires(T& t, IgnoreField v) {
  T::fields(t, v);
};

template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};
template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};

template <HasFields T>
std::vector<std::string> field_names(const T& t) {
  std::vector<std::string> names;
  T::fields(t, [&](const char* name, const auto&, const char*) { names.emplace_back(name); });
  return names;
}

template <class T>
Json value_to_json(const T& value) {
  if constexpr (HasFields<T>) {
    Json out = Json::object();
    T::fields(value, [&](const char* name, const auto& field, const char*) { out[name] = value_to_json(field); });
    return out;
  } else if constexpr (NamedEnum<T>) {
    return enum_name(value);
  } else if constexpr (IsVector<T>::value) {
    Json out = Json::array();
    for (const auto& item : value) out.push_back(value_to_json(item));
    return out;
  } else if constexpr (IsOptional<T>::value) {
    return value ? value_to_json(*value) : Json();
  } else {
    return value;
  }
}

// Sets `value` from JSON; fields that the JSON lacks keep their value. `where` names the place in errors ("train.lr").
template <class T>
void value_from_json(T& value, const Json& given, const std::string& where) {
  Json older;  // a copy, where the struct reads what older programs wrote
  if constexpr (requires { T::read_older(older); }) {
    if (given.is_object()) T::read_older(older = given);
  }
  const Json& json = older.is_null() ? given : older;
  if constexpr (HasFields<T>) {
    check_usage(json.is_object(), where, " must be an object, got ", json_text(json));
    for (const auto& [key, ignored] : json.items()) {
      (void)ignored;
      const auto names = field_names(value);
      bool known = false;
      for (const auto& name : names) known = known || name == key;
      if (known) continue;
      usage_error(where, " has no key '", key, "'", did_you_mean(key, names));
    }
    T::fields(value, [&](const char* name, auto& field, const char*) {
      if (auto it = json.find(name); it != json.end()) value_from_json(field, *it, where + "." + name);
    });
  } else if constexpr (std::same_as<T, Json>) {
    check_usage(json.is_object(), where, " must be an object, got ", json.dump());
    value = json;
  } else if constexpr (NamedEnum<T>) {
    check_usage(json.is_string(), where, " must be ", enum_choices<T>(), ", got ", json_text(json));
    value = parse_enum<T>(json.get<std::string>(), where);
  } else if constexpr (IsVector<T>::value) {
    check_usage(json.is_array(), where, " must be a list, got ", json_text(json));
    value.clear();
    for (const auto& item : json) {
      value.emplace_back();
      value_from_json(value.back(), item, where + "[]");
    }
  } else if constexpr (IsOptional<T>::value) {
    if (json.is_null()) {
      value.reset();
    } else {
      typename T::value_type read{};  // an error leaves `value` as it was
      value_from_json(read, json, where);
      value = std::move(read);
    }
  } else if constexpr (std::same_as<T, bool>) {
    check_usage(json.is_boolean(), where, " must be true or false, got ", json_text(json));
    value = json.get<bool>();
  } else if constexpr (std::integral<T>) {
    check_usage(json.is_number_integer(), where, " must be a whole number, got ", json_text(json));
    check_usage(!json.is_number_unsigned() || std::in_range<T>(json.get<uint64_t>()), where, " must be at most ",
                std::numeric_limits<T>::max(), ", got ", json_text(json));
    value = json.get<T>();
  } else if constexpr (std::floating_point<T>) {
    check_usage(json.is_number(), where, " must be a number, got ", json_text(json));
    value = json.get<T>();
  } else {
    check_usage(json.is_string(), where, " must be a string, got ", json_text(json));
    value = json.get<std::string>();
  }
}

// Applies one assignment, "key.sub=value". The value is read as JSON where it is valid JSON, else as
// a string, so that both cfg=3 and filter=fourier work.
template <HasFields T>
void set_field(T& value, const std::string& assignment) {
  const size_t equals = assignment.find('=');
  check_usage(equals != std::string::npos && equals > 0, "`set` takes key=value, got '", assignment, "'");
  const std::string text = assignment.substr(equals + 1);
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) json = text;
  std::string path = assignment.substr(0, equals);
  for (size_t dot; (dot = path.rfind('.')) != std::string::npos; path.resize(dot))
    json = Json::object({{path.substr(dot + 1), json}});
  value_from_json(value, Json::object({{path, json}}), "`set`");
}

template <HasFields T>
bool fields_equal(const T& a, const T& b) {
  return value_to_json(a) == value_to_json(b);
}

}  // namespace crescendo
