#include "crescendo/core/interrupt.h"

#include <atomic>
#include <csignal>

namespace crescendo {

namespace {
std::atomic<bool> g_interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void on_signal(int signal) {
  g_interrupted = true;
  std::signal(signal, SIG_DFL);
}
}  // namespace

void catch_interrupts() {
  g_interrupted = false;
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
}
bool interrupted() { return g_interrupted; }
void request_interrupt() { g_interrupted = true; }

}  // namespace crescendo
