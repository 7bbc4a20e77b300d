// Options of a command made from a struct's fields (core/fields.h): name, help and type come from the one list.
//
// The field cfg_schedule is the option --cfg-schedule, the field lr of a member train is --train.lr. A bool is a pair
// of flags, --mask and --no-mask; a list takes numbers with commas, or a colon between first and last.
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <concepts>
#include <memory>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "crescendo/cli/args.h"
#include "crescendo/core/fields.h"

namespace crescendo {

// The value that a text on the command line stands for; `option` names it in errors.
template <class T>
Json field_from_text(const std::string& text, const std::string& option) {
  if constexpr (NamedEnum<T>)
    return enum_name(parse_enum<T>(text, option));
  else if constexpr (std::integral<T>)
    return number_in<int64_t>(text, option);
  else if constexpr (std::floating_point<T>)
    return number_in<double>(text, option);
  else if constexpr (std::same_as<T, std::vector<double>>) {
    Json list = Json::array();
    std::istringstream items(text);
    for (std::string item; std::getline(items, item, ',');) list.push_back(number_in<double>(item, option));
    return list;
  } else if constexpr (IsVector<T>::value)
    return parse_numbers(text, option);
  else
    return text;
}

template <class T>
std::string field_type_name() {
  if constexpr (std::integral<T>)
    return "N";
  else if constexpr (std::floating_point<T>)
    return "X";
  else if constexpr (IsVector<T>::value)
    return "N,N,...";
  else
    return "NAME";
}

class FieldArgs {
 public:
  // Adds an option for every field of T, but not for those in `without`. Fields of a member are a group of their own in
  // the help.
  template <HasFields T>
  void add(CLI::App& command, const std::string& group, const std::vector<std::string>& without = {},
           const std::string& prefix = "") {
    const std::string heading = prefix.empty() ? group : group + ": " + prefix.substr(0, prefix.size() - 1);
    const auto defaults = std::make_unique<T>();
    T::fields(std::as_const(*defaults), [&](const char* name, const auto& field, const char* help) {
      using Field = std::remove_cvref_t<decltype(field)>;
      const std::string path = prefix + name;
      if (std::find(without.begin(), without.end(), path) != without.end()) return;
      std::string option = path;
      std::replace(option.begin(), option.end(), '_', '-');
      if constexpr (HasFields<Field>) {
        add<Field>(command, group, without, path + ".");
      } else if constexpr (std::same_as<Field, bool>) {
        command
            .add_flag_callback(
                "--" + option, [this, path] { set(path, true); }, help)
            ->group(heading);
        command
            .add_flag_callback("--no-" + option,
                               [this, path, option] {
                                 check_usage(!given_.contains(path), "--", option, " and --no-", option,
                                             " contradict each other");
                                 set(path, false);
                               })
            ->group(heading);
      } else {
        const auto put = [this, path, option](const std::string& text) {
          set(path, field_from_text<Field>(text, "--" + option));
        };
        command.add_option_function<std::string>("--" + option, put, help)
            ->type_name(field_type_name<Field>())
            ->group(heading);
      }
    });
  }

  // What was given, as a config file would say it.
  const Json& given() const { return given_; }

 private:
  void set(const std::string& path, Json value) {
    std::string rest = path;
    Json* place = &given_;
    for (size_t dot; (dot = rest.find('.')) != std::string::npos; rest.erase(0, dot + 1))
      place = &(*place)[rest.substr(0, dot)];
    (*place)[rest] = std::move(value);
  }
  Json given_ = Json::object();
};

}  // namespace crescendo
