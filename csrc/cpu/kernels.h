// What the CPU backend offers to the operators. No function here checks its
// arguments: csrc/checks.cpp has done so. Every function runs its own
// at::parallel_for and may throw only std::bad_alloc.
//
// `deterministic`: results do not depend on the number of threads.
//
// `type` is the element type of q, k, v, out and their gradients. The bias, its
// gradient, the log-sum-exp and the unfused logits' accumulation are in
// acc_t: double for double, float for everything else.
#pragma once

#include <c10/core/ScalarType.h>

#include "../problem.h"

namespace natten::cpu {

// out = softmax(scale q k^T + rpb) v over each query's neighborhood.
// rpb: acc_t [heads, 2K0-1, 2K1-1, 2K2-1] contiguous, or null.
// lse: acc_t, natural log of the softmax denominator, one per (batch, token, head); data null: not wanted.
void na_forward(const Problem& problem, c10::ScalarType type, const View& q, const View& k, const View& v,
                const void* rpb, const View& out, const View& lse, bool deterministic);

// Gradients of sum(out * dout), from the forward's out and lse. dq, dk and dv are
// written whole (no need to zero them). drpb, acc_t like rpb, is written whole too; null: not wanted.
void na_backward(const Problem& problem, c10::ScalarType type, const View& q, const View& k, const View& v,
                 const void* rpb, const View& out, const View& lse, const View& dout, const View& dq, const View& dk,
                 const View& dv, void* drpb, bool deterministic);

// The unfused pair. logits and attention have the slots, row-major, as last dimension (type `type`);
// an empty causal slot gets -inf as logit and is not read as weight.
void qk_forward(const Problem& problem, c10::ScalarType type, const View& q, const View& k, const void* rpb,
                const View& logits, bool deterministic);
void qk_backward(const Problem& problem, c10::ScalarType type, const View& q, const View& k, const View& dlogits,
                 const View& dq, const View& dk, void* drpb, bool deterministic);
void av_forward(const Problem& problem, c10::ScalarType type, const View& attention, const View& v, const View& out,
                bool deterministic);
void av_backward(const Problem& problem, c10::ScalarType type, const View& attention, const View& v, const View& dout,
                 const View& dattention, const View& dv, bool deterministic);

// The instruction set in use: "avx512_amx" (AVX-512 with AMX), "avx512_bf16" (with bfloat16 dot products), "avx512",
// "avx2", "neon" or "scalar". The best there is, or the one that NATTEN_CPU_ISA names.
const char* instruction_set();

}  // namespace natten::cpu
