// Threads that compute side by side, each of its operations on a single core.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace crescendo {

// They live as long as the object, since LibTorch keeps caches per thread. With a count of one the caller works itself,
// with as many threads per operation as set_up_torch() says.
class Workers {
 public:
  explicit Workers(int64_t count);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  int64_t count() const { return count_; }
  // Calls work(0) ... work(count - 1) at the same time and waits for all; rethrows the exception of the first worker
  // that threw. Not from within `work`, nor from two threads at once.
  void run(const std::function<void(int64_t worker)>& work);

 private:
  void serve(int64_t worker);

  int64_t count_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(int64_t)>* work_ = nullptr;
  uint64_t round_ = 0;   // of run()
  int64_t running_ = 0;  // workers that have not finished this round
  bool stop_ = false;
  std::vector<std::exception_ptr> errors_;
  std::vector<std::thread> threads_;  // empty for a count of one
};

}  // namespace crescendo
