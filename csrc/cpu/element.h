// The element types of tensors, and what each is computed in.
#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <type_traits>

namespace natten::cpu {
namespace NATTEN_ISA {

template <class T>
using acc_t = std::conditional_t<std::is_same_v<T, double>, double, float>;

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
