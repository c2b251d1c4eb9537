// What the machines share that run programs of the CUDA kernels on the CPU: one thread does what a block does.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace natten::cuda {

// Value: what products are summed in.
template <class Value>
class Host {
 public:
  template <class V>
  struct Rows {
    std::vector<V> values;
    const V& operator[](int row) const { return values[row]; }
  };

  static Value minus_infinity() { return -std::numeric_limits<Value>::infinity(); }
  static Value exp2(Value x) { return std::exp2(x); }
  static Value log2(Value x) { return std::log2(x); }

  template <class F>
  void each(int count, const F& f) {
    for (int i = 0; i < count; i++) f(i);
  }
  void sync() {}
  void commit() {}
  template <int kPending>
  void wait() {}

  template <class F>
  auto rows(const F& f) {
    Rows<decltype(f(0))> result;
    for (int r = 0; r < count_; r++) result.values.push_back(f(r));
    return result;
  }
  template <class V, class F>
  auto rows_of(const Rows<V>& from, const F& f) {
    return rows([&](int r) { return f(r, from[r]); });
  }

 protected:
  explicit Host(int count) : count_(count) {}
  int count() const { return count_; }
  // On-chip memory, on 128 bytes. What nobody wrote must not matter: it is no number.
  char* buffer(size_t bytes) {
    buffer_.assign(bytes + 128, static_cast<char>(0xff));
    return buffer_.data() + (128 - reinterpret_cast<uintptr_t>(buffer_.data()) % 128);
  }

 private:
  int count_;  // rows of all patches or of the tile
  std::vector<char> buffer_;
};

}  // namespace natten::cuda
