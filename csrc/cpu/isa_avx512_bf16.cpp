// AVX-512 with BF16 dot products.
#define NATTEN_ISA avx512_bf16
#define NATTEN_ISA_NAME "avx512_bf16"
#define NATTEN_BFLOAT16_PRODUCTS Pairs
#include "simd_avx512.h"
#define NATTEN_TILED
#include "isa.h"

namespace natten::cpu {
const Table* const kAvx512Bf16Table = &avx512_bf16::kTable;
}
