// The primitives of the window program on tensor cores: a warp per patch.
//
// Sums are mma.sync fragments: thread t of a warp holds rows t/4 and t/4 + 8,
// of each eight columns the two from 2 (t%4). Needs sm_80.
#pragma once

#include "hopper_wgmma.cuh"
#include "tile_cuda.cuh"
#include "window_keys.h"

namespace natten::cuda {

// Keys, values and queries as the tensor engine sees them.
struct WindowMaps {
  CUtensorMap k, v, q;
};

// kBulk_: the tensor engine copies, where there is one. kListed: columns are looked up step by step (dk, dv); else a
// thread keeps where all of its columns lie.
template <class T, int kDim_, int kGroups_, bool kListed, bool kBulk_>
class WindowMachine {
 public:
  using Element = T;
  static constexpr int kDim = kDim_;
  static constexpr bool kBulk = kBulk_ && NATTEN_HOPPER;  // machine code of other devices copies with all threads
  static constexpr int kGroups = kGroups_;
  static constexpr int kSteps = (kGroups + 1) / 2;
  using Memory = WindowMemory<T>;

  struct Row {
    int half;
  };
  template <class V>
  struct Rows {
    V values[2];
    __device__ __forceinline__ const V& operator[](Row row) const { return values[row.half]; }
  };
  struct Strip {
    float c[2][4];
  };
  struct Sums {
    float c[kDim / 8][4];
    __device__ __forceinline__ void clear() {
#pragma unroll
      for (int i = 0; i < kDim / 8; i++) c[i][0] = c[i][1] = c[i][2] = c[i][3] = 0.0f;
    }
  };
  struct Operand {
    uint32_t a[kDim / 16][4];
  };
  // Rows as they go to memory: sixteen bytes a thread.
  struct Pieces {
    uint32_t w[2][kDim / 32][4];
  };

