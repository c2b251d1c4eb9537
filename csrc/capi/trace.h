// What a natten_trace handle points to, and how words reach C.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>
#include <vector>

#include "../graph/recorder.h"
#include "../graph/shapes.h"

namespace natten::capi {

class Trace {
 public:
  explicit Trace(bool shapes_only)
      : recorder_(std::make_shared<graph::Recorder>(/*keep=*/shapes_only)), recording_(recorder_) {
    if (shapes_only) shapes_.emplace(*recorder_);
  }
  graph::Recorder& recorder() { return *recorder_; }
  void stop() {
    shapes_.reset();
    recording_.reset();
  }

 private:
  std::shared_ptr<graph::Recorder> recorder_;
  std::optional<graph::Recording> recording_;
  std::optional<graph::ShapesOnly> shapes_;
};

// A copy for the caller, who releases it with natten_free.
inline int64_t* hand_over(const std::vector<int64_t>& words) {
  auto* copy = static_cast<int64_t*>(std::malloc(words.size() * sizeof(int64_t)));
  TORCH_CHECK(copy != nullptr, "no memory for ", words.size(), " words");
  std::copy(words.begin(), words.end(), copy);
  return copy;
}

}  // namespace natten::capi
