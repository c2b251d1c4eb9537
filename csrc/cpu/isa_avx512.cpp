// AVX-512 (F, BW, VL, DQ).
#define NATTEN_ISA avx512
#define NATTEN_ISA_NAME "avx512"
#include "simd_avx512.h"
#define NATTEN_TILED
#include "isa.h"

namespace natten::cpu {
const Table* const kAvx512Table = &avx512::kTable;
}
