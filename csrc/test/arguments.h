// Arguments of an operator as values, random valid calls of every operator, and random damage to them.
#pragma once

#include <ATen/core/function_schema.h>
#include <ATen/core/ivalue.h>

#include <random>
#include <string>
#include <vector>

namespace natten::test {

using Random = std::mt19937_64;

struct Call {
  std::string op;  // "natten::na"
  std::vector<c10::IValue> arguments;
};

// The names of every operator of the library that takes tensors.
const std::vector<std::string>& operators();

// Small arguments that the operator accepts: any rank, dtype and window, with and without the optional ones.
Call valid_call(const std::string& op, Random& random);

// Changes one argument: another shape, dtype, device or kind of tensor, other numbers, another length. Most changes
// make the call invalid, some leave it valid. Returns what was done.
std::string damage(Call& call, const c10::FunctionSchema& schema, Random& random);

}  // namespace natten::test
