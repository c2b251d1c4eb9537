// The C face of recordings (../graph).
#include "trace.h"

#include "../graph/recorder.h"
#include "../graph/shapes.h"
#include "guard.h"

using natten::capi::guard;
using natten::capi::tensor;
using natten::capi::Trace;
using natten::graph::Recorder;

char* natten_trace_begin(int shapes_only, natten_trace* trace) {
  *trace = nullptr;
  return guard([&] { *trace = new Trace(shapes_only != 0); });
}

char* natten_trace_name(natten_trace trace, natten_tensor handle, const char* name, int64_t length) {
  return guard([&] { static_cast<Trace*>(trace)->recorder().name(tensor(handle), std::string(name, length)); });
}

void natten_trace_enter(const char* module, int64_t length) {
  if (Recorder* recorder = Recorder::current()) recorder->enter(std::string(module, length));
}

void natten_trace_leave(void) {
  if (Recorder* recorder = Recorder::current()) recorder->leave();
}

char* natten_trace_end(natten_trace handle, int64_t** words) {
  return guard([&] {
    std::unique_ptr<Trace> trace(static_cast<Trace*>(handle));
    trace->stop();
    if (words == nullptr) return;
    *words = natten::capi::hand_over(trace->recorder().flatten());
  });
}

void natten_set_make_on_meta(int enabled) { natten::graph::set_make_on_meta(enabled != 0); }
