#include "choice.h"

#include <cstring>

namespace natten::cuda {
namespace {

const char* window_refuses(const Request& request, Operation operation, bool, bool bias_gradient) {
  if (operation == Operation::kPair) return "it has no unfused operators";
  return operation == Operation::kBackward ? window::refuses_backward(request, bias_gradient)
                                           : window::refuses_forward(request);
}
const char* hopper_refuses(const Request& request, Operation operation, bool bias, bool) {
  if (operation == Operation::kPair) return "it has no unfused operators";
  return operation == Operation::kBackward ? "it has no backward" : hopper::refuses_forward(request, bias);
}
const char* never_refuses(const Request&, Operation, bool, bool) { return nullptr; }

constexpr Candidate kTable[kCandidates] = {
    {Class::kWindow, "window", "fused for kernels up to 7x7, head dim 32 or 64", window_refuses},
    {Class::kHopper, "hopper", "fused forward for large windows (wgmma, tensor copies)", hopper_refuses},
    {Class::kTile, "tile", "fused and unfused on tensor cores (mma.sync)", tile::refuses},
    {Class::kNaive, "naive", "one warp per query, any shape and dtype", never_refuses},
};

}  // namespace

const Candidate* candidates() { return kTable; }

const Candidate* choose(const Request& request, Operation operation, bool bias, bool bias_gradient, const char* forced,
                        const char** reason) {
  const bool any = forced == nullptr || *forced == '\0' || std::strcmp(forced, "auto") == 0;
  *reason = nullptr;
  for (const Candidate& candidate : kTable) {
    if (!any && std::strcmp(forced, candidate.name) != 0) continue;
    const char* const refusal = candidate.refuses(request, operation, bias, bias_gradient);
    if (refusal == nullptr) return &candidate;
    if (!any) {
      *reason = refusal;
      return nullptr;
    }
  }
  *reason = "there is no kernel class of that name; want auto, window, hopper, tile or naive";
  return nullptr;
}

}  // namespace natten::cuda
