// AVX-512 (F, BW, VL, DQ) with BF16 dot products.
#define NATTEN_ISA avx512
#include "simd_avx512.h"
#define NATTEN_TILED
#include "isa.h"

namespace natten::cpu {
const Table* const kAvx512Table = &avx512::kTable;
}
