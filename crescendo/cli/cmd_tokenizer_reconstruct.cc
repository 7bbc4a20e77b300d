// crescendo tokenizer reconstruct: pictures beside what the tokenizer keeps of them, with PSNR.
#include <cstdio>

#include "crescendo/cli/cmd_tokenizer.h"
#include "crescendo/core/check.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/log.h"
#include "crescendo/image/grid.h"
#include "crescendo/pipeline/reconstruct.h"
#include "crescendo/tokenizer/tokenizer_io.h"

namespace crescendo {

namespace fs = std::filesystem;

namespace {

void run_reconstruct(const TokenizerArguments& a) {
  check_picture_name(a.out, "--out");
  const fs::path tokenizer = apply_and_find(a);
  if (a.common.dry_run) return print_json(a.resolved(tokenizer));
  std::unique_ptr<KlVae> kl;
  std::unique_ptr<VqVae> vq;
  if (is_vq_tokenizer_dir(tokenizer))
    vq = open_vq_tokenizer(a, tokenizer);
  else
    kl = open_tokenizer(a, tokenizer);
  const double ratio = vq ? compression_ratio(vq->config()) : compression_ratio(kl->config());
  check_writable(a.out, false);
  catch_interrupts();
  const std::vector<NamedPicture> pictures =
      read_pictures(a, vq ? vq->config().sizes.factor() : kl->config().factor());
  GridOptions grid;
  grid.columns = 2;
  grid.column_labels = {"original", "decoded"};
  std::vector<Image> shown;
  Json rows = Json::array();
  double total = 0, seconds = 0;
  Progress progress("reconstruct");
  for (const NamedPicture& p : pictures) {
    if (interrupted()) break;
    const double start_s = now_s();
    Reconstruction result = vq ? reconstruct(*vq, p.image) : reconstruct(*kl, p.image);
    seconds += now_s() - start_s;
    total += result.mean_square_error;
    rows.push_back({{"image", p.name}, {"psnr", byte_psnr_db(result.mean_square_error)}});
    shown.push_back(p.image);
    shown.push_back(std::move(result.decoded));
    progress.update(static_cast<double>(rows.size()) / static_cast<double>(pictures.size()),
                    concat(rows.size(), " of ", pictures.size()));
  }
  check(!rows.empty(), "stopped before the first picture was done");
  progress.finish();
  make_parent(a.out);
  write_png(a.out, make_grid(shown, grid));
  const auto n = static_cast<double>(rows.size());
  if (a.common.json)
    return print_json(
        {{"psnr", byte_psnr_db(total / n)}, {"compression_ratio", ratio}, {"images", rows}, {"out", a.out},
         {"seconds_per_image", seconds / n}});
  for (const auto& row : rows)
    std::printf("%6.2f dB  %s\n", row["psnr"].get<double>(), row["image"].get<std::string>().c_str());
  std::printf("%6.2f dB  over all, compression ratio %.2f %%, %s\n", byte_psnr_db(total / n), 100 * ratio, a.out.c_str());
}

}  // namespace

void add_tokenizer_reconstruct(CLI::App& tokenizer) {
  const auto a = std::make_shared<TokenizerArguments>();
  CLI::App* reconstruct =
      add_tokenizer_user(tokenizer, "reconstruct", "Images through the tokenizer and back, side by side, with PSNR", *a,
                         "image files, folders of them, or shapes", "picture of the pairs, a .png");
  add_number(*reconstruct, "--size", a->size, "crop to a square of N pixels", 1, kLargestSide)->group("What");
  add_number(*reconstruct, "--count", a->count, "pictures of each input; default: all", 1)->group("What");
  add_examples(*reconstruct,
               {"tokenizer reconstruct shapes:seed=3 --count 8 --out pairs.png",
                "tokenizer reconstruct photos/ --model runs/photos/tokenizer --size 128 --out pairs.png"});
  reconstruct->callback([a] { run_reconstruct(*a); });
}

}  // namespace crescendo