  __device__ __forceinline__ WindowMachine(char* shared, const WindowCall& call, const WindowMaps& maps)
      : memory_{shared, call.layout},
        maps_(maps),
        groups_(call.groups),
        // From one lane, which tells the compiler that all have the same.
        warp_(__shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x / 32), 0)) {}

  __device__ __forceinline__ Memory& memory() { return memory_; }
  __device__ __forceinline__ static float minus_infinity() { return __int_as_float(0xff800000); }
  __device__ __forceinline__ static float exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
  }
  __device__ __forceinline__ static float log2(float x) { return __log2f(x); }
  __device__ __forceinline__ static float reciprocal(float x) { return __fdividef(1.0f, x); }

  template <class F>
  __device__ __forceinline__ void each(int count, const F& f) {
    for (int i = threadIdx.x; i < count; i += blockDim.x) f(i);
  }
  template <class F>
  __device__ __forceinline__ void each_lane(const F& f) {
    f(warp(), lane());
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
  // One thread asks for everything: boxes as large as the largest block's, zeros where there are no tokens.
  __device__ __forceinline__ void copy_in_bulk(int stage, const WindowCall& call, const Block& block, int64_t image,
                                               int64_t head, int64_t kv_head) {
#if NATTEN_HOPPER
    const int i = static_cast<int>(image), h = static_cast<int>(head), kv = static_cast<int>(kv_head);
    hopper::barrier_expect(full(stage), (call.patching.rows() * 2 * kDim + memory_.at.row_values) * sizeof(T));
    hopper::copy_box(memory_.rows_pane(stage), &maps_.q, full(stage), 0, h, block.x.origin, block.y.origin, i);
    hopper::copy_box(memory_.pane(stage, 0), &maps_.k, full(stage), 0, kv, block.x.first, block.y.first, i);
    hopper::copy_box(memory_.pane(stage, 1), &maps_.v, full(stage), 0, kv, block.x.first, block.y.first, i);
#endif
  }
  // Until what earlier kernels of the stream write is there: this one may start before they have ended.
  __device__ __forceinline__ void wait_for_inputs() {
#if NATTEN_HOPPER
    if (kBulk) asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
  }
  __device__ __forceinline__ void copy_value(float* to, const float* from) {
    if constexpr (kBulk) {
      copy_word(shared_address(to), from);
    } else {
      *to = *from;
    }
  }
  __device__ __forceinline__ void wait_for_values() {
    if constexpr (kBulk) {
      commit();
      wait<0>();
    }
  }
  __device__ __forceinline__ void wait_for_bulk(int stage) {
#if NATTEN_HOPPER
    hopper::barrier_wait(full(stage), rounds_ >> stage & 1);
    rounds_ ^= 1u << stage;
#endif
  }
  // A warp has a few of the stages, and makes their barriers.
  template <class F>
  __device__ __forceinline__ void each_stage(const WindowCall& call, const F& f) {
#if NATTEN_HOPPER
    if (lane() != 0) return;
#pragma unroll 1
    for (int stage = warp(); stage < call.stages; stage += warps()) {
      hopper::barrier_init(full(stage), 1);
      memory_.done()[stage] = 0;
      hopper::barriers_visible();
      f(stage);
    }
#endif
  }
  template <class F>
  __device__ __forceinline__ void release(int stage, const F& f) {
#if NATTEN_HOPPER
    hopper::writes_visible();  // before the tensor engine writes where threads did
#endif
    __syncwarp();
    if (lane() != 0) return;
    uint32_t before;
    asm volatile("atom.acq_rel.cta.shared::cta.inc.u32 %0, [%1], %2;"
                 : "=r"(before)
                 : "r"(shared_address(memory_.done() + stage)), "r"(warps() - 1)
                 : "memory");
    if (before == warps() - 1) f();
  }
  __device__ __forceinline__ static bool hidden(bool flag) {
    int x = flag;
    keep(x);
    return x != 0;
  }
  // Sixteen bytes a thread, a line a warp.
  __device__ __forceinline__ void copy_box(T* pane, const T* image, const Lines& lines, T* other_pane,
                                           const T* other_image, const Lines& other_lines, const Block& block) {
    constexpr int kPiece = 16 / sizeof(T), kPieces = kDim / kPiece, kTokens = 32 / kPieces;
    constexpr int kRow = kDim * static_cast<int>(sizeof(T));
    const int piece = lane() % kPieces, token = lane() / kPieces;
    const uint32_t other = shared_address(other_pane) - shared_address(pane);
    for (int line = warp(); line < block.y.size; line += warps()) {
      const T* from = image + (lines.first + line * lines.down + token * lines.across + piece * kPiece);
      const T* other_from =
          other_image + (other_lines.first + line * other_lines.down + token * other_lines.across + piece * kPiece);
      const int row = line * block.pitch + token;
      const uint32_t to = shared_address(pane) + pane_place<T, kDim>(row, piece);
#pragma unroll 2
      for (int x = token, turn = 0; x < block.x.size; x += kTokens, turn++) {
        // Places repeat every eight rows.
        const uint32_t at = (kTokens % 8 == 0 ? to : to ^ (turn % 2 * kTokens * 16)) + turn * kTokens * kRow;
        copy_piece(at, from);
        copy_piece(at + other, other_from);
        from += kTokens * lines.across;
        other_from += kTokens * other_lines.across;
      }
    }
  }
  // Of sixteen rows, a thread copies of lane / 4 and eight behind it; and fetches from row lane % 16.
  template <class F>
  __device__ __forceinline__ void place_rows(const F& f) {
    own_[0] = f(warp(), lane() / 4);
    own_[1] = f(warp(), lane() / 4 + 8);
    own_address_ = pane_place<T, kDim>(f(warp(), lane() % 16), 0) ^ (lane() / 16 * 16);
    keep(own_address_);
    if constexpr (kBulk) {
#pragma unroll
      for (int half = 0; half < 2; half++) own_[half] = pane_place<T, kDim>(own_[half], lane() % 4), keep(own_[half]);
    }
  }
  __device__ __forceinline__ void copy_rows(T* pane, const T* image, const Rows<int>& at) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
#pragma unroll
      for (int d = 0; d < kDim; d += 32) {
        const int piece = lane() % 4 + d / 8;
        copy_piece(shared_address(pane) + pane_place<T, kDim>(own_[half], piece), image + at.values[half] + piece * 8);
      }
    }
  }
  __device__ __forceinline__ void copy_stats(QueryStats* stats, const float* lse, const float* mean, const Lines& lines,
                                             const Block& block) {
    for (int line = warp(); line < block.y.size; line += warps()) {
      for (int x = lane(); x < block.x.size; x += 32) {
        const int from = lines.first + line * lines.down + x * lines.across;
        const uint32_t to = shared_address(stats + line * block.pitch + x);
        copy_word(to, lse + from);
        copy_word(to + 4, mean + from);
      }
    }
  }
  __device__ __forceinline__ void prefetch(const T* image, const Rows<int>& at) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const T* const from = image + at.values[half] + lane() % 4 * (kDim / 4);
      asm volatile("prefetch.global.L2 [%0];" ::"l"(from));
    }
  }

  template <class F>
  __device__ __forceinline__ auto rows(const F& f) {
    const int row = lane() / 4;
    Rows<decltype(f(0, 0))> result{{f(warp(), row), f(warp(), row + 8)}};
    if constexpr (std::is_same_v<decltype(f(0, 0)), int>) keep(result.values[0]), keep(result.values[1]);
    return result;
  }
  template <class V, class F>
  __device__ __forceinline__ auto rows_of(const Rows<V>& from, const F& f) {
    Rows<decltype(f(Row{0}, from.values[0]))> result{{f(Row{0}, from.values[0]), f(Row{1}, from.values[1])}};
    return result;
  }
  // Rows come sixteen bytes a thread, and the four threads of a row trade pairs.
  __device__ __forceinline__ Operand operand(const T* image, const Rows<int>& at) {
    Operand result;
#pragma unroll
    for (int half = 0; half < 2; half++) {
#pragma unroll
      for (int d = 0; d < kDim; d += 32) {
        const uint4 x = __ldg(reinterpret_cast<const uint4*>(image + at.values[half] + d + lane() % 4 * 8));
        uint32_t w[4] = {x.x, x.y, x.z, x.w};
        trade(w);
#pragma unroll
        for (int i = 0; i < 4; i++) result.a[d / 16 + i / 2][i % 2 * 2 + half] = w[i];
      }
    }
    return result;
  }
  __device__ __forceinline__ Operand operand_of(const T* pane) {
    Operand result;
    const uint32_t from = shared_address(pane) + own_address_;
#pragma unroll
    for (int i = 0; i < kDim / 16; i++) load_matrices_at(result.a[i], from ^ (i * 32));
    return result;
  }
  __device__ __forceinline__ Rows<float> row_values(const float* image, const Rows<int>& at) {
    return {{__ldg(image + at.values[0]), __ldg(image + at.values[1])}};
  }
  __device__ __forceinline__ Rows<float> row_dots(const Operand& a, const Operand& b) {
    float sums[2] = {0.0f, 0.0f};
#pragma unroll
    for (int i = 0; i < kDim / 16; i++) {
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const float2 x = unpack(a.a[i][j]), y = unpack(b.a[i][j]);
        sums[j % 2] += x.x * y.x + x.y * y.y;
      }
    }
    return {{quad_sum(sums[0]), quad_sum(sums[1])}};
  }

  // Places of the columns this thread fetches. Each thread finds a few of the patch's, and they trade.
  template <class F, class G>
  __device__ __forceinline__ void columns(const F& first, const G& rows) {
    const int base = first(warp());
#pragma unroll
    for (int step = 0; step < kSteps; step += 2) {
      const int found = pane_place<T, kDim>(base + rows(warp(), step * 16 + lane()), 0);
#pragma unroll
      for (int i = 0; i < 2 && step + i < kSteps; i++) {
        take_columns(step + i, [&](int column) { return __shfl_sync(0xffffffffu, found, i * 16 + column); });
      }
    }
  }
  template <class F>
  __device__ __forceinline__ void tables(const F& f) {
    table_ = memory_.tables() + f(warp()) * (kGroups * kGroupValues) + lane() * 4;
    table_address_ = shared_address(table_);
    keep(table_address_);
  }
  template <class F>
  __device__ __forceinline__ void steps(const F& f) {
    steps_ = __shfl_sync(0xffffffffu, f(warp()), 0);
  }
  __device__ __forceinline__ bool within(int step) const { return step < steps_; }
  __device__ __forceinline__ void step(int step) {
    const unsigned short* const columns = memory_.columns() + (warp() * groups_ + step * 2) * 8;
    take_columns(0, [&](int column) { return pane_place<T, kDim>(columns[column], 0); });
  }

  __device__ __forceinline__ void clear(Strip& strip) {
#pragma unroll
    for (int h = 0; h < 2; h++) strip.c[h][0] = strip.c[h][1] = strip.c[h][2] = strip.c[h][3] = 0.0f;
  }
  __device__ __forceinline__ void begin(Strip& strip, int step) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      if (!full(step, h)) continue;
      // Volatile, or the compiler keeps values for later steps and images in registers.
      asm volatile("ld.volatile.shared.v4.f32 {%0,%1,%2,%3}, [%4];"
                   : "=f"(strip.c[h][0]), "=f"(strip.c[h][1]), "=f"(strip.c[h][2]), "=f"(strip.c[h][3])
                   : "r"(table_address_ + (step * 2 + h) * kGroupValues * 4));
    }
  }
  __device__ __forceinline__ void add(Strip& to, const Strip& from, int step) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      if (!full(step, h)) continue;
