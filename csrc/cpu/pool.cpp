#include "pool.h"

#include <ATen/Functions.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/StorageImpl.h>
#include <c10/util/safe_numerics.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace natten::cpu {
namespace {

constexpr size_t kSmallest = 64 << 10;  // smaller results are malloc's business: it keeps them mapped
constexpr size_t kGrain = 64 << 10;     // capacities are multiples of it, so that like sizes share blocks
constexpr size_t kHugePage = 2 << 20;
constexpr uint64_t kMostBytes = uint64_t{1} << 62;  // of a result; rounding up stays within 64 bits

// Asks for huge pages where whole ones fit: one fault instead of 512.
void advise([[maybe_unused]] void* data, [[maybe_unused]] size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + kHugePage - 1) / kHugePage * kHugePage;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes) / kHugePage * kHugePage;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

size_t limit_from_environment() {
  const char* const text = std::getenv("NATTEN_CPU_POOL_MB");
  char* end = nullptr;
  const unsigned long long megabytes = text != nullptr ? std::strtoull(text, &end, 10) : 0;
  const bool valid = text != nullptr && *text >= '0' && *text <= '9' && *end == '\0' && megabytes < (1ull << 40);
  return static_cast<size_t>(valid ? megabytes : 256) << 20;
}

// Lives as long as the process: tensors may be freed after static objects are gone.
Pool& process_pool() {
  static Pool* const pool = new Pool(limit_from_environment());
  return *pool;
}

}  // namespace

// The one used last of those that waste no more than an eighth: its lines may still be in the cache.
Pool::Block* Pool::find(size_t capacity) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (size_t i = idle_.size(); i-- > 0;) {
    const Idle found = idle_[i];
    if (found.capacity < capacity || found.capacity > capacity + capacity / 8) continue;
    idle_.erase(idle_.begin() + static_cast<std::ptrdiff_t>(i));
    idle_bytes_ -= found.capacity;
    return found.block;
  }
  return nullptr;
}

Pool::Block* Pool::make(size_t capacity) {
  c10::DataPtr memory = c10::GetCPUAllocator()->allocate(sizeof(Block) + capacity);
  void* const head = memory.get();
  advise(head, sizeof(Block) + capacity);
  const std::lock_guard<std::mutex> lock(mutex_);
  idle_.reserve(made_ + 1);  // giving a block back must not fail
  ++made_;
  return new (head) Block{std::move(memory), this, capacity};
}

c10::DataPtr Pool::take(size_t bytes) {
  const size_t capacity = (bytes + kGrain - 1) / kGrain * kGrain;
  Block* block = find(capacity);
  if (block == nullptr) block = make(capacity);
  void* const data = block + 1;
  return {data, data, &give_back, c10::Device(c10::kCPU)};
}

void Pool::give_back(void* data) {
  Block* const block = static_cast<Block*>(data) - 1;
  block->pool->keep(block);
}

void Pool::keep(Block* block) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (block->capacity > limit_) return drop(block);
  size_t surplus = 0;
  for (; idle_bytes_ + block->capacity > limit_; ++surplus) {
    idle_bytes_ -= idle_[surplus].capacity;
    drop(idle_[surplus].block);
  }
  idle_.erase(idle_.begin(), idle_.begin() + static_cast<std::ptrdiff_t>(surplus));
  idle_.push_back({block, block->capacity});
  idle_bytes_ += block->capacity;
}

Pool::~Pool() {
  for (const Idle& idle : idle_) drop(idle.block);
}

// The head lies in the memory that goes.
void Pool::drop(Block* block) {
  const c10::DataPtr memory = std::move(block->memory);
  block->~Block();
  --made_;
}

size_t Pool::idle_bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return idle_bytes_;
}

at::Tensor empty_result(at::IntArrayRef sizes, const at::TensorOptions& options) {
  uint64_t bytes = options.dtype().itemsize();
  for (const int64_t size : sizes) {
    TORCH_CHECK(!c10::mul_overflows(bytes, static_cast<uint64_t>(size), &bytes) && bytes <= kMostBytes,
                "natten: a result of shape ", sizes, " has more bytes than there are addresses");
  }
  if (bytes < kSmallest) return at::empty(sizes, options);
  c10::Storage storage(c10::Storage::use_byte_size_t(), bytes, process_pool().take(bytes), c10::GetCPUAllocator(),
                       /*resizable=*/true);
  at::Tensor result = at::detail::make_tensor<c10::TensorImpl>(
      std::move(storage), c10::DispatchKeySet(c10::DispatchKey::CPU), options.dtype());
  result.unsafeGetTensorImpl()->set_sizes_contiguous(sizes);
  return result;
}

}  // namespace natten::cpu
