#include "crescendo/core/workers.h"

#include <ATen/Parallel.h>

#include "crescendo/core/check.h"

namespace crescendo {

Workers::Workers(int64_t count) : count_(count), errors_(static_cast<size_t>(count)) {
  check(count >= 1, "workers: at least one is needed, got ", count);
  if (count == 1) return;
  // LibTorch also remembers the newest setting for threads it has not seen yet, so the caller's is set again.
  const int callers = at::get_num_threads();
  running_ = count;
  for (int64_t w = 0; w < count; ++w) threads_.emplace_back([this, w] { serve(w); });
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return running_ == 0; });
  at::set_num_threads(callers);
}

Workers::~Workers() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& t : threads_) t.join();
}

void Workers::run(const std::function<void(int64_t)>& work) {
  if (threads_.empty()) return work(0);
  std::unique_lock lock(mutex_);
  work_ = &work;
  running_ = count_;
  ++round_;
  wake_.notify_all();
  done_.wait(lock, [this] { return running_ == 0; });
  for (std::exception_ptr& error : errors_)
    if (const std::exception_ptr e = std::exchange(error, nullptr)) std::rethrow_exception(e);
}

void Workers::serve(int64_t worker) {
  at::get_num_threads();   // the first call of a thread takes what is remembered
  at::set_num_threads(1);  // of this thread's operations
  {
    const std::lock_guard lock(mutex_);
    if (--running_ == 0) done_.notify_all();
  }
  uint64_t seen = 0;
  for (;;) {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [&] { return stop_ || round_ != seen; });
    if (stop_) return;
    seen = round_;
    lock.unlock();
    try {
      (*work_)(worker);
    } catch (...) {
      errors_[static_cast<size_t>(worker)] = std::current_exception();
    }
    lock.lock();
    if (--running_ == 0) done_.notify_all();
  }
}

}  // namespace crescendo
