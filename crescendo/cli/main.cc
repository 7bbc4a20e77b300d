// crescendo COMMAND: argv -> request. Every command stands in its own cmd_*.cc.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <limits>
#include <new>
#include <stdexcept>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "crescendo/cli/args.h"
#include "crescendo/cli/flags.h"
#include "crescendo/core/check.h"
#include "crescendo/core/fields.h"
#include "crescendo/core/log.h"
#include "crescendo/core/utf8.h"

namespace {

using crescendo::concat;

// One line, whatever the message quotes.
int report(std::string_view message, int exit_code) {
  std::cerr << "crescendo: error: " << crescendo::printable(message) << std::endl;
  return exit_code;
}

int report_no_memory() { return report("out of memory; try a smaller --batch", 1); }

// The command that the arguments led to: `data shapes` of `crescendo data shapes --count 3`.
const CLI::App& command_reached(const CLI::App& app) {
  const auto parsed = app.get_subcommands();
  return parsed.empty() ? app : command_reached(*parsed.front());
}

std::set<std::string> flags_of(const CLI::App& command) {
  std::set<std::string> flags;
  for (const CLI::Option* option : command.get_options())
    for (const auto& name : option->get_lnames()) flags.insert("--" + name);
  return flags;
}

std::string full_name(const CLI::App& command) {
  const CLI::App* parent = command.get_parent();
  return parent ? full_name(*parent) + " " + command.get_name() : command.get_name();
}

// What is wrong with the arguments, with the nearest name where one was misspelt.
std::string explain(const CLI::ParseError& error, const CLI::App& command) {
  const auto rest = command.remaining();
  const auto stranger = rest.empty() ? std::string() : rest.front().substr(0, rest.front().find('='));
  std::vector<std::string> names;
  if (stranger.starts_with("-")) {
    const std::set<std::string> flags = flags_of(command);
    names.assign(flags.begin(), flags.end());
  } else {
    for (const CLI::App* sub : command.get_subcommands([](const CLI::App*) { return true; }))
      names.push_back(sub->get_name());
    if (names.empty() || stranger.empty()) return error.what();
  }
  if (stranger.empty()) return error.what();
  const std::string near_name = crescendo::nearest_name(stranger, names);
  return concat(full_name(command), " has no ", stranger.starts_with("-") ? "option " : "command ", stranger,
                near_name.empty() ? "" : "; did you mean " + near_name + "?");
}

int usage_failure(const CLI::ParseError& error, const CLI::App& app) {
  const CLI::App& command = command_reached(app);
  if (command.get_require_subcommand_min() > 0 && command.remaining().empty()) {
    std::cerr << command.help() << std::endl;  // a bare `crescendo` or `crescendo data`
    return report("which command? One of the above must follow " + full_name(command), 2);
  }
  report(explain(error, command), 2);
  std::cerr << "Try: " << full_name(command) << " --help" << std::endl;
  return 2;
}

// The buffers of a network come and go by the megabyte. glibc would give each back to the system and have it zeroed
// anew, which costs a tenth of the time of a transformer; unless the user says otherwise, they are kept.
void keep_freed_memory() {
#if defined(__GLIBC__)
  if (std::getenv("MALLOC_TRIM_THRESHOLD_") || std::getenv("MALLOC_MMAP_THRESHOLD_")) return;
  mallopt(M_MMAP_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}

// Results that did not reach a full disk or a closed pipe are a failure, too.
int finish_output() {
  const bool ok = static_cast<bool>(std::cout.flush()) && std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  return ok ? 0 : report("cannot write the result to the standard output", 1);
}

// Help without lists of the options that an option excludes: an error names the two that do not go together.
struct Help : CLI::Formatter {
  std::string make_option_opts(const CLI::Option* option) const override {
    const std::string text = CLI::Formatter::make_option_opts(option);
    return text.substr(0, text.find(" Excludes:"));
  }
};

}  // namespace

int main(int argc, char** argv) {
  using namespace crescendo;
  keep_freed_memory();
  CLI::App app{
      "Crescendo: autoregressive image generation with frequency progression (FAR).\nTrains, samples, scores and "
      "converts, on a CPU or a GPU."};
  app.name("crescendo");
  app.formatter(std::make_shared<Help>());
  add_examples(app, {"generate --class \"red circle\" --out circle.png", "COMMAND --help"});
  app.require_subcommand(1);
  app.get_formatter()->column_width(36);
  app.get_formatter()->label("TEXT", "VALUE");
  add_generate_command(app);
  add_train_command(app);
  add_data_command(app);
  add_tokenizer_command(app);
  add_text_command(app);
  add_convert_command(app);
  add_inspect_command(app);
  add_evaluate_command(app);
  add_bench_command(app);
  add_version_command(app);
  const auto wording = [&app](std::string_view message) { return with_flags(message, flags_of(command_reached(app))); };
  set_log_wording(wording);
  try {
    app.parse(argc, argv);
    return finish_output();
  } catch (const CLI::Success& e) {  // --help
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    return usage_failure(e, app);
  } catch (const Error& e) {
    return report(wording(e.what()), e.exit_code());
  } catch (const std::bad_alloc&) {
    return report_no_memory();
  } catch (const std::length_error&) {  // more than any memory
    return report_no_memory();
  } catch (const c10::Error& e) {
    const std::string_view what = e.what_without_backtrace();
    return what.find("allocate memory") != what.npos ? report_no_memory() : report(what.substr(0, what.find('\n')), 1);
  } catch (const std::filesystem::filesystem_error& e) {
    return report(concat(e.path1().string(), ": ", e.code().message()), 1);
  } catch (const std::exception& e) {
    return report(concat("something that should not be: ", e.what(), "; please report it, with the command"), 1);
  }
}
