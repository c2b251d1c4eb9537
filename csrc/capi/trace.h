// What a natten_trace handle points to.
#pragma once

#include <memory>
#include <optional>

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

}  // namespace natten::capi
