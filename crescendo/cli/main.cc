// crescendo COMMAND: argv -> request. Every command stands in its own cmd_*.cc.
#include <iostream>
#include <new>

#include "crescendo/cli/args.h"
#include "crescendo/core/check.h"

namespace {

int report(const std::string& message, int exit_code) {
  std::cerr << "crescendo: error: " << message << std::endl;
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace crescendo;
  CLI::App app{"Crescendo: autoregressive image generation with frequency progression (FAR).\nTrains, samples, scores and converts, on a CPU or a GPU."};
  app.name("crescendo");
  app.require_subcommand(1);
  app.get_formatter()->column_width(36);
  add_generate_command(app);
  add_train_command(app);
  add_data_command(app);
  add_tokenizer_command(app);
  add_evaluate_command(app);
  add_version_command(app);
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::Success& e) {  // --help
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    return report(std::string(e.what()) + "\nTry: crescendo " + (argc > 1 && argv[1][0] != '-' ? std::string(argv[1]) + " " : "") + "--help", 2);
  } catch (const Error& e) {
    return report(e.what(), e.exit_code());
  } catch (const std::bad_alloc&) {
    return report("out of memory; try a smaller --batch", 1);
  } catch (const c10::Error& e) {
    return report(e.what_without_backtrace(), 1);
  } catch (const std::exception& e) {
    return report(e.what(), 1);
  }
}
