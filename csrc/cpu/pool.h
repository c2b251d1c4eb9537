// Memory for the results of operators, kept for the next call.
//
// A result of some megabytes is memory that the system has just taken back: its
// pages are mapped and cleared again when they are written first, which costs
// more than the attention itself. So blocks of 64 kB and more that results
// free are kept and handed out again, up to a limit of idle bytes; past it the
// block idle longest goes back to libtorch's allocator, where all blocks come
// from. Tensors are ordinary ones: resizing one moves it to libtorch's allocator.
//
// NATTEN_CPU_POOL_MB is the limit in megabytes; 256 where it is unset, 0 keeps nothing.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <mutex>
#include <vector>

namespace natten::cpu {

class Pool {
 public:
  explicit Pool(size_t limit) : limit_(limit) {}
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool();

  // At least `bytes` bytes on a cache line, not cleared. They come back when the pointer goes, on any thread; the pool
  // must live longer than they do.
  c10::DataPtr take(size_t bytes);

  // Bytes that are kept and not in use.
  size_t idle_bytes() const;

 private:
  // The head of each block; its memory includes it.
  struct alignas(64) Block {
    c10::DataPtr memory;
    Pool* pool;
    size_t capacity;  // of the bytes after the head
  };
  struct Idle {
    Block* block;
    size_t capacity;
  };
  Block* find(size_t capacity);
  Block* make(size_t capacity);
  void keep(Block* block);
  void drop(Block* block);
  static void give_back(void* data);

  const size_t limit_;
  mutable std::mutex mutex_;
  size_t idle_bytes_ = 0, made_ = 0;  // made: blocks in use and idle
  std::vector<Idle> idle_;            // the longest first; there is always room for all that were made
};

// A contiguous CPU tensor without values, from the process's pool where it is large.
at::Tensor empty_result(at::IntArrayRef sizes, const at::TensorOptions& options);

}  // namespace natten::cpu