#pragma unroll
      for (int j = 0; j < 4; j++) to.c[h][j] += from.c[h][j];
    }
  }
  __device__ __forceinline__ void add_to_table(const Strip* strips, int patch) {
    if (patch != warp()) return;
#pragma unroll
    for (int step = 0; step < kSteps; step++) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        if (!full(step, h)) continue;
        float4* const at = reinterpret_cast<float4*>(table_ + (step * 2 + h) * kGroupValues);
        float4 x = *at;
        x.x += strips[step].c[h][0], x.y += strips[step].c[h][1], x.z += strips[step].c[h][2],
            x.w += strips[step].c[h][3];
        *at = x;
      }
    }
  }
  template <class F>
  __device__ __forceinline__ void each_score(Strip& strip, int step, const F& f) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      if (!full(step, h)) continue;
#pragma unroll
      for (int j = 0; j < 4; j++) f(Row{j / 2}, strip.c[h][j]);
    }
  }
  template <class F>
  __device__ __forceinline__ void pair(Strip& a, Strip& b, int step, const F& f) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      if (!full(step, h)) continue;
#pragma unroll
      for (int j = 0; j < 4; j++) f(Row{j / 2}, a.c[h][j], b.c[h][j]);
    }
  }
  template <class F>
  __device__ __forceinline__ void pair_listed(Strip& a, Strip& b, int step, const QueryStats* stats, const F& f) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const int group = warp() * groups_ + step * 2 + h;
      const uint32_t columns = *reinterpret_cast<const uint32_t*>(memory_.columns() + group * 8 + lane() % 4 * 2);
      const uint32_t places =
          *reinterpret_cast<const uint32_t*>(memory_.bias_places() + group * kGroupValues + lane() * 4);
      const QueryStats query[2] = {stats[columns & 0xffff], stats[columns >> 16]};
