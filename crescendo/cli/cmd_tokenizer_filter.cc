// crescendo tokenizer filter: pictures under the low-pass filters of the paper.
#include "crescendo/cli/cmd_tokenizer.h"
#include "crescendo/core/check.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/log.h"
#include "crescendo/image/grid.h"
#include "crescendo/pipeline/filtered.h"
#include "crescendo/store/model_dir.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

// Frequency levels of the model that a tokenizer belongs to; 0 where it stands alone.
int64_t levels_beside(const fs::path& tokenizer) {
  const fs::path model = tokenizer.parent_path();
  return tokenizer.filename() == "tokenizer" && is_model_dir(model) ? load_model_info(model).model.levels : 0;
}

// Pictures under the filters of the paper at every level: a row per picture and filter, a column per level.
void run_filter(const TokenizerArguments& a) {
  check_picture_name(a.out, "--out");
  std::vector<FilterType> filters{FilterType::kSpatial, FilterType::kFourier};
  if (a.filter != "both") filters = {parse_enum<FilterType>(a.filter, "--filter")};
  const fs::path tokenizer = apply_and_find(a);
  constexpr int64_t kPaperLevels = 16;
  const int64_t beside = levels_beside(tokenizer), levels = a.levels > 0 ? a.levels
                                                            : beside > 0 ? beside
                                                                         : kPaperLevels;
  if (a.common.dry_run) {
    Json plan = a.resolved(tokenizer);
    plan["levels"] = levels;
    return print_json(plan);
  }
  const auto vae = open_tokenizer(a, tokenizer);
  check_writable(a.out, false);
  catch_interrupts();
  GridOptions grid;
  grid.columns = levels;
  for (int64_t level = 1; level <= levels; ++level) grid.column_labels.push_back(concat("level ", level));
  const std::vector<NamedPicture> pictures = read_pictures(a, vae->config().factor());
  const size_t rows = pictures.size() * filters.size();
  std::vector<Image> shown;
  Progress progress("filter");
  for (const NamedPicture& p : pictures)
    for (const FilterType filter : filters) {
      check(!interrupted(), "stopped");
      const std::vector<Image> row = filtered_pictures(*vae, p.image, filter, levels);
      shown.insert(shown.end(), row.begin(), row.end());
      grid.row_labels.push_back(concat(fs::path(p.name).filename().string(), " ", enum_name(filter)));
      progress.update(static_cast<double>(grid.row_labels.size()) / static_cast<double>(rows),
                      concat(grid.row_labels.size(), " of ", rows));
    }
  progress.finish();
  make_parent(a.out);
  write_png(a.out, make_grid(shown, grid));
  if (a.common.json) return print_json({{"out", a.out}, {"levels", levels}, {"rows", grid.row_labels}});
  log_info("wrote " + a.out);
}

}  // namespace

void add_tokenizer_filter(CLI::App& tokenizer) {
  const auto a = std::make_shared<TokenizerArguments>();
  CLI::App* filter =
      add_tokenizer_user(tokenizer, "filter", "Images under the low-pass filters at every frequency level", *a,
                         "image files, folders of them, or shapes", "picture of all levels, a .png");
  filter->add_option("--filter", a->filter, "spatial (a), fourier (b) or both")->capture_default_str()->group("What");
  add_number(*filter, "--levels", a->levels, "frequency levels; default: the model's, else 16", 1)->group("What");
  add_number(*filter, "--size", a->size, "crop to a square of N pixels", 1, kLargestSide)->group("What");
  add_number(*filter, "--count", a->count, "pictures of each input; default: all", 1)->group("What");
  add_examples(*filter, {"tokenizer filter photo.jpg --size 64 --out levels.png",
                         "tokenizer filter shapes:seed=3 --count 4 --filter spatial --out levels.png"});
  filter->callback([a] { run_filter(*a); });
}

}  // namespace crescendo
