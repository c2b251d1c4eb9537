// The tile primitives as plain loops: one thread does what a block does.
#pragma once

#include <algorithm>
#include <cstring>

#include "host.h"
#include "tile_memory.h"

namespace natten::cuda {

// a b as the tensor cores multiply elements of type T.
inline double product(double a, double b, double) { return a * b; }
template <class T>
float product(float a, float b, T) {
  return a * b;
}
inline float product(float a, float b, Tf32) { return tf32_of(a) * tf32_of(b); }
inline float product(float a, float b, float) {
  const auto cut = [](float x) { return float_of(bits_of(x) & 0xffffe000u); };
  const Split x = split(a), y = split(b);
  return cut(x.low) * y.high + x.high * cut(y.low) + x.high * y.high;
}

template <class T, int kDim_, int kColumns_>
class HostMachine : public Host<value_t<T>> {
 public:
  using Element = T;
  using Value = value_t<T>;
  template <class V>
  using Rows = typename Host<Value>::template Rows<V>;
  using Host<Value>::rows;
  static constexpr int kDim = kDim_;
  static constexpr int kColumns = kColumns_;
  using Memory = TileMemory<T, kDim, kColumns>;
  static constexpr int kSlopeStride = Memory::kSlopeStride;
  using PaneType = Pane<T, kDim>;

  HostMachine(Pass pass, int bias_entries, bool bias_gradient) : Host<Value>(kTileRows) {
    const size_t bytes = memory_.place(nullptr, pass, bias_entries, bias_gradient);
    memory_.place(this->buffer(bytes), pass, bias_entries, bias_gradient);
  }

  template <int kWidth>
  struct Acc {
    std::vector<Value> values = std::vector<Value>(kTileRows * kWidth);
    void clear() { std::fill(values.begin(), values.end(), Value(0)); }
    template <class F>
    void each(const F& f) {
      for (int r = 0; r < kTileRows; r++) {
        for (int c = 0; c < kWidth; c++) f(r, c, values[r * kWidth + c]);
      }
    }
  };
  struct Scores : Acc<kColumns> {};
  using Sums = Acc<kDim>;

  Memory& memory() { return memory_; }

  template <class F>
  void copy(PaneType pane, int rows, int64_t dim, const F& f) {
    for (int r = 0; r < rows; r++) copy_row(pane.row(r), f(r), dim);
  }

  void dims(int64_t dim, int64_t value_dim) {
    dim_ = dim;
    value_dim_ = value_dim;
  }
  template <class F>
  void copy_both(PaneType a, PaneType b, int rows, const F& f) {
    for (int r = 0; r < rows; r++) {
      const T *from_a, *from_b;
      const bool exists = f(r, &from_a, &from_b);
      copy_row(a.row(r), exists ? from_a : nullptr, dim_);
      copy_row(b.row(r), exists ? from_b : nullptr, value_dim_);
    }
  }

  template <class F>
  void reach(const F& f) {
    for (int band = 0; band < kTileRows / kBandRows; band++) reach_[band] = f(band);
  }
  void chunk(int number) { first_ = number * kColumns; }
  // Columns are left alone by sixteens, as on the device; what is in them is no number, lest somebody reads it.
  bool within(int r, int c) const {
    const Reach& reach = reach_[r / kBandRows];
    return first_ + c / 16 * 16 + 16 > reach.begin && first_ + c / 16 * 16 < reach.end;
  }
  void clear(Scores& acc) {
    acc.each([&](int r, int c, Value& x) { x = within(r, c) ? 0 : std::numeric_limits<Value>::quiet_NaN(); });
  }
  template <class F>
  void each_score(Scores& acc, const F& f) {
    acc.each([&](int r, int c, Value& x) {
      if (within(r, c)) f(r, c, x);
    });
  }

  template <class P>
  void multiply_transposed(Scores& acc, P a, P b) {
    each_score(acc, [&](int r, int c, Value& x) {
      for (int d = 0; d < kDim; d++) x += product(Value(a.row(r)[d]), Value(b.row(c)[d]), T());
    });
  }
  template <class P>
  void multiply(Sums& acc, const Scores& a, P b) {
    acc.each([&](int r, int d, Value& x) {
      for (int c = 0; c < kColumns; c++) {
        if (!within(r, c)) continue;
        x += product(Value(T(a.values[r * kColumns + c])), Value(b.row(c)[d]), T());
      }
    });
  }
  template <class F>
  void pair(Scores& a, Scores& b, const F& f) {
    each_score(a, [&](int r, int c, Value& x) { f(r, c, x, b.values[r * kColumns + c]); });
  }
  void row_max(Scores& acc, Rows<Value>& top) {
    each_score(acc, [&](int r, int, Value& x) { top.values[r] = std::max(top.values[r], x); });
  }
  void row_sum(Scores& acc, Rows<Value>& total) {
    each_score(acc, [&](int r, int, Value& x) { total.values[r] += x; });
  }
  void finish_row_sum(Rows<Value>&) {}
  void scale_rows(Rows<Value>& values, const Rows<Value>& factor) {
    for (int r = 0; r < kTileRows; r++) values.values[r] *= factor[r];
  }
  template <class A, class B>
  Rows<Value> row_dots(int64_t dim, const A& a, const B& b) {
    return rows([&](int r) {
      const T *const x = a(r), *const y = b(r);
      Value sum = 0;
      for (int64_t d = 0; x != nullptr && d < dim; d++) sum += Value(x[d]) * Value(y[d]);
      return sum;
    });
  }
  void spill(Scores& acc, Value* to) {
    acc.each([&](int r, int c, Value& x) { to[r * kSlopeStride + c] = within(r, c) ? x : 0; });
  }
  template <class F>
  void store(Sums& acc, PaneType, const Rows<Value>& factor, int64_t dim, const F& f) {
    acc.each([&](int r, int d, Value& x) {
      T* const to = f(r);
      if (to != nullptr && d < dim) to[d] = static_cast<T>(x * factor[r]);
    });
  }
  template <class F>
  void store_rows(const Rows<Value>& values, const F& f) {
    for (int r = 0; r < kTileRows; r++) {
      if (Value* const to = f(r)) *to = values[r];
    }
  }

 private:
  static void copy_row(T* to, const T* from, int64_t dim) {
    std::memset(static_cast<void*>(to), 0, sizeof(T) * kDim);
    if (from != nullptr) std::memcpy(static_cast<void*>(to), from, sizeof(T) * dim);
  }

  Memory memory_{};
  int64_t dim_ = 0, value_dim_ = 0;
  Reach reach_[kTileRows / kBandRows] = {};
  int first_ = 0;
};

}  // namespace natten::cuda
