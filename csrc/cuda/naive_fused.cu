// Fused neighborhood attention, any shape on any device: the last resort and
// what the other kernels are compared with. One warp per query, or per key,
// with the lanes over the head dim; head dims beyond a pass take more passes.
// All sums have a fixed order, so the results are deterministic.
//
//   forward:  online softmax over the window
//   dq:       the window again, weights from the log-sum-exp
//   dk, dv:   one warp per key, over the queries that see it
//   drpb:     one warp per bias entry and share of the queries, then the shares
#include <cmath>

#include "device.cuh"

namespace natten::cuda::naive {
namespace {

constexpr int kWarps = 4;    // per block
constexpr int kPerLane = 4;  // head dims a lane keeps
constexpr int kPass = kPerLane * kWarp;

// This warp's number among all and how many there are.
__device__ __forceinline__ int64_t warp_number() { return int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp; }
__device__ __forceinline__ int64_t warp_count() { return int64_t{gridDim.x} * kWarps; }
__device__ __forceinline__ int lane() { return threadIdx.x % kWarp; }

template <class T>
__device__ __forceinline__ acc_t<T> dot(const T* a, const T* b, int64_t dim) {
  acc_t<T> sum = 0;
  for (int64_t d = lane(); d < dim; d += kWarp) sum += load(a + d) * load(b + d);
  return warp_sum(sum);
}

template <class T>
__device__ __forceinline__ void add_row(acc_t<T>* sum, acc_t<T> weight, const T* row, int64_t begin, int64_t dim) {
#pragma unroll
  for (int i = 0; i < kPerLane; i++) {
    const int64_t d = begin + i * kWarp + lane();
    if (d < dim) sum[i] += weight * load(row + d);
  }
}

template <class T>
__device__ __forceinline__ void store_row(T* row, const acc_t<T>* sum, acc_t<T> factor, int64_t begin, int64_t dim) {
#pragma unroll
  for (int i = 0; i < kPerLane; i++) {
    const int64_t d = begin + i * kWarp + lane();
    if (d < dim) row[d] = static_cast<T>(sum[i] * factor);
  }
}

__device__ __forceinline__ double exponential(double x) { return exp(x); }
__device__ __forceinline__ float exponential(float x) { return expf(x); }

// f(slot, bias entry, key token) for each key of a window, slots in order.
template <class F>
__device__ __forceinline__ void for_each_key(const Problem& p, const Token& query, const F& f) {
  const Neighborhood n = neighborhood_of(p, query);
  for (int64_t i = 0; i < n.axis[0].count; i++) {
    for (int64_t j = 0; j < n.axis[1].count; j++) {
      const int64_t slot = (i * p.axis[1].kernel + j) * p.axis[2].kernel;
      const int64_t bias =
          ((n.axis[0].bias + i) * (2 * p.axis[1].kernel - 1) + n.axis[1].bias + j) * (2 * p.axis[2].kernel - 1) +
          n.axis[2].bias;
      Token key{{n.axis[0].first + i * p.axis[0].dilation, n.axis[1].first + j * p.axis[1].dilation, n.axis[2].first}};
      for (int64_t t = 0; t < n.axis[2].count; t++, key.at[2] += p.axis[2].dilation) f(slot + t, bias + t, key);
    }
  }
}

template <class F>
__device__ __forceinline__ void for_each_query(const Problem& p, const Token& key, const F& f) {
  const Audience a = audience_of(p, key);
  Token query;
  for (int64_t i = 0; i < a.count[0]; i++) {
    query.at[0] = a.first.at[0] + i * p.axis[0].dilation;
    for (int64_t j = 0; j < a.count[1]; j++) {
      query.at[1] = a.first.at[1] + j * p.axis[1].dilation;
      for (int64_t t = 0; t < a.count[2]; t++) {
        query.at[2] = a.first.at[2] + t * p.axis[2].dilation;
        f(query);
      }
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kWarps* kWarp)
    forward_kernel(Problem p, View q, View k, View v, const acc_t<T>* rpb, View out, View lse) {
  using A = acc_t<T>;
  const int64_t tokens = p.tokens(), group = p.heads / p.kv_heads, units = p.batch * p.heads * tokens;
  for (int64_t unit = warp_number(); unit < units; unit += warp_count()) {
    const Token query = token_at(p, unit % tokens);
    const int64_t head = unit / tokens % p.heads, batch = unit / tokens / p.heads;
    const T* const q_row = static_cast<const T*>(q.data) + row_of(q, batch, query, head);
    const A* const bias = rpb == nullptr ? nullptr : rpb + head * p.bias_entries();
    for (int64_t begin = 0; begin < p.value_dim; begin += kPass) {
      A top = -INFINITY, total = 0, sum[kPerLane] = {};
      for_each_key(p, query, [&](int64_t, int64_t entry, const Token& key) {
        const T* const k_row = static_cast<const T*>(k.data) + row_of(k, batch, key, head / group);
        A logit = dot(q_row, k_row, p.dim) * static_cast<A>(p.scale);
        if (bias != nullptr) logit += bias[entry];
        // The first key has nothing to rescale: exp(-inf) is 0, and -inf - -inf does not occur.
        const A higher = logit > top ? logit : top;
        if (higher == -INFINITY) return;
        const A rescale = exponential(top - higher), weight = exponential(logit - higher);
        top = higher;
        total = total * rescale + weight;
#pragma unroll
        for (int i = 0; i < kPerLane; i++) sum[i] *= rescale;
        add_row(sum, weight, static_cast<const T*>(v.data) + row_of(v, batch, key, head / group), begin, p.value_dim);
      });
      store_row(static_cast<T*>(out.data) + row_of(out, batch, query, head), sum, A(1) / total, begin, p.value_dim);
      if (begin == 0 && lse.data != nullptr && lane() == 0) {
        static_cast<A*>(lse.data)[row_of(lse, batch, query, head)] = top + log(total);
      }
    }
  }
}

struct Gradient {
  Problem p;
  View q, k, v, out, lse, dout;
  const void* rpb;
};

// The weight of one (query, key) pair and the slope of its logit.
template <class T>
struct Pair {
  acc_t<T> weight, slope;
};

template <class T>
__device__ __forceinline__ acc_t<T> mean_of(const Gradient& g, int64_t batch, const Token& query, int64_t head) {
  return dot(static_cast<const T*>(g.dout.data) + row_of(g.dout, batch, query, head),
             static_cast<const T*>(g.out.data) + row_of(g.out, batch, query, head), g.p.value_dim);
}

template <class T>
__device__ __forceinline__ Pair<T> pair_of(const Gradient& g, int64_t batch, const Token& query, int64_t head,
                                           const Token& key, int64_t kv_head, int64_t entry, acc_t<T> mean) {
  using A = acc_t<T>;
  A logit = dot(static_cast<const T*>(g.q.data) + row_of(g.q, batch, query, head),
                static_cast<const T*>(g.k.data) + row_of(g.k, batch, key, kv_head), g.p.dim) *
            static_cast<A>(g.p.scale);
  if (g.rpb != nullptr) logit += static_cast<const A*>(g.rpb)[head * g.p.bias_entries() + entry];
  const A slope = dot(static_cast<const T*>(g.dout.data) + row_of(g.dout, batch, query, head),
                      static_cast<const T*>(g.v.data) + row_of(g.v, batch, key, kv_head), g.p.value_dim) -
                  mean;
  const A weight = exponential(logit - static_cast<const A*>(g.lse.data)[row_of(g.lse, batch, query, head)]);
  return {weight, weight * slope};
}

template <class T>
__global__ void __launch_bounds__(kWarps* kWarp) dq_kernel(Gradient g, View dq) {
  using A = acc_t<T>;
  const Problem& p = g.p;
  const int64_t tokens = p.tokens(), group = p.heads / p.kv_heads, units = p.batch * p.heads * tokens;
  for (int64_t unit = warp_number(); unit < units; unit += warp_count()) {
    const Token query = token_at(p, unit % tokens);
    const int64_t head = unit / tokens % p.heads, batch = unit / tokens / p.heads;
    const A mean = mean_of<T>(g, batch, query, head);
    for (int64_t begin = 0; begin < p.dim; begin += kPass) {
      A sum[kPerLane] = {};
      for_each_key(p, query, [&](int64_t, int64_t entry, const Token& key) {
        const Pair<T> pair = pair_of<T>(g, batch, query, head, key, head / group, entry, mean);
        add_row(sum, pair.slope, static_cast<const T*>(g.k.data) + row_of(g.k, batch, key, head / group), begin, p.dim);
      });
      store_row(static_cast<T*>(dq.data) + row_of(dq, batch, query, head), sum, static_cast<A>(p.scale), begin, p.dim);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kWarps* kWarp) dkv_kernel(Gradient g, View dk, View dv) {
  using A = acc_t<T>;
  const Problem& p = g.p;
  const int64_t tokens = p.tokens(), group = p.heads / p.kv_heads, units = p.batch * p.kv_heads * tokens;
  const int64_t widest = p.dim > p.value_dim ? p.dim : p.value_dim;
  for (int64_t unit = warp_number(); unit < units; unit += warp_count()) {
    const Token key = token_at(p, unit % tokens);
    const int64_t kv_head = unit / tokens % p.kv_heads, batch = unit / tokens / p.kv_heads;
    for (int64_t begin = 0; begin < widest; begin += kPass) {
      A dk_sum[kPerLane] = {}, dv_sum[kPerLane] = {};
      for (int64_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
        for_each_query(p, key, [&](const Token& query) {
          const A mean = mean_of<T>(g, batch, query, head);
          const Pair<T> pair = pair_of<T>(g, batch, query, head, key, kv_head, slot_of(p, query, key).bias, mean);
          add_row(dk_sum, pair.slope, static_cast<const T*>(g.q.data) + row_of(g.q, batch, query, head), begin, p.dim);
          add_row(dv_sum, pair.weight, static_cast<const T*>(g.dout.data) + row_of(g.dout, batch, query, head), begin,
                  p.value_dim);
        });
      }
      store_row(static_cast<T*>(dk.data) + row_of(dk, batch, key, kv_head), dk_sum, static_cast<A>(p.scale), begin,
                p.dim);
      store_row(static_cast<T*>(dv.data) + row_of(dv, batch, key, kv_head), dv_sum, A(1), begin, p.value_dim);
    }
  }
}

// partial[part][head][entry]: what the pairs of that bias entry add in this part's batch and token range.
template <class T>
__global__ void __launch_bounds__(kWarps* kWarp) drpb_kernel(Gradient g, int64_t parts, acc_t<T>* partial) {
  using A = acc_t<T>;
  const Problem& p = g.p;
  const int64_t tokens = p.tokens(), group = p.heads / p.kv_heads, entries = p.bias_entries();
  const int64_t queries = p.batch * tokens, share = (queries + parts - 1) / parts;
  for (int64_t unit = warp_number(); unit < parts * p.heads * entries; unit += warp_count()) {
    const int64_t entry = unit % entries, head = unit / entries % p.heads, part = unit / entries / p.heads;
    const int64_t e2 = entry % (2 * p.axis[2].kernel - 1), rest = entry / (2 * p.axis[2].kernel - 1);
    const int64_t e[kAxes] = {rest / (2 * p.axis[1].kernel - 1), rest % (2 * p.axis[1].kernel - 1), e2};
    const int64_t end = (part + 1) * share < queries ? (part + 1) * share : queries;
    A sum = 0;
    for (int64_t number = part * share; number < end; number++) {
      const Token query = token_at(p, number % tokens);
      const int64_t batch = number / tokens;
      Token key;
      bool seen = true;
      for (int a = 0; a < kAxes; a++) {
        const Window window = window_of(p.axis[a], query.at[a]);
        const int64_t t = e[a] - window.bias;
        seen = seen && t >= 0 && t < window.count;
        key.at[a] = window.first + t * p.axis[a].dilation;
      }
      if (!seen) continue;
      sum += pair_of<T>(g, batch, query, head, key, head / group, entry, mean_of<T>(g, batch, query, head)).slope;
    }
    if (lane() == 0) partial[unit] = sum;
  }
}

// A column of kSlices threads per entry: each sums every kSlices-th part, then they add up in order.
constexpr int kSlices = 16;
template <class A>
__global__ void __launch_bounds__(kWarp* kSlices)
    sum_parts_kernel(int64_t parts, int64_t count, const A* partial, A* out) {
  __shared__ A sums[kSlices][kWarp];
  const int64_t i = int64_t{blockIdx.x} * kWarp + threadIdx.x;
  A sum = 0;
  if (i < count) {
#pragma unroll 4
    for (int64_t part = threadIdx.y; part < parts; part += kSlices) sum += partial[part * count + i];
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || i >= count) return;
  for (int slice = 1; slice < kSlices; slice++) sum += sums[slice][threadIdx.x];
  out[i] = sum;
}

}  // namespace

void na_forward(cudaStream_t stream, const Problem& p, Type type, const View& q, const View& k, const View& v,
                const void* rpb, const View& out, const View& lse) {
  with_type(type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    forward_kernel<T><<<grid(p.batch * p.heads * p.tokens(), kWarps), kWarps * kWarp, 0, stream>>>(
        p, q, k, v, static_cast<const acc_t<T>*>(rpb), out, lse);
  });
}

void na_backward(cudaStream_t stream, const Problem& p, Type type, const View& q, const View& k, const View& v,
                 const void* rpb, const View& out, const View& lse, const View& dout, const View& dq, const View& dk,
                 const View& dv, void* drpb, const Workspace& workspace) {
  with_type(type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    using A = acc_t<T>;
    const Gradient g{p, q, k, v, out, lse, dout, rpb};
    if (dq.data != nullptr) {
      dq_kernel<T><<<grid(p.batch * p.heads * p.tokens(), kWarps), kWarps * kWarp, 0, stream>>>(g, dq);
    }
    if (dk.data != nullptr) {
      dkv_kernel<T><<<grid(p.batch * p.kv_heads * p.tokens(), kWarps), kWarps * kWarp, 0, stream>>>(g, dk, dv);
    }
    if (drpb == nullptr) return;
    // Enough warps to fill a device, and no more than a few queries each where there are few.
    const int64_t count = p.heads * p.bias_entries(), queries = p.batch * p.tokens();
    const int64_t parts = std::max<int64_t>(1, std::min<int64_t>(queries / 16, (1 << 15) / count));
    A* const partial = static_cast<A*>(workspace.allocate(workspace.context, sizeof(A) * parts * count));
    drpb_kernel<T><<<grid(parts * count, kWarps), kWarps * kWarp, 0, stream>>>(g, parts, partial);
    sum_parts(stream, type, parts, count, partial, drpb);
  });
}

}  // namespace natten::cuda::naive

namespace natten::cuda {

void sum_parts(cudaStream_t stream, Type type, int64_t parts, int64_t count, const void* partial, void* out) {
  const dim3 threads(kWarp, naive::kSlices);
  const unsigned blocks = static_cast<unsigned>((count + kWarp - 1) / kWarp);
  if (type == Type::kDouble) {
    naive::sum_parts_kernel<<<blocks, threads, 0, stream>>>(parts, count, static_cast<const double*>(partial),
                                                            static_cast<double*>(out));
  } else {
    naive::sum_parts_kernel<<<blocks, threads, 0, stream>>>(parts, count, static_cast<const float*>(partial),
                                                            static_cast<float*>(out));
  }
}

// All files are compiled for the same devices: one kernel tells for all.
int code_version() {
  cudaFuncAttributes attributes;
  if (cudaFuncGetAttributes(&attributes, naive::sum_parts_kernel<float>) == cudaSuccess) {
    return attributes.ptxVersion;
  }
  cudaGetLastError();  // it is told, and need not be found by the next call
  return 0;
}

}  // namespace natten::cuda
