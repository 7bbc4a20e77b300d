#include "crescendo/core/log.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <utility>

#include "crescendo/core/utf8.h"

namespace crescendo {

namespace {
std::atomic<LogLevel> g_level{LogLevel::kNormal};
std::function<std::string(std::string_view)> g_wording = [](std::string_view line) { return std::string(line); };
std::atomic<bool> g_bar_on_line{false};  // a terminal's last line is a progress bar
constexpr const char* kClearLine = "\r\033[K";

void write_line(std::string_view prefix, std::string_view line) {
  std::fprintf(stderr, "%s%.*s%s\n", g_bar_on_line.exchange(false) ? kClearLine : "", static_cast<int>(prefix.size()),
               prefix.data(), printable(g_wording(line)).c_str());
}
}  // namespace

void set_log_level(LogLevel level) { g_level = level; }
LogLevel log_level() { return g_level; }
void set_log_wording(std::function<std::string(std::string_view)> wording) { g_wording = std::move(wording); }

void log_info(std::string_view line) {
  if (g_level != LogLevel::kQuiet) write_line("", line);
}
void log_verbose(std::string_view line) {
  if (g_level == LogLevel::kVerbose) write_line("", line);
}
void log_warning(std::string_view line) { write_line("crescendo: warning: ", line); }

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::string format_duration(double seconds) {
  const auto s = static_cast<long>(std::lround(std::max(0.0, seconds)));
  char text[64];
  if (s >= 3600)
    std::snprintf(text, sizeof text, "%ld h %02ld min", s / 3600, s / 60 % 60);
  else if (s >= 60)
    std::snprintf(text, sizeof text, "%ld min %02ld s", s / 60, s % 60);
  else
    std::snprintf(text, sizeof text, "%ld s", s);
  return text;
}

Progress::Progress(std::string title, double already)
    : title_(std::move(title)), already_(already), start_s_(now_s()), terminal_(isatty(STDERR_FILENO) == 1) {
  last_shown_s_ = terminal_ ? -1e9 : start_s_;  // in a log file, work that is soon done needs no bar
}

Progress::~Progress() { finish(); }

void Progress::update(double done, std::string_view detail) {
  if (log_level() == LogLevel::kQuiet) return;
  const double now = now_s();
  if (now - last_shown_s_ < (terminal_ ? 0.1 : 5.0) && (done < 1.0 || !terminal_)) return;
  last_shown_s_ = now;
  g_bar_on_line = terminal_;
  done = std::clamp(done, 0.0, 1.0);
  const double elapsed = now - start_s_;
  const std::string left =
      done > already_ && done < 1.0 ? ", " + format_duration(elapsed / (done - already_) * (1 - done)) + " left" : "";
  constexpr int kWidth = 24;
  const int filled = static_cast<int>(std::lround(done * kWidth));
  const std::string bar =
      std::string(static_cast<size_t>(filled), '#') + std::string(static_cast<size_t>(kWidth - filled), '.');
  std::fprintf(stderr, "%s%s [%s] %3.0f %%  %.*s%s%s", terminal_ ? "\r" : "", title_.c_str(), bar.c_str(), done * 100,
               static_cast<int>(detail.size()), detail.data(), left.c_str(), terminal_ ? "\033[K" : "\n");
  std::fflush(stderr);
}

void Progress::finish(std::string_view line) {
  if (g_bar_on_line.exchange(false)) std::fprintf(stderr, "%s", kClearLine);
  if (!line.empty()) log_info(line);
}

}  // namespace crescendo