#pragma unroll
      for (int j = 0; j < 4; j++) {
        f(Row{j / 2}, memory_.bias()[places >> (8 * j) & 0xff], query[j % 2], a.c[h][j], b.c[h][j]);
      }
    }
  }
  __device__ __forceinline__ void row_max(Strip& strip, int step, Rows<float>& top) {
    each_score(strip, step, [&](Row row, float& x) { top.values[row.half] = fmaxf(top.values[row.half], x); });
  }
  __device__ __forceinline__ void row_sum(Strip& strip, int step, Rows<float>& total) {
    each_score(strip, step, [&](Row row, float& x) { total.values[row.half] += x; });
  }
  __device__ __forceinline__ void finish_row_sum(Rows<float>& total) {
    total.values[0] = quad_sum(total.values[0]);
    total.values[1] = quad_sum(total.values[1]);
  }
  template <class F>
  __device__ __forceinline__ bool any(const Rows<float>& values, const F& f) {
    return __any_sync(0xffffffffu, f(values.values[0]) || f(values.values[1]));
  }
  __device__ __forceinline__ void finish_row_max(Rows<float>& top) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      top.values[half] = fmaxf(top.values[half], __shfl_xor_sync(0xffffffffu, top.values[half], 1));
      top.values[half] = fmaxf(top.values[half], __shfl_xor_sync(0xffffffffu, top.values[half], 2));
    }
  }

  __device__ __forceinline__ void multiply_transposed(Strip& strip, const Operand& a, const T* pane, int step) {
    const uint32_t base = shared_address(pane);
#pragma unroll
    for (int i = 0; i < kDim / 16; i++) {
      uint32_t right[4];
      load_matrices_at(right, base + (address_[kListed ? 0 : step] ^ (i * 32)));
      mma<T>(strip.c[0], a.a[i], right[0], right[1]);
      if (full(step, 1)) mma<T>(strip.c[1], a.a[i], right[2], right[3]);
    }
  }
  __device__ __forceinline__ void multiply(Sums& sums, const Strip& strip, const T* pane, int step) {
    uint32_t left[4];
#pragma unroll
    for (int h = 0; h < 2; h++) {
      left[h * 2] = full(step, h) ? pack_pair<T>(strip.c[h][0], strip.c[h][1]) : 0;
      left[h * 2 + 1] = full(step, h) ? pack_pair<T>(strip.c[h][2], strip.c[h][3]) : 0;
    }
    const uint32_t base = shared_address(pane);
#pragma unroll
    for (int i = 0; i < kDim / 16; i++) {
      uint32_t right[4];
      load_transposed_at(right, base + (transposed_[kListed ? 0 : step] ^ (i * 32)));
      mma<T>(sums.c[i * 2], left, right[0], right[1]);
      mma<T>(sums.c[i * 2 + 1], left, right[2], right[3]);
    }
  }
  // Rounds. The four threads of a row trade what they hold.
  __device__ __forceinline__ Pieces pieces(const Sums& sums, const Rows<float>& factor) {
    Pieces result;
#pragma unroll
    for (int half = 0; half < 2; half++) {
#pragma unroll
      for (int d = 0; d < kDim / 8; d += 4) {
        uint32_t* const w = result.w[half][d / 4];
#pragma unroll
        for (int i = 0; i < 4; i++) w[i] = rounded(sums, factor, half, d + i);
        trade(w);
      }
    }
    return result;
  }
  // The same by way of the patch's own rows in a pane, which are no longer wanted.
  __device__ __forceinline__ Pieces pieces(const Sums& sums, const Rows<float>& factor, T* pane) {
    if constexpr (!kBulk) {
      return pieces(sums, factor);
    } else {
      const uint32_t to = shared_address(pane);
#pragma unroll
      for (int i = 0; i < kDim / 16; i++) {
        store_matrices_at(to + (own_address_ ^ (i * 32)), rounded(sums, factor, 0, i * 2),
                          rounded(sums, factor, 1, i * 2), rounded(sums, factor, 0, i * 2 + 1),
                          rounded(sums, factor, 1, i * 2 + 1));
      }
      __syncwarp();
      Pieces result;
#pragma unroll
      for (int half = 0; half < 2; half++) {
#pragma unroll
        for (int d = 0; d < kDim / 32; d++) {
          uint32_t* const w = result.w[half][d];
          asm volatile("ld.shared.v4.b32 {%0,%1,%2,%3}, [%4];"
                       : "=r"(w[0]), "=r"(w[1]), "=r"(w[2]), "=r"(w[3])
                       : "r"(to + (own_[half] ^ (d * 64)))
                       : "memory");
        }
      }
      return result;
    }
  }
  __device__ __forceinline__ void store(const Pieces& pieces, T* image, const Rows<int>& at) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
