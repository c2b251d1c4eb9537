// The number of threads inside an operator, for the whole process.
#include <ATen/Parallel.h>

#include <atomic>
#include <cstdint>

#include "guard.h"

namespace {

// How many were asked for, and how often that changed: one word, so that a thread reads both at once.
struct Wanted {
  int32_t threads = 0;
  int32_t changes = 0;
};
std::atomic<Wanted> wanted{Wanted{}};
thread_local int32_t seen = 0;

}  // namespace

// OpenMP keeps the number for each system thread, and a goroutine moves between those.
void natten::capi::adopt_threads() noexcept {
  const Wanted now = wanted.load(std::memory_order_relaxed);
  if (now.changes == seen) return;
  seen = now.changes;
  at::set_num_threads(now.threads);
}

int natten_threads(void) {
  natten::capi::adopt_threads();
  return at::get_num_threads();
}

char* natten_set_threads(int threads) {
  return natten::capi::guard([&] {
    TORCH_CHECK(threads >= 1, "threads is ", threads, ", want at least 1");
    Wanted before = wanted.load();
    while (!wanted.compare_exchange_weak(before, Wanted{threads, before.changes + 1})) continue;
    natten::capi::adopt_threads();
  });
}
