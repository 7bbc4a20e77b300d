// crescendo evaluate train-classifier: pictures in classes -> the classifier through which others are measured.
#include <cmath>
#include <cstdio>

#include "crescendo/cli/args.h"
#include "crescendo/cli/cmd_evaluate.h"
#include "crescendo/cli/field_args.h"
#include "crescendo/core/check.h"
#include "crescendo/core/interrupt.h"
#include "crescendo/core/log.h"
#include "crescendo/data/readable.h"
#include "crescendo/store/model_dir.h"
#include "crescendo/train/classifier_training.h"

namespace crescendo {

namespace {

struct ClassifierArguments {
  CommonOptions common;
  std::string data, out;
  int64_t skip_bad = 0;
  FieldArgs fields;
};

void run_train_classifier(const ClassifierArguments& a) {
  a.common.apply();
  check_usage(!a.data.empty(), "what to train on? Use --data shapes or --data FOLDER");
  check_usage(!a.out.empty(), "where to? Use --out DIR");
  check_usage(a.common.dtype == "fp32", "a classifier is trained in fp32; leave --dtype out");
  ClassifierTrainingOptions options;
  value_from_json(options, a.fields.given(), "the command line");
  if (a.common.dry_run) {
    options.classifier.classes = 2;  // the data are not looked at, and have two at least
    options.validate();
    Json resolved = value_to_json(options);
    resolved["classifier"].erase("classes");
    resolved["data"] = a.data;
    return print_json(resolved);
  }
  auto set = open_dataset(a.data, options.classifier.side);
  const std::vector<std::string> labels = label_names(set->classes(), "`data` " + a.data);
  check_usage(labels.size() >= 2, "`data` ", a.data, " has ", labels.size(),
              " classes; a classifier needs two: DIR/<class>/*.jpg");
  options.classifier.classes = static_cast<int64_t>(labels.size());
  options.validate();
  check_writable(a.out, true);
  check_usage(!is_model_dir(a.out), a.out, " is a model's folder; choose another for the classifier");
  catch_interrupts();
  std::vector<std::unique_ptr<Dataset>> sets;
  sets.push_back(without_unreadable(std::move(set), a.skip_bad));
  const auto seed = static_cast<uint64_t>(options.seed);
  const TrainingImages images(std::move(sets), seed);
  const auto classifier = Classifier::random(options.classifier, seed);
  const at::Device device = a.common.parsed_device();
  classifier->params().to(device, at::kFloat);
  log_info(concat("classifier of ", classifier->params().count(), " parameters, ", labels.size(), " classes, ",
                  images.size(), " images, ", device_description(device)));
  const ClassifierTrainingResult result =
      train_classifier(*classifier, images, labels, options, a.out, {{"data", a.data}}, interrupted);
  Json report = result.to_json();
  report["classifier"] = a.out;
  if (a.common.json)
    print_json(report);
  else
    std::printf("%s: %.2f %% of %ld held-out images right, after %ld images in %s\n", a.out.c_str(),
                100 * result.held_out.accuracy, static_cast<long>(options.held_out), static_cast<long>(result.images),
                format_duration(result.seconds).c_str());
  check(result.finished, "stopped after ", result.images, " of ", options.images, " images; what was learned is in ",
        a.out);
}

}  // namespace

void add_train_classifier(CLI::App& evaluate) {
  CLI::App* command = evaluate.add_subcommand(
      "train-classifier", "Train a small classifier, whose features measure pictures without a network from elsewhere");
  const auto a = std::make_shared<ClassifierArguments>();
  command->add_option("--data", a->data, "shapes[:count=N,seed=S] or a folder with a folder of images for each class")
      ->type_name("SPEC")
      ->group("What");
  add_number(*command, "--skip-bad", a->skip_bad, "go on without up to N images that cannot be read; they are named", 0)
      ->capture_default_str()
      ->group("What");
  command->add_option("--out", a->out, "the classifier's folder")->type_name("DIR")->group("Output");
  a->common.add(*command);
  a->fields.add<ClassifierTrainingOptions>(*command, "Training", {"classifier.classes"});
  add_examples(*command, {"evaluate train-classifier --data shapes:count=200000,seed=7 --out runs/classifier",
                          "evaluate train-classifier --data photos/ --out runs/classifier --classifier.side 128"});
  command->callback([a] { run_train_classifier(*a); });
}

}  // namespace crescendo
