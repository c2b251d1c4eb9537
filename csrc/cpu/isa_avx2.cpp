// AVX2 with FMA and F16C.
#define NATTEN_ISA avx2
#define NATTEN_ISA_NAME "avx2"
#include "simd_avx2.h"
#define NATTEN_TILED
#include "isa.h"

namespace natten::cpu {
const Table* const kAvx2Table = &avx2::kTable;
}
