// The tile primitives on tensor cores: four warps, each with sixteen rows.
//
// Sums are fragments of tensor_cores.cuh. Copies are asynchronous from sm_80
// on; sm_75 (float16 only) waits for them and multiplies in two halves.
#pragma once

#include "tensor_cores.cuh"
#include "tile_memory.h"

namespace natten::cuda {

constexpr int kTileThreads = 2 * kTileRows;

template <class T, int kDim_, int kColumns_>
class CudaMachine {
 public:
  using Element = T;
  using Value = value_t<T>;
  static constexpr int kDim = kDim_;
  static constexpr int kColumns = kColumns_;
  using Memory = TileMemory<T, kDim, kColumns>;
  static constexpr int kSlopeStride = Memory::kSlopeStride;
  using PaneType = Pane<T, kDim>;

  // A row of this thread: `half` 0 or 1.
  struct Row {
    int half;
  };

  template <int kWidth>
  struct Acc {
    Value c[kWidth / 8][4];
    __device__ __forceinline__ void clear() {
#pragma unroll
      for (int i = 0; i < kWidth / 8; i++) c[i][0] = c[i][1] = c[i][2] = c[i][3] = 0;
    }
    template <class F>
    __device__ __forceinline__ void each(const F& f) {
      const int column = threadIdx.x % 4 * 2;
#pragma unroll
      for (int i = 0; i < kWidth / 8; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) f(Row{j / 2}, i * 8 + column + j % 2, c[i][j]);
      }
    }
  };
  struct Scores : Acc<kColumns> {};
  using Sums = Acc<kDim>;
  template <class V>
  struct Rows {
    V values[2];
    __device__ __forceinline__ const V& operator[](Row row) const { return values[row.half]; }
  };

  __device__ __forceinline__ CudaMachine(char* shared, Pass pass, int bias_entries, bool bias_gradient) {
    memory_.place(shared, pass, bias_entries, bias_gradient);
  }

  __device__ __forceinline__ Memory& memory() { return memory_; }
  __device__ __forceinline__ static Value minus_infinity() { return __int_as_float(0xff800000); }
  __device__ __forceinline__ static float exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
  }
  __device__ __forceinline__ static double exp2(double x) { return ::exp2(x); }
  __device__ __forceinline__ static Value log2(Value x) { return ::log2(x); }

  template <class F>
  __device__ __forceinline__ void each(int count, const F& f) {
    for (int i = threadIdx.x; i < count; i += kTileThreads) f(i);
  }
  __device__ __forceinline__ void sync() { __syncthreads(); }
  __device__ __forceinline__ void commit() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
  }
  template <int kPending>
  __device__ __forceinline__ void wait() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
  }

  __device__ __forceinline__ void copy_piece(T* to, const T* from, bool there) {
#if __CUDA_ARCH__ >= 800
    // With no bytes to read the address still has to be one.
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                 "l"(there ? static_cast<const void*>(from) : anything_), "r"(there ? 16 : 0)
                 : "memory");
#else
    *reinterpret_cast<uint4*>(to) = there ? *reinterpret_cast<const uint4*>(from) : make_uint4(0, 0, 0, 0);
