// The shape of the window kernels' blocks, and what the compiler is told of
// them. Host code.
#pragma once

#include <algorithm>

#include "window_program.h"

namespace natten::cuda::window {

enum class Kernel { kForward, kQueries, kQueriesAndBias, kKeys, kForwardInBulk };
constexpr bool is_forward(Kernel kernel) { return kernel == Kernel::kForward || kernel == Kernel::kForwardInBulk; }
template <Kernel kKernel>
constexpr WindowPass kPass = is_forward(kKernel)        ? WindowPass::kForward
                             : kKernel == Kernel::kKeys ? WindowPass::kKeyGradient
                                                        : WindowPass::kQueryGradient;

// Warps of a block, at most, and blocks that a multiprocessor should hold: what its registers are shared among.
constexpr int most_warps(int groups) { return groups == kSmallGroups ? 4 : 8; }
constexpr int least_blocks(Kernel kernel, int groups) {
  if (is_forward(kernel)) return groups == kSmallGroups ? 5 : 2;
  if (kernel == Kernel::kKeys) return 2;
  return groups == kSmallGroups ? 4 : kernel == Kernel::kQueries ? 2 : 1;
}

// All but `parts`.
inline void shape(WindowCall* call, WindowPass pass, int shared_limit) {
  const bool queries = pass != WindowPass::kKeyGradient;
  const bool few = queries && sees_few(call->p);
  // dq keeps the most in registers and goes with small blocks; so do dk and dv where that leaves no patch over.
  const auto even = [&](int a) {
    const int64_t patches = (group_size(call->p.axis[a], 0) + kPatch - 1) / kPatch;
    return patches >= 8 && patches % 2 == 0;
  };
  const bool small = pass == WindowPass::kQueryGradient || (!queries && even(1) && even(2));
  const int most = small ? 4 : most_warps(few ? kSmallGroups : kKeyGroups), widest = most == 4 ? 2 : 7;
  call->patching = patching_of(call->p, most, widest, queries);
  call->groups = groups_of(call->p, call->patching, queries);
  // Boxes of several images, where a multiprocessor of compute capability 9.0 still holds as many blocks as its
  // registers.
  const int blocks = pass == WindowPass::kForward && few ? least_blocks(Kernel::kForward, kSmallGroups) : 2;
  const size_t room = (228 << 10) / blocks - (1 << 10);
  call->stages = pass == WindowPass::kForward && few ? 4 : 2;
  const auto lay = [&] { call->layout = layout_of(*call, pass, 2); };
  lay();
  while (call->stages > 1 && call->layout.bytes > std::min<int64_t>(room, shared_limit)) {
    call->stages--;
    lay();
  }
  call->by_heads = Divisor(call->p.heads);
  call->by_places = Divisor(call->patching.places);
}

}  // namespace natten::cuda::window
