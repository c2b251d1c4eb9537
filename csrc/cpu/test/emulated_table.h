#pragma once

#include "../table.h"

namespace natten::cpu {

// What tests run as the instruction set "emulated": bfloat16 only.
const Table* emulated_table();

}  // namespace natten::cpu
