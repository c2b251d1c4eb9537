// NEON, which every 64-bit ARM has.
#define NATTEN_ISA neon
#define NATTEN_ISA_NAME "neon"
#include "simd_neon.h"
#define NATTEN_TILED
#include "isa.h"

namespace natten::cpu {
const Table* const kNeonTable = &neon::kTable;
}