#pragma unroll
      for (int d = 0; d < kDim / 32; d++) {
        const uint32_t* const w = pieces.w[half][d];
        if (at.values[half] >= 0) {
          *reinterpret_cast<uint4*>(image + at.values[half] + d * 32 + lane() % 4 * 8) =
              make_uint4(w[0], w[1], w[2], w[3]);
        }
      }
    }
  }
  __device__ __forceinline__ void store_rows(const Rows<float>& values, float* image, const Rows<int>& at) {
    if (lane() % 4 != 0) return;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      if (at.values[half] >= 0) image[at.values[half]] = values.values[half];
    }
  }

 private:
  // Hides where a value comes from, or the compiler makes it again where it is used.
  template <class V>
  __device__ __forceinline__ static void keep(V& value) {
    asm volatile("" : "+r"(value));
  }
  __device__ __forceinline__ static int lane() { return threadIdx.x % 32; }
  __device__ __forceinline__ int warp() const { return warp_; }
  __device__ __forceinline__ static int warps() { return blockDim.x / 32; }
  // Whether group h of a step exists: all but, where their number is odd, the last.
  __device__ __forceinline__ static constexpr bool full(int step, int h) {
    return kListed || kGroups % 2 == 0 || h == 0 || step * 2 + 1 < kGroups;
  }
  // A product wants eight columns of two pieces in registers side by side, or, summed over columns, two groups of
  // columns: place(number) of the columns of a step from which this thread fetches.
  template <class F>
  __device__ __forceinline__ void take_columns(int step, const F& place) {
    address_[step] = place(lane() / 16 * 8 + lane() % 8) ^ (lane() / 8 % 2 * 16);
    transposed_[step] = place(lane() % 16) ^ (lane() / 16 * 16);
    keep(address_[step]), keep(transposed_[step]);
  }
  __device__ __forceinline__ static float2 unpack(uint32_t pair) {
    if constexpr (std::is_same_v<T, __half>) {
      return __half22float2(*reinterpret_cast<const __half2*>(&pair));
    } else {
      return __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&pair));
    }
  }
  // Of eight columns the pair that this thread holds of a row.
  __device__ __forceinline__ static uint32_t rounded(const Sums& sums, const Rows<float>& factor, int half, int group) {
    return pack_pair<T>(sums.c[group][half * 2] * factor.values[half],
                        sums.c[group][half * 2 + 1] * factor.values[half]);
  }
  // Word i of thread t of four becomes word t of thread i.
  __device__ __forceinline__ static void trade(uint32_t* w) {
    const bool odd = lane() % 2 != 0, high = lane() / 2 % 2 != 0;
    const uint32_t a = __shfl_xor_sync(0xffffffffu, odd ? w[0] : w[1], 1);
    const uint32_t b = __shfl_xor_sync(0xffffffffu, odd ? w[2] : w[3], 1);
    w[0] = odd ? a : w[0], w[1] = odd ? w[1] : a;
    w[2] = odd ? b : w[2], w[3] = odd ? w[3] : b;
    const uint32_t x = __shfl_xor_sync(0xffffffffu, high ? w[0] : w[2], 2);
    const uint32_t y = __shfl_xor_sync(0xffffffffu, high ? w[1] : w[3], 2);
    w[0] = high ? x : w[0], w[2] = high ? w[2] : x;
    w[1] = high ? y : w[1], w[3] = high ? w[3] : y;
  }
  __device__ __forceinline__ static void copy_piece(uint32_t to, const T* from) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
