// What the program says while it works: to stderr, so that stdout stays for results.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace crescendo {

enum class LogLevel { kQuiet, kNormal, kVerbose };

void set_log_level(LogLevel level);
LogLevel log_level();
// What every line goes through first, such as a command's words for what the library names.
void set_log_wording(std::function<std::string(std::string_view)> wording);

void log_info(std::string_view line);     // unless --quiet
void log_verbose(std::string_view line);  // with --verbose
void log_warning(std::string_view line);  // always, with "crescendo: warning: " in front

// A line that is written over while work goes on. On a terminal it moves and gives way to lines of the log;
// elsewhere it is a line every few seconds.
class Progress {
 public:
  // `already`: the share that was done before, by an earlier run; the time left is reckoned from the rest.
  explicit Progress(std::string title, double already = 0.0);
  ~Progress();
  // `done` in 0..1; `detail` stands behind the bar ("step 3 of 10").
  void update(double done, std::string_view detail);
  void finish(std::string_view line = "");

 private:
  std::string title_;
  double already_;
  double start_s_;
  double last_shown_s_;
  bool terminal_;
};

// Seconds on a clock that never goes back.
double now_s();
// "1 h 02 min", "3 min 05 s", "12 s".
std::string format_duration(double seconds);

}  // namespace crescendo
