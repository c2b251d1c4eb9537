// The baseline instruction set of the machine the library was built for.
#define NATTEN_ISA scalar
#define NATTEN_ISA_NAME "scalar"
#include "isa.h"

namespace natten::cpu {
const Table* const kScalarTable = &scalar::kTable;
}
