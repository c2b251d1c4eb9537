// The CPU backend's entry points: each hands over to the instruction set in use.
#include "kernels.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "table.h"

namespace natten::cpu {
namespace {

struct Candidate {
  const char* name;
  const Table* table;
  bool runs_here;
  bool pays_here = true;  // or has to be asked for
};

const Table* find(const char* name) {
#if defined(__x86_64__)
  // Of all objects here: see csrc/Makefile.
  const bool common = __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") && __builtin_cpu_supports("bmi2");
  const bool avx512 = common && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  // Intel's cores take two cycles for a bfloat16 product of pairs: to widen is faster, and exact.
  const bool fast_pairs = !__builtin_cpu_is("intel");
  const Table* const amx = avx512 && __builtin_cpu_supports("avx512bf16") ? avx512_amx_table() : nullptr;
#endif
  const Candidate candidates[] = {
#if defined(__x86_64__)
      {"avx512_amx", amx, amx != nullptr},
      {"avx512_bf16", kAvx512Bf16Table, avx512 && __builtin_cpu_supports("avx512bf16"), fast_pairs},
      {"avx512", kAvx512Table, avx512},
      {"avx2", kAvx2Table, common && __builtin_cpu_supports("avx2")},
#elif defined(__aarch64__)
      {"neon", kNeonTable, true},
#endif
      {"scalar", kScalarTable, true},
  };  // best first
  for (const Candidate& candidate : candidates) {
    if (!candidate.runs_here) continue;
    if (name == nullptr ? candidate.pays_here : std::strcmp(name, candidate.name) == 0) return candidate.table;
  }
  return nullptr;
}

// NATTEN_CPU_ISA names a set; one that this machine lacks falls back to the best there is.
const Table* initial() {
  const char* wanted = std::getenv("NATTEN_CPU_ISA");
  const Table* table = wanted != nullptr ? find(wanted) : nullptr;
  return table != nullptr ? table : find(nullptr);
}

std::atomic<const Table*>& current() {
  static std::atomic<const Table*> table{initial()};
  return table;
}

// Who does it. Of a problem without queries only the bias has a gradient, of zeros; the baseline's drivers write it.
const Table& table_for(const Problem& p) {
  return p.batch * p.heads * p.tokens() == 0 ? *kScalarTable : *current().load();
}

}  // namespace

std::atomic<double> most_bias_bytes{16e6};
std::atomic<int64_t> least_matrix_work{2500};
std::atomic<double> least_memory_bytes{10e6};

bool use_instruction_set(const char* name) {
  const Table* table = find(name);
  if (table != nullptr) use_table(table);
  return table != nullptr;
}

void use_table(const Table* table) { current() = table; }

const char* instruction_set() { return current().load()->name; }

void na_forward(const Problem& problem, c10::ScalarType type, const View& q, const View& k, const View& v,
                const void* rpb, const View& out, const View& lse, bool deterministic) {
  table_for(problem).forward(problem, type, q, k, v, rpb, out, lse, deterministic);
}

void na_backward(const Problem& problem, c10::ScalarType type, const View& q, const View& k, const View& v,
                 const void* rpb, const View& out, const View& lse, const View& dout, const View& dq, const View& dk,
                 const View& dv, void* drpb, bool deterministic) {
  table_for(problem).backward(problem, type, q, k, v, rpb, out, lse, dout, dq, dk, dv, drpb, deterministic);
}

void qk_forward(const Problem& problem, c10::ScalarType type, const View& q, const View& k, const void* rpb,
                const View& logits, bool deterministic) {
  table_for(problem).qk(problem, type, q, k, rpb, logits, deterministic);
}

void qk_backward(const Problem& problem, c10::ScalarType type, const View& q, const View& k, const View& dlogits,
                 const View& dq, const View& dk, void* drpb, bool deterministic) {
  table_for(problem).qk_gradient(problem, type, q, k, dlogits, dq, dk, drpb, deterministic);
}

void av_forward(const Problem& problem, c10::ScalarType type, const View& attention, const View& v, const View& out,
                bool deterministic) {
  table_for(problem).av(problem, type, attention, v, out, deterministic);
}

void av_backward(const Problem& problem, c10::ScalarType type, const View& attention, const View& v, const View& dout,
                 const View& dattention, const View& dv, bool deterministic) {
  table_for(problem).av_gradient(problem, type, attention, v, dout, dattention, dv, deterministic);
}

}  // namespace natten::cpu