#endif
  }
  // Sixteen bytes a thread; what a row or the pane lacks is filled with zeros.
  template <class F>
  __device__ __forceinline__ void copy(PaneType pane, int rows, int64_t dim, const F& f) {
    constexpr int kPiece = 16 / sizeof(T), kPieces = kDim / kPiece;
    for (int i = threadIdx.x; i < rows * kPieces; i += kTileThreads) {
      const int row = i / kPieces, d = i % kPieces * kPiece;
      const T* from = f(row);
      const bool there = from != nullptr && d < dim;
      copy_piece(pane.row(row) + d, from + d, there);
    }
  }
  __device__ __forceinline__ void dims(int64_t dim, int64_t value_dim) {
    dim_ = static_cast<int>(dim);
    value_dim_ = static_cast<int>(value_dim);
  }
  template <class F>
  __device__ __forceinline__ void copy_both(PaneType a, PaneType b, int rows, const F& f) {
    constexpr int kPiece = 16 / sizeof(T), kPieces = kDim / kPiece;
#pragma unroll 2
    for (int i = threadIdx.x; i < rows * kPieces; i += kTileThreads) {
      const int row = i / kPieces, d = i % kPieces * kPiece;
      const T *from_a, *from_b;
      const bool exists = f(row, &from_a, &from_b);
      copy_piece(a.row(row) + d, from_a + d, exists && d < dim_);
      copy_piece(b.row(row) + d, from_b + d, exists && d < value_dim_);
    }
  }
  // Any readable device memory.
  __device__ __forceinline__ void set_anything(const void* p) { anything_ = p; }

  template <class F>
  __device__ __forceinline__ auto rows(const F& f) {
    const int row = first_row();
    Rows<decltype(f(0))> result{{f(row), f(row + 8)}};
    return result;
  }
  template <class V, class F>
  __device__ __forceinline__ auto rows_of(const Rows<V>& from, const F& f) {
    Rows<decltype(f(Row{0}, from.values[0]))> result{{f(Row{0}, from.values[0]), f(Row{1}, from.values[1])}};
    return result;
  }

  // The reach is the same for a whole warp, so its branches cost no divergence.
  template <class F>
  __device__ __forceinline__ void reach(const F& f) {
    reach_ = f(static_cast<int>(threadIdx.x / 32));
  }
  __device__ __forceinline__ void chunk(int number) {
    active_ = 0;
#pragma unroll
    for (int g = 0; g < kColumns / 16; g++) {
      const int first = number * kColumns + g * 16;
      if (first + 16 > reach_.begin && first < reach_.end) active_ |= 1u << g;
    }
    active_ = __shfl_sync(0xffffffffu, active_, 0);
  }
  __device__ __forceinline__ bool active(int group) const { return (active_ >> group & 1) != 0; }
  __device__ __forceinline__ void clear(Scores& acc) { acc.clear(); }
  template <class F>
  __device__ __forceinline__ void each_score(Scores& acc, const F& f) {
    const int column = threadIdx.x % 4 * 2;
#pragma unroll
    for (int g = 0; g < kColumns / 16; g++) {
      if (!active(g)) continue;
#pragma unroll
      for (int i = g * 2; i < g * 2 + 2; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) f(Row{j / 2}, i * 8 + column + j % 2, acc.c[i][j]);
      }
    }
  }

  __device__ __forceinline__ void multiply_transposed(Scores& acc, PaneType a, PaneType b) {
    if constexpr (sizeof(T) == 2) {
      const T* const a_row = a.row(warp_row() + lane() % 16) + lane() / 16 * 8;
      const T* const b_row = b.row(lane() % 8 + lane() / 16 * 8) + lane() / 8 % 2 * 8;
      uint32_t left[kDim / 16][4];
#pragma unroll
      for (int d = 0; d < kDim; d += 16) load_matrices(left[d / 16], a_row + d);
#pragma unroll
      for (int c = 0; c < kColumns; c += 16) {
        if (!active(c / 16)) continue;
#pragma unroll
        for (int d = 0; d < kDim; d += 16) {
          uint32_t right[4];
          load_matrices(right, b_row + c * PaneType::kStride + d);
          mma<T>(acc.c[c / 8], left[d / 16], right[0], right[1]);
          mma<T>(acc.c[c / 8 + 1], left[d / 16], right[2], right[3]);
        }
      }
    } else {
#pragma unroll
      for (int d = 0; d < kDim; d += 16) {
        Factor<T> left[2][4];
        load_left(left[0], a, d);
        load_left(left[1], a, d + 8);
#pragma unroll
        for (int c = 0; c < kColumns; c += 16) {
          if (!active(c / 16)) continue;
          Factor<T> right[2][4];
          load_right(right[0], b, c, d);
          load_right(right[1], b, c, d + 8);
          add_products(acc.c[c / 8], left, right[0][0], right[0][1], right[1][0], right[1][1]);
          add_products(acc.c[c / 8 + 1], left, right[0][2], right[0][3], right[1][2], right[1][3]);
        }
      }
    }
  }
  __device__ __forceinline__ void multiply(Sums& acc, const Scores& a, PaneType b) {
    if constexpr (sizeof(T) == 2) {
      const T* const b_row = b.row(lane() % 16) + lane() / 16 * 8;
#pragma unroll
      for (int c = 0; c < kColumns; c += 16) {
        if (!active(c / 16)) continue;
        const float *const x = a.c[c / 8], *const y = a.c[c / 8 + 1];
        const uint32_t left[4] = {pack_pair<T>(x[0], x[1]), pack_pair<T>(x[2], x[3]), pack_pair<T>(y[0], y[1]),
                                  pack_pair<T>(y[2], y[3])};
#pragma unroll
        for (int d = 0; d < kDim; d += 16) {
          uint32_t right[4];
          load_matrices_transposed(right, b_row + c * PaneType::kStride + d);
          mma<T>(acc.c[d / 8], left, right[0], right[1]);
          mma<T>(acc.c[d / 8 + 1], left, right[2], right[3]);
        }
      }
    } else {
      // A thread has two neighbouring columns of the scores: they stand for the places t%4 and t%4 + 4 that are summed.
      const T* const b_row = b.row(lane() % 4 * 2) + lane() / 4;
#pragma unroll
      for (int c = 0; c < kColumns; c += 16) {
        if (!active(c / 16)) continue;
        Factor<T> left[2][4];
#pragma unroll
        for (int s = 0; s < 2; s++) {
          const Value* const x = a.c[c / 8 + s];
          left[s][0] = Factor<T>(x[0]), left[s][1] = Factor<T>(x[2]);
          left[s][2] = Factor<T>(x[1]), left[s][3] = Factor<T>(x[3]);
        }
#pragma unroll
        for (int d = 0; d < kDim; d += 8) {
          const T* const at = b_row + c * PaneType::kStride + d;
          add_products(acc.c[d / 8], left, Factor<T>(Value(at[0])), Factor<T>(Value(at[PaneType::kStride])),
                       Factor<T>(Value(at[8 * PaneType::kStride])), Factor<T>(Value(at[9 * PaneType::kStride])));
        }
      }
    }
  }

  template <class F>
  __device__ __forceinline__ void pair(Scores& a, Scores& b, const F& f) {
    const int column = threadIdx.x % 4 * 2;
#pragma unroll
    for (int g = 0; g < kColumns / 16; g++) {
      if (!active(g)) continue;
#pragma unroll
      for (int i = g * 2; i < g * 2 + 2; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) f(Row{j / 2}, i * 8 + column + j % 2, a.c[i][j], b.c[i][j]);
      }
    }
  }
  __device__ __forceinline__ void row_max(Scores& acc, Rows<Value>& top) {
    each_score(acc, [&](Row row, int, Value& x) { top.values[row.half] = fmax(top.values[row.half], x); });
#pragma unroll
    for (int half = 0; half < 2; half++) {
      top.values[half] = fmax(top.values[half], __shfl_xor_sync(0xffffffffu, top.values[half], 1));
      top.values[half] = fmax(top.values[half], __shfl_xor_sync(0xffffffffu, top.values[half], 2));
    }
  }
  // A thread sums its own columns; finish_row_sum adds the four threads of a row.
  __device__ __forceinline__ void row_sum(Scores& acc, Rows<Value>& total) {
    each_score(acc, [&](Row row, int, Value& x) { total.values[row.half] += x; });
  }
  __device__ __forceinline__ void finish_row_sum(Rows<Value>& total) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      total.values[half] += __shfl_xor_sync(0xffffffffu, total.values[half], 1);
      total.values[half] += __shfl_xor_sync(0xffffffffu, total.values[half], 2);
    }
  }
  __device__ __forceinline__ void scale_rows(Rows<Value>& values, const Rows<Value>& factor) {
    values.values[0] *= factor.values[0];
    values.values[1] *= factor.values[1];
  }
  template <class A, class B>
  __device__ __forceinline__ Rows<Value> row_dots(int64_t dim, const A& a, const B& b) {
    Rows<Value> sums = rows([&](int row) {
      const T *const x = a(row), *const y = b(row);
      Value sum = 0;
      if (x == nullptr) return sum;
      constexpr int kPiece = 16 / sizeof(T);
      for (int d = static_cast<int>(threadIdx.x % 4) * kPiece; d < dim; d += 4 * kPiece) {
        const uint4 left = *reinterpret_cast<const uint4*>(x + d), right = *reinterpret_cast<const uint4*>(y + d);
        const T *const l = reinterpret_cast<const T*>(&left), *const r = reinterpret_cast<const T*>(&right);
#pragma unroll
        for (int i = 0; i < kPiece; i++) sum += static_cast<Value>(l[i]) * static_cast<Value>(r[i]);
      }
      return sum;
    });
    finish_row_sum(sums);
    return sums;
  }

  // What is out of reach is zero since it was cleared.
  __device__ __forceinline__ void spill(Scores& acc, Value* to) {
    const int row = first_row();
    acc.each([&](Row r, int column, Value& x) { to[(row + r.half * 8) * kSlopeStride + column] = x; });
  }
  // By way of the pane, where the warp has its rows to itself, so that rows leave in pieces of sixteen bytes.
  template <class F>
  __device__ __forceinline__ void store(Sums& acc, PaneType pane, const Rows<Value>& factor, int64_t dim, const F& f) {
    const int row = first_row(), column = threadIdx.x % 4 * 2;
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kDim / 8; i++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const Value x = acc.c[i][half * 2] * factor.values[half], y = acc.c[i][half * 2 + 1] * factor.values[half];
        T* const to = pane.row(row + half * 8) + i * 8 + column;
        if constexpr (sizeof(T) == 2) {
          *reinterpret_cast<uint32_t*>(to) = pack_pair<T>(x, y);
        } else {
          struct alignas(2 * sizeof(T)) Pair {
            Value x, y;
          };
          *reinterpret_cast<Pair*>(to) = {x, y};
        }
      }
    }
    __syncwarp();
    constexpr int kPiece = 16 / sizeof(T), kPieces = kDim / kPiece;
