// crescendo inspect: what a file or folder holds, for people; with --json for machines.
#include <ATen/ATen.h>

#include <cstdio>
#include <iterator>
#include <map>

#include "crescendo/cli/args.h"
#include "crescendo/core/join.h"
#include "crescendo/store/inspect.h"

namespace crescendo {

namespace {

struct Arguments {
  CommonOptions common;
  std::string path;
};

void line(const char* title, const std::string& text) { std::printf("  %-12s %s\n", title, text.c_str()); }

// 1234567 -> "1 234 567".
std::string grouped_digits(int64_t n) {
  std::string out = std::to_string(n);
  for (auto i = static_cast<std::ptrdiff_t>(out.size()) - 3; i > 0; i -= 3) out.insert(static_cast<size_t>(i), " ");
  return out;
}

std::string text_of(const Json& value) { return value.is_string() ? value.get<std::string>() : json_text(value); }

// {"a": 1, "b": "x"} -> "a 1, b x".
std::string list_of(const Json& object) {
  return join(object.items(), ", ", [](const auto& entry) { return entry.key() + " " + text_of(entry.value()); });
}

// encoder_blocks.3.attn.qkv.weight -> encoder_blocks.*.attn.qkv.weight
std::string pattern_of(const std::string& name) {
  std::string out;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string part = name.substr(begin, end - begin);
    const bool number = !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
    out += (begin == 0 ? "" : ".") + (number ? "*" : part);
    begin = end + 1;
  }
  return out;
}

std::string shape_text(const Json& tensor) {
  return tensor["dtype"].get<std::string>() + " " + json_text(tensor["shape"]);
}

void print_tensors(const Json& tensors, bool all) {
  std::vector<std::pair<std::string, int64_t>> rows;  // text, how many tensors it stands for
  std::map<std::string, size_t> row_of;
  for (const auto& [name, tensor] : tensors.items()) {
    const std::string shown = all ? name : pattern_of(name);
    std::string text = shown + std::string(shown.size() < 52 ? 52 - shown.size() : 0, ' ') + "  " + shape_text(tensor);
    const auto [it, inserted] = row_of.emplace(text, rows.size());
    if (inserted) rows.emplace_back(std::move(text), 0);
    ++rows[it->second].second;
  }
  std::printf("  %zu tensors\n", tensors.size());
  for (const auto& [text, times] : rows)
    std::printf("    %s%s\n", text.c_str(), times > 1 ? (" x " + std::to_string(times)).c_str() : "");
}

void print(const Json& found, bool all, const std::string& title) {
  std::printf("%s\n", title.c_str());
  line("form", text_of(found["form"]));
  line("kind", text_of(found["kind"]));
  if (found.contains("architecture")) {
    Json sizes = found["architecture"];
    sizes.erase("kind");
    for (auto it = sizes.begin(); it != sizes.end();)
      it = *it == 0 ? sizes.erase(it) : std::next(it);  // what does not apply
    if (sizes.contains("heads") && sizes["heads"].is_null()) sizes["heads"] = "unknown (not in the file)";
    line("sizes", list_of(sizes));
  }
  if (found.contains("parameters")) {
    line("parameters", join(found["parameters"].items(), ", ", [](const auto& part) {
           return part.key() + " " + grouped_digits(part.value().template get<int64_t>());
         }));
  }
  if (found.contains("weights")) {
    line("weights", join(found["weights"].items(), "; ", [](const auto& set) {
           return (set.key().empty() ? "unnamed" : set.key()) + ": " + list_of(set.value());
         }));
    line("EMA", found["ema"].get<bool>() ? "yes" : "no");
  }
  if (found.contains("removed")) line("removed", json_text(found["removed"]) + " from the names");
  if (found.contains("foreign")) line("passed over", list_of(found["foreign"]));
  if (found.contains("unread")) line("not read", list_of(found["unread"]));
  if (found.contains("sampler")) line("sampler", found["sampler"]["preset"].get<std::string>());
  for (const char* key : {"arguments", "metadata"})
    if (found.contains(key)) line(key, list_of(found[key]));
  if (found.contains("others")) line("also", json_text(found["others"]));
  if (found.contains("labels")) line("labels", text_of(found["labels"]));
  if (found.contains("problems") && !found["problems"].is_null()) line("problems", text_of(found["problems"]));
  if (found.contains("tensors")) print_tensors(found["tensors"], all);
  for (const char* part : {"tokenizer", "text_encoder"})
    if (found.contains(part) && found[part].is_object()) print(found[part], all, part);
}

}  // namespace

void add_inspect_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("inspect", "Say what a checkpoint, model, tokenizer or array file holds");
  auto a = std::make_shared<Arguments>();
  command->add_option("path", a->path, "PyTorch checkpoint, safetensors (or its index), .npz, .npy, or a folder")
      ->required()
      ->type_name("FILE|DIR");
  command->add_flag("--json", a->common.json, "print as JSON, with every tensor")->group("Common");
  command->add_flag("--verbose", a->common.verbose, "list every tensor; otherwise those of a kind share a line")
      ->group("Common");
  add_examples(*command, {"inspect checkpoint-last.pth", "inspect far-base --json"});
  command->callback([a] {
    a->common.apply();
    const Json found = inspect_path(a->path);
    if (a->common.json) return print_json(found);
    print(found, a->common.verbose, a->path);
  });
}

}  // namespace crescendo
