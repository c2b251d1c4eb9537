// What the tile program takes, and its launches.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "tile.h"
#include "tile_launch.h"

namespace natten::cuda::tile {
namespace {

template <class F>
void with_element(Type type, const F& f) {
  switch (type) {
    case Type::kDouble:
      return f(static_cast<double*>(nullptr));
    case Type::kFloat:
      return f(static_cast<float*>(nullptr));
    case Type::kTf32:
      return f(static_cast<Tf32*>(nullptr));
    case Type::kHalf:
      return f(static_cast<__half*>(nullptr));
    case Type::kBFloat16:
      return f(static_cast<__nv_bfloat16*>(nullptr));
  }
}

int element_size(Type type) {
  int size = 0;
  with_element(type, [&](auto* element) { size = sizeof(*element); });
  return size;
}

size_t shared_bytes(const Request& r, Pass pass, bool bias, bool bias_gradient) {
  size_t bytes = 0;
  with_element(r.type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    with_dim<T>(std::max(r.p.dim, r.p.value_dim), [&](auto dim) {
      constexpr int kDim = decltype(dim)::value;
      const auto measure = [&](auto columns) {
        TileMemory<T, kDim, decltype(columns)::value> memory;
        bytes = memory.place(nullptr, pass, bias || bias_gradient ? static_cast<int>(r.p.bias_entries()) : 0,
                             bias_gradient);
      };
      if (columns_of(pass, kDim, sizeof(T)) == 32) {
        measure(std::integral_constant<int, 32>());
      } else {
        measure(std::integral_constant<int, 64>());
      }
    });
  });
  return bytes;
}

bool fits(const Request& r, Pass pass, bool bias, bool bias_gradient) {
  return shared_bytes(r, pass, bias, bias_gradient) <= static_cast<size_t>(r.shared_limit);
}

void run(cudaStream_t stream, const TileCall& call, Type type, Pass pass) {
  with_element(type, [&](auto* element) { launch<std::remove_pointer_t<decltype(element)>>(stream, call, pass); });
}

TileCall call_of(const Problem& p) {
  TileCall call{};
  call.p = p;
  call.tiling = tiling_of(p);
  call.entries = static_cast<int>(p.bias_entries());
  call.parts = call.tiling.items;
  return call;
}

TileCall pair_of(const Problem& p, int64_t dim, double factor, const View& weights) {
  TileCall call = call_of(p);
  call.p.dim = call.p.value_dim = dim;
  call.p.scale = factor;
  call.weights = weights;
  return call;
}

size_t value_size(Type type) { return type == Type::kDouble ? sizeof(double) : sizeof(float); }

// Runs a pass that sums by bias entry too. Each worker keeps one head's sums over its tiles: enough of them to fill a
// device twice over.
void run_with_bias_gradient(cudaStream_t stream, TileCall call, Type type, Pass pass, void* drpb,
                            const Workspace& workspace) {
  if (drpb == nullptr) return run(stream, call, type, pass);
  const int64_t count = call.p.heads * call.entries;
  call.parts = std::max<int64_t>(1, std::min<int64_t>(call.parts, 2112 / call.p.heads));
  call.drpb = workspace.allocate(workspace.context, value_size(type) * call.parts * count);
  run(stream, call, type, pass);
  sum_parts(stream, type, call.parts, count, call.drpb, drpb);
}

}  // namespace

