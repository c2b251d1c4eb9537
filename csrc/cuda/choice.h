// Which kernel class runs a call: the first of the table that does not refuse
// it. NATTEN_BACKEND=window, hopper, tile or naive forces one; a class that is forced and
// refuses is an error that says why.
#pragma once

#include "hopper.h"
#include "window.h"

namespace natten::cuda {

enum class Class { kWindow, kHopper, kTile, kNaive };

struct Candidate {
  Class kernels;
  const char* name;
  const char* what;
  // Null when it takes the call, else why not.
  const char* (*refuses)(const Request& request, Operation operation, bool bias, bool bias_gradient);
};

// Fastest first.
constexpr int kCandidates = 4;
const Candidate* candidates();

// `forced`: a name, "auto" or null. Sets `reason` when the forced class refuses or does not exist.
const Candidate* choose(const Request& request, Operation operation, bool bias, bool bias_gradient, const char* forced,
                        const char** reason);

}  // namespace natten::cuda
