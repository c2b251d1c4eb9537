// The pool of results' memory: reuse, its limit, threads, and that its tensors are ordinary ones.
//
//   cpu-pool
//
// Prints what does not hold; exit status 1 when anything does not.
#include "../pool.h"

#include <ATen/ATen.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

namespace natten::cpu::test {
namespace {

int failures = 0;

void expect(bool holds, const char* what) {
  if (holds) return;
  ++failures;
  std::printf("pool: not true: %s\n", what);
}

constexpr size_t kMB = 1 << 20;

void blocks_come_back() {
  Pool pool(16 * kMB);
  void* first;
  {
    const c10::DataPtr a = pool.take(3 * kMB);
    first = a.get();
    expect(reinterpret_cast<uintptr_t>(first) % 64 == 0, "a block starts on a cache line");
    std::memset(first, 7, 3 * kMB);
    expect(pool.idle_bytes() == 0, "a block in use is not idle");
  }
  expect(pool.idle_bytes() == 3 * kMB, "a freed block is kept");
  const c10::DataPtr b = pool.take(3 * kMB - 100);
  expect(b.get() == first && pool.idle_bytes() == 0, "a block serves a like size again");
  const c10::DataPtr c = pool.take(3 * kMB);
  expect(c.get() != first, "a block in use is not handed out");
  std::memset(c.get(), 8, 3 * kMB);
  expect(static_cast<const char*>(b.get())[kMB] == 7, "blocks do not overlap");
}

void waste_is_small() {
  Pool pool(64 * kMB);
  pool.take(8 * kMB).clear();
  const c10::DataPtr a = pool.take(5 * kMB);
  expect(pool.idle_bytes() == 8 * kMB, "a block much too large stays for those who need it");
}

void limit_holds() {
  Pool pool(8 * kMB);
  {
    std::vector<c10::DataPtr> blocks;
    for (int i = 1; i <= 6; ++i) blocks.push_back(pool.take(i * kMB));
    while (!blocks.empty()) {
      blocks.pop_back();
      expect(pool.idle_bytes() <= 8 * kMB, "no more is idle than the limit");
    }
  }
  expect(pool.idle_bytes() > 4 * kMB, "the limit is used");
  pool.take(9 * kMB).clear();
  expect(pool.idle_bytes() <= 8 * kMB, "a block past the limit is not kept");
  Pool none(0);
  none.take(kMB).clear();
  expect(none.idle_bytes() == 0, "a limit of zero keeps nothing");
}

void threads_share() {
  Pool pool(4 * kMB);
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (int id = 0; id < 4; ++id) {
    threads.emplace_back([&pool, &wrong, id] {
      for (size_t i = 0; i < 200; ++i) {
        const size_t bytes = (i * 37 % 9 + 1) * 100000;
        const c10::DataPtr mine = pool.take(bytes);
        char* const data = static_cast<char*>(mine.get());
        std::memset(data, id, bytes);
        std::this_thread::yield();
        wrong[id] += data[0] != id || data[bytes / 2] != id || data[bytes - 1] != id;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int count : wrong) expect(count == 0, "no two threads have one block");
  expect(pool.idle_bytes() <= 4 * kMB, "the limit holds for threads");
}

void tensors_are_ordinary() {
  const at::TensorOptions options = at::TensorOptions().dtype(at::kFloat);
  at::Tensor t = empty_result({4, 64, 500}, options);
  expect(t.is_contiguous() && t.sizes() == at::IntArrayRef({4, 64, 500}) && t.scalar_type() == at::kFloat,
         "a result has the shape and type asked for");
  expect(t.storage().nbytes() == 4 * 64 * 500 * sizeof(float), "a storage counts the bytes asked for");
  t.fill_(3);
  const at::Tensor view = t.select(0, 2), copy = t.clone();
  t.resize_({8, 64, 500});
  expect(t[3].eq(3).all().item<bool>() && t.storage().nbytes() == 8 * 64 * 500 * sizeof(float), "resize_ grows");
  expect(view.eq(3).all().item<bool>() && copy.eq(3).all().item<bool>(), "views and copies stay");
  at::Tensor other = empty_result({300, 300}, options);
  other.set_(copy.storage(), 0, {2, 10}, {10, 1});
  expect(other.eq(3).all().item<bool>(), "set_ takes another storage");
  const at::Tensor small = empty_result({2, 3}, options.dtype(at::kBFloat16)), none = empty_result({0, 5}, options);
  expect(small.numel() == 6 && small.scalar_type() == at::kBFloat16 && none.numel() == 0, "small and empty results");
  bool refused = false;
  try {
    empty_result({(int64_t{1} << 50) + 8, 64, 1, 64}, options);  // modulo 2^64 its bytes are few
  } catch (const c10::Error&) {
    refused = true;
  }
  expect(refused, "a result past the address space is an error");
  const void* const data = empty_result({256, 1024}, options).data_ptr();
  expect(empty_result({1024, 256}, options).data_ptr() == data, "a freed result's memory serves the next one");
}

}  // namespace
}  // namespace natten::cpu::test

int main() {
  using namespace natten::cpu::test;
  blocks_come_back();
  waste_is_small();
  limit_holds();
  threads_share();
  tensors_are_ordinary();
  std::printf("pool: %d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
