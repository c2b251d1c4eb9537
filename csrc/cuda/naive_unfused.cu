// The unfused operators from three kernels, any shape on any device:
//
//   dot_keys        rows . keys into slots: the logits, and the gradient of the attention weights
//   gather_keys     weights times keys: the output, and dq
//   gather_queries  weights times rows of the queries that see a key: dk, and dv
//
// and the sum of the logits' gradient by bias entry. Fixed orders throughout.
#include <cmath>

#include "device.cuh"

namespace natten::cuda::naive {
namespace {

constexpr int kThreads = 128;

__device__ __forceinline__ int64_t thread_number() { return int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }
__device__ __forceinline__ int64_t thread_count() { return int64_t{gridDim.x} * blockDim.x; }

// One thread per slot.
template <class T>
__global__ void __launch_bounds__(kThreads) dot_keys_kernel(Problem p, int64_t dim, acc_t<T> factor, acc_t<T> empty,
                                                            View rows, View keys, const acc_t<T>* rpb, View weights) {
  using A = acc_t<T>;
  const int64_t tokens = p.tokens(), slots = p.slots(), group = p.heads / p.kv_heads;
  const int64_t units = p.batch * p.heads * tokens * slots;
  for (int64_t unit = thread_number(); unit < units; unit += thread_count()) {
    const int64_t slot = unit % slots, row = unit / slots;
    const int64_t head = row % p.heads, batch = row / p.heads / tokens;
    const Token query = token_at(p, row / p.heads % tokens);
    const int64_t t[kAxes] = {slot / p.axis[2].kernel / p.axis[1].kernel, slot / p.axis[2].kernel % p.axis[1].kernel,
                              slot % p.axis[2].kernel};
    Token key;
    bool seen = true;
    int64_t entry = 0;
    for (int a = 0; a < kAxes; a++) {
      const Window window = window_of(p.axis[a], query.at[a]);
      seen = seen && t[a] < window.count;
      key.at[a] = window.first + t[a] * p.axis[a].dilation;
      entry = entry * (2 * p.axis[a].kernel - 1) + window.bias + t[a];
    }
    A sum = 0;
    if (seen) {
      const T* const a = static_cast<const T*>(rows.data) + row_of(rows, batch, query, head);
      const T* const b = static_cast<const T*>(keys.data) + row_of(keys, batch, key, head / group);
      for (int64_t d = 0; d < dim; d++) sum += load(a + d) * load(b + d);
      sum *= factor;
      if (rpb != nullptr) sum += rpb[head * p.bias_entries() + entry];
    }
    static_cast<T*>(weights.data)[row_of(weights, batch, query, head) + slot] = static_cast<T>(seen ? sum : empty);
  }
}

// One thread per element of a sum.
template <class T>
__global__ void __launch_bounds__(kThreads)
    gather_keys_kernel(Problem p, int64_t dim, acc_t<T> factor, View weights, View keys, View sums) {
  using A = acc_t<T>;
  const int64_t tokens = p.tokens(), group = p.heads / p.kv_heads, units = p.batch * p.heads * tokens * dim;
  for (int64_t unit = thread_number(); unit < units; unit += thread_count()) {
    const int64_t d = unit % dim, row = unit / dim;
    const int64_t head = row % p.heads, batch = row / p.heads / tokens;
    const Token query = token_at(p, row / p.heads % tokens);
    const Neighborhood n = neighborhood_of(p, query);
    const T* const weight = static_cast<const T*>(weights.data) + row_of(weights, batch, query, head);
    A sum = 0;
    for (int64_t i = 0; i < n.axis[0].count; i++) {
      for (int64_t j = 0; j < n.axis[1].count; j++) {
        const int64_t slot = (i * p.axis[1].kernel + j) * p.axis[2].kernel;
        const Token key{
            {n.axis[0].first + i * p.axis[0].dilation, n.axis[1].first + j * p.axis[1].dilation, n.axis[2].first}};
        const T* from = static_cast<const T*>(keys.data) + row_of(keys, batch, key, head / group) + d;
        for (int64_t t = 0; t < n.axis[2].count; t++, from += p.axis[2].dilation * keys.axis[2]) {
          sum += load(weight + slot + t) * load(from);
        }
      }
    }
    static_cast<T*>(sums.data)[row_of(sums, batch, query, head) + d] = static_cast<T>(sum * factor);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    gather_queries_kernel(Problem p, int64_t dim, acc_t<T> factor, View weights, View rows, View sums) {
  using A = acc_t<T>;
  const int64_t tokens = p.tokens(), group = p.heads / p.kv_heads, units = p.batch * p.kv_heads * tokens * dim;
  for (int64_t unit = thread_number(); unit < units; unit += thread_count()) {
    const int64_t d = unit % dim, row = unit / dim;
    const int64_t kv_head = row % p.kv_heads, batch = row / p.kv_heads / tokens;
    const Token key = token_at(p, row / p.kv_heads % tokens);
    const Audience a = audience_of(p, key);
    A sum = 0;
    Token query;
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
      for (int64_t i = 0; i < a.count[0]; i++) {
        query.at[0] = a.first.at[0] + i * p.axis[0].dilation;
        for (int64_t j = 0; j < a.count[1]; j++) {
          query.at[1] = a.first.at[1] + j * p.axis[1].dilation;
          for (int64_t t = 0; t < a.count[2]; t++) {
            query.at[2] = a.first.at[2] + t * p.axis[2].dilation;
            sum += load(static_cast<const T*>(weights.data) + row_of(weights, batch, query, head) +
                        slot_of(p, query, key).slot) *
                   load(static_cast<const T*>(rows.data) + row_of(rows, batch, query, head) + d);
          }
        }
      }
    }
    static_cast<T*>(sums.data)[row_of(sums, batch, key, kv_head) + d] = static_cast<T>(sum * factor);
  }
}

// One warp per bias entry and share of the queries, the lanes over its queries.
template <class T>
__global__ void __launch_bounds__(kThreads) sum_bias_kernel(Problem p, int64_t parts, View weights, acc_t<T>* partial) {
  using A = acc_t<T>;
  const int64_t tokens = p.tokens(), entries = p.bias_entries(), queries = p.batch * tokens;
  const int64_t share = (queries + parts - 1) / parts;
  for (int64_t unit = thread_number() / kWarp; unit < parts * p.heads * entries; unit += thread_count() / kWarp) {
    const int64_t entry = unit % entries, head = unit / entries % p.heads, part = unit / entries / p.heads;
    const int64_t e2 = entry % (2 * p.axis[2].kernel - 1), rest = entry / (2 * p.axis[2].kernel - 1);
    const int64_t e[kAxes] = {rest / (2 * p.axis[1].kernel - 1), rest % (2 * p.axis[1].kernel - 1), e2};
    const int64_t end = (part + 1) * share < queries ? (part + 1) * share : queries;
    A sum = 0;
    for (int64_t number = part * share + threadIdx.x % kWarp; number < end; number += kWarp) {
      const Token query = token_at(p, number % tokens);
      int64_t slot = 0;
      bool seen = true;
      for (int a = 0; a < kAxes; a++) {
        const Window window = window_of(p.axis[a], query.at[a]);
        const int64_t t = e[a] - window.bias;
        seen = seen && t >= 0 && t < window.count;
        slot = slot * p.axis[a].kernel + t;
      }
      if (seen) sum += load(static_cast<const T*>(weights.data) + row_of(weights, number / tokens, query, head) + slot);
    }
    sum = warp_sum(sum);
    if (threadIdx.x % kWarp == 0) partial[unit] = sum;
  }
}

}  // namespace

void dot_keys(cudaStream_t stream, const Problem& p, Type type, int64_t dim, double factor, double empty,
              const View& rows, const View& keys, const void* rpb, const View& weights) {
  with_type(type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    using A = acc_t<T>;
    dot_keys_kernel<T><<<grid(p.batch * p.heads * p.tokens() * p.slots(), kThreads), kThreads, 0, stream>>>(
        p, dim, static_cast<A>(factor), static_cast<A>(empty), rows, keys, static_cast<const A*>(rpb), weights);
  });
}

void gather_keys(cudaStream_t stream, const Problem& p, Type type, int64_t dim, double factor, const View& weights,
                 const View& keys, const View& sums) {
  with_type(type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    gather_keys_kernel<T><<<grid(p.batch * p.heads * p.tokens() * dim, kThreads), kThreads, 0, stream>>>(
        p, dim, static_cast<acc_t<T>>(factor), weights, keys, sums);
  });
}

void gather_queries(cudaStream_t stream, const Problem& p, Type type, int64_t dim, double factor, const View& weights,
                    const View& rows, const View& sums) {
  with_type(type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    gather_queries_kernel<T><<<grid(p.batch * p.kv_heads * p.tokens() * dim, kThreads), kThreads, 0, stream>>>(
        p, dim, static_cast<acc_t<T>>(factor), weights, rows, sums);
  });
}

void sum_bias(cudaStream_t stream, const Problem& p, Type type, const View& weights, void* drpb,
              const Workspace& workspace) {
  with_type(type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    using A = acc_t<T>;
    const int64_t count = p.heads * p.bias_entries(), queries = p.batch * p.tokens();
    const int64_t parts = std::max<int64_t>(1, std::min<int64_t>(queries / 256, (1 << 15) / count));
    A* const partial = static_cast<A*>(workspace.allocate(workspace.context, sizeof(A) * parts * count));
    sum_bias_kernel<T><<<grid(parts * count * kWarp, kThreads), kThreads, 0, stream>>>(p, parts, weights, partial);
    sum_parts(stream, type, parts, count, partial, drpb);
  });
}

}  // namespace natten::cuda::naive
