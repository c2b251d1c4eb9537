// The way of tensors' rows into the cache before they are needed.
#pragma once

#include <type_traits>

#include "layout.h"

namespace natten::cpu {
namespace NATTEN_ISA {

// Fetches rows that will be packed or written soon, a few cache lines at a time between other work. Addresses are
// worked out beforehand: turns that do so themselves, or loop over tokens, cost 3 to 9% of the forward pass.
class Prefetch {
 public:
  // Packed positions begin .. end - 1 of a row that lies as `layout` says. T: const where the row will be read.
  template <class T>
  void add(T* row, const Layout& layout, int64_t begin, int64_t end) {
    if (begin >= end) return;
    // What is fetched are whole lines, so that the lowest bit is free: it tells what will be written.
    const uintptr_t base = (reinterpret_cast<uintptr_t>(row) & ~kWrite) | (std::is_const_v<T> ? 0 : kWrite);
    if (layout.lines.empty()) {
      uintptr_t* to = room((end - begin) * ((layout.bytes + 63) / 64));
      for (int64_t i = begin; i < end; ++i) {
        const uintptr_t token = base + layout.at[i] * sizeof(T);
        for (int64_t byte = 0; byte < layout.bytes; byte += 64) *to++ = token + byte;
      }
    } else {
      const int64_t count = static_cast<int64_t>(layout.lines.size());
      uintptr_t* const to = room(count);
      for (int64_t i = 0; i < count; ++i) to[i] = base + layout.lines[i];
    }
  }
  // What is asked for is spread over so many turns.
  void spread(int64_t turns) { share_ = (size_ + turns - 1) / turns; }
  void turn() {
    if (next_ < size_) fetch(std::min(size_, next_ + share_));
  }
  void all() {
    fetch(size_);
    size_ = next_ = 0;
  }

 private:
  static constexpr uintptr_t kWrite = 1;

  // Where so many more lines go.
  uintptr_t* room(int64_t count) {
    size_ += count;
    if (size_ > static_cast<int64_t>(lines_.size())) lines_.resize(size_);
    return lines_.data() + size_ - count;
  }
  void fetch(int64_t end) {
    for (; next_ < end; ++next_) {
      const uintptr_t line = lines_[next_];
      if (line & kWrite) {
        __builtin_prefetch(reinterpret_cast<const char*>(line), 1, 2);
      } else {
        __builtin_prefetch(reinterpret_cast<const char*>(line), 0, 2);
      }
    }
  }

  std::vector<uintptr_t> lines_;  // the first size_ of them are asked for
  int64_t size_ = 0, next_ = 0, share_ = 0;
};

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
