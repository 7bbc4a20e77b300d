#include "crescendo/store/published.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <functional>

#include "crescendo/core/check.h"
#include "crescendo/core/join.h"

namespace crescendo {

namespace {

using Label = FoundWeights::Label;

// "model (160 tensors), unnamed (3 tensors)".
std::string set_names(const Checkpoint& file) {
  if (file.sets.empty()) return "none";
  return join(file.sets, ", ", [](const auto& entry) {
    const auto& [name, set] = entry;
    return concat(name.empty() ? "one unnamed" : name, " (", set.size(), set.size() == 1 ? " tensor" : " tensors",
                  set.empty() ? "" : ", the first is " + set.begin()->first, ")");
  });
}

// Modules that wrap others and show in the names of their parameters.
constexpr std::array<std::string_view, 4> kWrappers = {"module", "_orig_mod", "_fsdp_wrapped_module",
                                                       "_checkpoint_wrapped_module"};

std::string without_wrappers(const std::string& name, std::set<std::string>& removed) {
  std::string out;
  for (size_t begin = 0; begin < name.size();) {
    const size_t dot = name.find('.', begin);
    const size_t end = dot == std::string::npos ? name.size() : dot + 1;
    const std::string_view part(name.data() + begin, (dot == std::string::npos ? end : dot) - begin);
    if (dot != std::string::npos && std::find(kWrappers.begin(), kWrappers.end(), part) != kWrappers.end())
      removed.insert(std::string(part) + ".");
    else
      out += name.substr(begin, end - begin);
    begin = end;
  }
  return out;
}

// Whether "ema" or the like is a word of it: "model_ema", "ema_model.", "state_dict_ema".
bool says_average(const std::string& text) {
  std::string word;
  for (const char c : text + ".") {
    if (std::isalnum(static_cast<unsigned char>(c))) {
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      continue;
    }
    for (const char* average : {"ema", "average", "averaged"})
      if (word == average) return true;
    word.clear();
  }
  return false;
}

Label label_of(const Checkpoint& file, const FoundWeights& found) {
  if (says_average(found.set) || says_average(found.prefix)) return Label::kEma;
  const auto stated = file.metadata.find("weights");
  if (stated != file.metadata.end() && stated->second == "ema") return Label::kEma;
  if (stated != file.metadata.end() && stated->second == "raw") return Label::kRaw;
  return found.set == kRawKey ? Label::kRaw : Label::kOpen;
}

template <class V>
using Named = std::map<std::string, V>;

// The entries under `prefix`, without it and without wrappers; those of a longer one of `prefixes` are another set's.
template <class V, class Out>
void take_under(const std::string& prefix, const std::set<std::string>& prefixes, const Named<V>& from, Out& out,
                std::set<std::string>& removed, const std::string& file) {
  for (const auto& [name, value] : from) {
    std::set<std::string> here;
    const std::string plain = without_wrappers(name, here);
    const bool others = std::any_of(prefixes.begin(), prefixes.end(), [&](const std::string& other) {
      return other.size() > prefix.size() && plain.starts_with(other);
    });
    if (!plain.starts_with(prefix) || others) continue;
    removed.merge(here);
    check(out.emplace(plain.substr(prefix.size()), value).second, file, ": two tensors are called ",
          plain.substr(prefix.size()), " when what wrappers put into names is taken off; the second is ", name);
  }
}

// What stands in front of the telling name, wherever it occurs.
template <class V>
void add_prefixes(const Named<V>& names, std::string_view telling, std::set<std::string>& prefixes) {
  std::set<std::string> ignored;
  for (const auto& entry : names) {
    const std::string plain = without_wrappers(entry.first, ignored);
    if (!plain.ends_with(telling)) continue;
    const std::string prefix = plain.substr(0, plain.size() - telling.size());
    if (prefix.find("exp_avg") != std::string::npos) continue;  // an optimizer's, under the names of the weights
    if (prefix.empty() || prefix.ends_with('.')) prefixes.insert(prefix);
  }
}

std::string places_of(const std::vector<FoundWeights>& all) { return join(all, "; ", &FoundWeights::place); }

bool is_text_encoder(const TensorMap& set) {
  return std::any_of(set.begin(), set.end(), [](const auto& entry) {
    return entry.first == "embed_tokens.weight" || entry.first.ends_with(".embed_tokens.weight");
  });
}

[[noreturn]] void refuse_other_kind(const Checkpoint& file, WeightsKind wanted) {
  const bool model = wanted == WeightsKind::kModel;
  // A file of another kind is the likelier mistake, and the better message.
  if (model && !find_weights(file, WeightsKind::kTokenizer).empty())
    fail(file.name, " is a KL-VAE, not a model; it goes with one: `tokenizer=", file.name, "`");
  if (!model && !find_weights(file, WeightsKind::kModel).empty()) fail(file.name, " is a model, not a KL-VAE");
  if (model)
    for (const auto& entry : file.sets)
      check(!is_text_encoder(entry.second), file.name,
            " is a text encoder, not a model; its folder goes with one: `text_encoder=DIR`");
  fail(file.name, model ? " holds no FAR or MAR model: " : " is no KL-VAE: ", "it has no tensor ", telling_name(wanted),
       ", under any prefix; its sets of tensors: ", set_names(file));
}

const Json* argument(const Checkpoint& file, const char* name) {
  if (!file.args.is_object()) return nullptr;
  const auto it = file.args.find(name);
  return it == file.args.end() ? nullptr : &*it;
}

// Masks change how a model is sampled but none of its shapes; the arguments of its training are all there is to go by.
bool trained_with_masks(const Checkpoint& file, const ModelConfig& model) {
  if (model.is_text() || model.order == Order::kMar) return true;
  const Json* mask = argument(file, "mask");
  return mask && mask->is_boolean() && mask->get<bool>();
}

std::string sampler_for(const ModelConfig& model) {
  if (model.order == Order::kMar) return "mar";
  if (model.is_text()) return "published-t2i";
  return model.masked ? "published-mask" : "published-nomask";
}

}  // namespace

std::filesystem::path checkpoint_path(const std::filesystem::path& path) {
  const auto last = path / "checkpoint-last.pth";
  return !is_model_dir(path) && std::filesystem::exists(last) ? last : path;
}

std::string FoundWeights::place() const {
  return prefix.empty() ? (set.empty() ? "unnamed" : set) : (set.empty() ? "" : set + ", ") + prefix;
}

std::vector<FoundWeights> find_weights(const Checkpoint& file, WeightsKind kind) {
  std::vector<FoundWeights> out;
  for (const auto& [set, tensors] : file.sets) {
    const auto unread = file.unread.find(set);
    std::set<std::string> prefixes;
    add_prefixes(tensors, telling_name(kind), prefixes);
    if (unread != file.unread.end()) add_prefixes(unread->second, telling_name(kind), prefixes);
    for (const std::string& prefix : prefixes) {
      FoundWeights found;
      found.set = set;
      found.prefix = prefix;
      take_under(prefix, prefixes, tensors, found.tensors, found.removed, file.name);
      if (unread != file.unread.end())
        take_under(prefix, prefixes, unread->second, found.unread, found.removed, file.name);
      if (!prefix.empty()) found.removed.insert(prefix);
      found.label = label_of(file, found);
      out.push_back(std::move(found));
    }
  }
  return out;
}

FoundWeights choose_weights(const Checkpoint& file, WeightsKind kind, std::optional<WeightsChoice> choice) {
  std::vector<FoundWeights> all = find_weights(file, kind);
  if (all.empty()) refuse_other_kind(file, kind);
  // A latent-diffusion program may hold several autoencoders; this is the one of its latents.
  const auto of_latents = [](const FoundWeights& f) { return f.prefix.ends_with("first_stage_model."); };
  if (std::any_of(all.begin(), all.end(), of_latents)) std::erase_if(all, std::not_fn(of_latents));
  const bool has_average = std::any_of(all.begin(), all.end(), [](const auto& f) { return f.label == Label::kEma; });
  const bool average = choice ? *choice == WeightsChoice::kEma : has_average;
  std::vector<FoundWeights> fitting;
  for (const FoundWeights& found : all)
    if (found.label == Label::kOpen ? !average || all.size() == 1 : (found.label == Label::kEma) == average)
      fitting.push_back(found);
  check(!fitting.empty(), file.name, " has no ", average ? "EMA" : "raw", " weights; it holds ", places_of(all),
        ": say `weights=", average ? "raw" : "ema", "`, or nothing");
  // The published key is meant where others name the same.
  const std::string published = average ? kEmaKey : kRawKey;
  if (fitting.size() > 1 &&
      std::any_of(fitting.begin(), fitting.end(), [&](const auto& f) { return f.set == published; }))
    std::erase_if(fitting, [&](const auto& f) { return f.set != published; });
  check(fitting.size() == 1, file.name, " holds ", fitting.size(), " sets of ", average ? "EMA" : "raw",
        " weights: ", places_of(fitting), "; save the one that is wanted by itself");
  return std::move(fitting.front());
}

ModelInfo model_info_of(const Checkpoint& file, const TensorMap& weights, int64_t heads, int64_t latent_channels) {
  if (const auto format = file.metadata.find("format"); format != file.metadata.end())
    check(format->second != "crescendo-training-1", file.name, " is what a training run goes on from; its model is in ",
          (std::filesystem::path(file.name).parent_path() / "model").string());
  if (!file.config.is_null()) return model_info_from_json(file.config, file.name);
  if (const Json* channels = argument(file, "vae_embed_dim");
      latent_channels == 0 && channels && channels->is_number_integer())
    latent_channels = channels->get<int64_t>();
  ModelInfo info;
  info.model = model_config_from(weights, file.name, heads, latent_channels);
  info.model.masked = trained_with_masks(file, info.model);
  info.sampler = {{"preset", sampler_for(info.model)}};
  if (!file.args.is_null()) info.training["args"] = file.args;
  return info;
}

}  // namespace crescendo