#pragma unroll
    for (int i = lane(); i < 16 * kPieces; i += 32) {
      const int r = warp_row() + i / kPieces, d = i % kPieces * kPiece;
      T* const to = f(r);
      if (to != nullptr && d < dim) *reinterpret_cast<uint4*>(to + d) = *reinterpret_cast<uint4*>(pane.row(r) + d);
    }
  }
  template <class F>
  __device__ __forceinline__ void store_rows(const Rows<Value>& values, const F& f) {
    if (threadIdx.x % 4 != 0) return;
    const int row = first_row();
#pragma unroll
    for (int half = 0; half < 2; half++) {
      Value* const to = f(row + half * 8);
      if (to != nullptr) *to = values.values[half];
    }
  }

 private:
  // Eight places from `d` of this warp's rows.
  __device__ __forceinline__ static void load_left(Factor<T>* left, PaneType pane, int d) {
    if constexpr (sizeof(T) == 4) {
      uint32_t words[4];
      load_matrices(words, pane.row(warp_row() + lane() % 16) + lane() / 16 * 4 + d);
#pragma unroll
      for (int i = 0; i < 4; i++) left[i] = Factor<T>(__uint_as_float(words[i]));
    } else {
      // Any order of the places will do, as long as left and right have the same.
      const T* const at = pane.row(first_row()) + d + lane() % 4 * 2;
      left[0] = Factor<T>(at[0]), left[2] = Factor<T>(at[1]);
      left[1] = Factor<T>(at[8 * PaneType::kStride]), left[3] = Factor<T>(at[8 * PaneType::kStride + 1]);
    }
  }
  // Eight places from `d` of the sixteen columns from `c`: two factors for each eight columns.
  __device__ __forceinline__ static void load_right(Factor<T>* right, PaneType pane, int c, int d) {
    if constexpr (sizeof(T) == 4) {
      uint32_t words[4];
      load_matrices(words, pane.row(c + lane() % 8 + lane() / 16 * 8) + lane() / 8 % 2 * 4 + d);
#pragma unroll
      for (int i = 0; i < 4; i++) right[i] = Factor<T>(__uint_as_float(words[i]));
    } else {
      const T* const at = pane.row(c + lane() / 4) + d + lane() % 4 * 2;
      right[0] = Factor<T>(at[0]), right[1] = Factor<T>(at[1]);
      right[2] = Factor<T>(at[8 * PaneType::kStride]), right[3] = Factor<T>(at[8 * PaneType::kStride + 1]);
    }
  }
  // Tensor cores cut what they add up instead of rounding it. So float32's long sums are made outside of them, from
  // products of sixteen places.
  __device__ __forceinline__ static void add_products(Value* sums, const Factor<T> (*left)[4], Factor<T> first0,
                                                      Factor<T> first1, Factor<T> second0, Factor<T> second1) {
    if constexpr (std::is_same_v<T, float>) {
      float part[4] = {0, 0, 0, 0};
      mma(part, left[0], first0, first1);
      mma(part, left[1], second0, second1);
#pragma unroll
      for (int i = 0; i < 4; i++) sums[i] += part[i];
    } else {
      mma(sums, left[0], first0, first1);
      mma(sums, left[1], second0, second1);
    }
  }
  __device__ __forceinline__ static int lane() { return threadIdx.x % 32; }
  __device__ __forceinline__ static int warp_row() { return threadIdx.x / 32 * 16; }
  __device__ __forceinline__ static int first_row() { return warp_row() + lane() / 4; }

  Memory memory_;
  const void* anything_ = nullptr;
  int dim_ = 0, value_dim_ = 0;
  Reach reach_{};
  uint32_t active_ = 0;
};

}  // namespace natten::cuda