const char* refuses(const Request& r, Operation operation, bool bias, bool bias_gradient) {
  const bool wide = r.type != Type::kHalf && r.type != Type::kBFloat16;
  if (usable(r) < 75)
    return "the device or this build is of compute capability below 7.5: no tensor cores that it uses";
  if (usable(r) < 80 && r.type == Type::kBFloat16) return "bfloat16 needs a device and a build of 8.0";
  if (usable(r) < 80 && wide) return "float32 and float64 need a device and a build of 8.0";
  const int piece = 16 / element_size(r.type);
  if (r.p.dim % piece != 0 || r.p.value_dim % piece != 0) return "rows of a head dim do not fill pieces of 16 bytes";
  const int64_t dim = std::max(r.p.dim, r.p.value_dim);
  if (dim > 128) return "a head dim exceeds 128";
  if (dim > kMostDim<double> && r.type == Type::kDouble) return "a head dim exceeds 64 in float64";
  if (!r.aligned) return "a tensor is not aligned to 16 bytes";
  if (!r.near) return "an image spans 2^31 elements or more";
  if (tiling_of(r.p).items * r.p.heads >= int64_t{1} << 31) return "there are 2^31 tiles or more";
  if (bias && r.p.bias_entries() > kBiasLimit) return "the bias does not fit into shared memory";
  int64_t box = 1, spans = 0;
  const Fields fields = fields_of(r.p.rank);
  for (int a = 0; a < kAxes; a++) {
    const Axis& axis = r.p.axis[a];
    if (axis.length > (1 << 30) || axis.dilation > (1 << 20)) return "an axis is longer than 2^30";
    const int64_t span = widest_span(axis, a < kAxes - r.p.rank ? 1 : kTileRows);
    if (span >=
        (int64_t{1} << (fields.width[a] - 1)) - (fields.width[a] > 1 ? 1 : 0) + (fields.width[a] == 1 ? 1 : 0)) {
      return "a window is too wide for its field";
    }
    box *= span;
    spans += widest_span(axis, kTileRows);
  }
  if (box > kBoxLimit) return "the keys of a tile exceed 2^20";
  if (operation != Operation::kForward && spans > kAxisLimit) return "the windows are too wide for the dk, dv kernel";
  bool fit;
  if (operation == Operation::kForward) {
    fit = fits(r, Pass::kForward, bias, false);
  } else if (operation == Operation::kBackward) {
    fit = fits(r, Pass::kQueryGradient, bias, bias_gradient) && fits(r, Pass::kKeyGradient, bias, false);
  } else {
    fit = fits(r, Pass::kDots, bias, false) && fits(r, Pass::kGatherKeys, false, bias_gradient) &&
          fits(r, Pass::kGatherQueries, false, false);
  }
  return fit ? nullptr : "a tile does not fit into shared memory";
}

void na_forward(cudaStream_t stream, const Problem& p, Type type, const View& q, const View& k, const View& v,
                const void* rpb, const View& out, const View& lse) {
  TileCall call = call_of(p);
  call.q = q, call.k = k, call.v = v, call.rpb = rpb, call.out = out, call.lse = lse;
  run(stream, call, type, Pass::kForward);
}

void na_backward(cudaStream_t stream, const Problem& p, Type type, const View& q, const View& k, const View& v,
                 const void* rpb, const View& out, const View& lse, const View& dout, const View& dq, const View& dk,
                 const View& dv, void* drpb, const Workspace& workspace) {
  TileCall call = call_of(p);
  call.q = q, call.k = k, call.v = v, call.rpb = rpb, call.out = out, call.lse = lse;
  call.dout = dout, call.dq = dq, call.dk = dk, call.dv = dv;
  call.mean.data = workspace.allocate(workspace.context, value_size(type) * p.batch * p.tokens() * p.heads);
  call.mean.head = 1;
  call.mean.axis[2] = p.heads;
  call.mean.axis[1] = call.mean.axis[2] * p.axis[2].length;
  call.mean.axis[0] = call.mean.axis[1] * p.axis[1].length;
  call.mean.batch = call.mean.axis[0] * p.axis[0].length;
  run_with_bias_gradient(stream, call, type, Pass::kQueryGradient, drpb, workspace);
  run(stream, call, type, Pass::kKeyGradient);
}

void dot_keys(cudaStream_t stream, const Problem& p, Type type, int64_t dim, double factor, double empty,
              const View& rows, const View& keys, const void* rpb, const View& weights) {
  TileCall call = pair_of(p, dim, factor, weights);
  call.q = rows, call.k = keys, call.rpb = rpb, call.empty = empty;
  run(stream, call, type, Pass::kDots);
}

void gather_keys(cudaStream_t stream, const Problem& p, Type type, int64_t dim, double factor, const View& weights,
                 const View& keys, const View& sums, void* drpb, const Workspace& workspace) {
  TileCall call = pair_of(p, dim, factor, weights);
  call.k = keys, call.out = sums;
  run_with_bias_gradient(stream, call, type, Pass::kGatherKeys, drpb, workspace);
}

void gather_queries(cudaStream_t stream, const Problem& p, Type type, int64_t dim, double factor, const View& weights,
                    const View& rows, const View& sums) {
  TileCall call = pair_of(p, dim, factor, weights);
  call.q = rows, call.out = sums;
  run(stream, call, type, Pass::kGatherQueries);
}

}  // namespace natten::cuda::tile