#endif
  }
  __device__ __forceinline__ static void copy_word(uint32_t to, const float* from) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to), "l"(from) : "memory");
#endif
  }
  __device__ __forceinline__ static float quad_sum(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
  }
  __device__ __forceinline__ static void load_matrices_at(uint32_t* r, uint32_t at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at));
  }
  __device__ __forceinline__ static void store_matrices_at(uint32_t at, uint32_t r0, uint32_t r1, uint32_t r2,
                                                           uint32_t r3) {
#if __CUDA_ARCH__ >= 900
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(at), "r"(r0), "r"(r1), "r"(r2),
                 "r"(r3)
                 : "memory");
#endif
  }
  __device__ __forceinline__ static void load_transposed_at(uint32_t* r, uint32_t at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at));
  }
  __device__ __forceinline__ uint64_t* full(int stage) { return reinterpret_cast<uint64_t*>(memory_.full() + stage); }

  Memory memory_;
  const WindowMaps& maps_;
  uint32_t rounds_ = 0;  // a bit a stage: the parity of the barrier's next round
  int own_[2];
  uint32_t own_address_;
  uint32_t address_[kListed ? 1 : kSteps], transposed_[kListed ? 1 : kSteps];
  float* table_ = nullptr;
  uint32_t table_address_ = 0;
  int groups_, warp_, steps_ = 0;
};

}  // namespace natten::cuda
