// Working memory of a thread, kept for its next call: fresh pages cost small problems more than their arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>
#include <vector>

namespace natten::cpu {
namespace NATTEN_ISA {

// What a thread's buffers left behind, at most kMost bytes of it; freed when the thread ends.
class Scratch {
 public:
  struct Block {
    void* data = nullptr;
    size_t bytes = 0;
  };

  static Scratch& of_thread() {
    static thread_local Scratch scratch;
    return scratch;
  }
  // At least `bytes` on a cache line, with whatever they hold.
  Block take(size_t bytes) {
    for (size_t i = idle_.size(); i-- > 0;) {
      const Block found = idle_[i];
      if (found.bytes < bytes || found.bytes > 2 * bytes) continue;
      idle_.erase(idle_.begin() + static_cast<std::ptrdiff_t>(i));
      idle_bytes_ -= found.bytes;
      return found;
    }
    void* const data = std::aligned_alloc(64, bytes);
    if (data == nullptr) throw std::bad_alloc();
    return {data, bytes};
  }
  void give_back(Block block) {
    if (idle_.size() == idle_.capacity() || idle_bytes_ + block.bytes > kMost) return std::free(block.data);
    idle_.push_back(block);
    idle_bytes_ += block.bytes;
  }
  ~Scratch() {
    for (const Block& block : idle_) std::free(block.data);
  }

 private:
  static constexpr size_t kMost = 8 << 20;
  Scratch() { idle_.reserve(32); }

  std::vector<Block> idle_;  // never grows: giving back must not fail
  size_t idle_bytes_ = 0;
};

// Uninitialised scratch memory on cache lines.
template <class E>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t count) { reset(count); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { drop(); }

  void reset(int64_t count) {
    drop();
    block_ = Scratch::of_thread().take((static_cast<size_t>(count) * sizeof(E) + 127) / 64 * 64);
  }
  E* data() const { return static_cast<E*>(block_.data); }

 private:
  void drop() {
    if (block_.data != nullptr) Scratch::of_thread().give_back(std::exchange(block_, {}));
  }
  Scratch::Block block_;
};

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
