// The entry points of one instruction set. Each isa_*.cpp compiles the same
// drivers with its own flags and fills one of these.
#pragma once

#include <atomic>

#include "kernels.h"

namespace natten::cpu {

struct Table {
  const char* name;
  decltype(&na_forward) forward;
  decltype(&na_backward) backward;
  decltype(&qk_forward) qk;
  decltype(&qk_backward) qk_gradient;
  decltype(&av_forward) av;
  decltype(&av_backward) av_gradient;
};

extern const Table* const kScalarTable;
#if defined(__x86_64__)
extern const Table* const kAvx2Table;
extern const Table* const kAvx512Table;
extern const Table* const kAvx512Bf16Table;
const Table* avx512_amx_table();  // null where the machine lacks AMX or does not let the process use it
#elif defined(__aarch64__)
extern const Table* const kNeonTable;
#endif

// Chooses the set that later calls use; false when this machine or build lacks it. Null: the best there is.
bool use_instruction_set(const char* name);
void use_table(const Table* table);

// Bytes of one thread's bias vectors from which on it holds those of one tile at a time, 16 MB. Tests lower it.
extern std::atomic<double> most_bias_bytes;

// Products of queries and keys that a pass forms, times their channels, times the square of the last axis's kernel,
// from which on matrices form them. Tests lower it.
extern std::atomic<int64_t> least_matrix_work;

// Bytes from which on a call's tensors count as coming from memory and not from a cache, 10 MB. Tests lower it.
extern std::atomic<double> least_memory_bytes;

}  // namespace natten::cpu
