// Groups of processes where libtorch is older than those that they are built for: each call says so.
#include "store.h"

#if !NATTEN_HAS_GROUPS

#include "../capi/guard.h"

namespace {
char* absent() {
  return natten::capi::message(
      "several processes need libtorch 2.11 or newer, this library was built with " TORCH_VERSION);
}
}  // namespace

char* natten_group_open(natten_store, int, int, int64_t, int, natten_group*) { return absent(); }
char* natten_group_connect(natten_group) { return absent(); }
char* natten_group_wait(natten_group) { return absent(); }
void natten_group_close(natten_group) {}
char* natten_group_abort(natten_group) { return absent(); }
char* natten_group_sum(natten_group, const natten_tensor*, int64_t) { return absent(); }
char* natten_group_broadcast(natten_group, const natten_tensor*, int64_t, int) { return absent(); }
int64_t natten_group_reductions(natten_group) { return 0; }
char* natten_reducer_open(natten_group, const natten_tensor*, int64_t, int64_t, natten_reducer*) { return absent(); }
char* natten_reducer_close(natten_reducer) { return absent(); }
char* natten_reducer_prepare(natten_reducer) { return absent(); }
char* natten_reducer_check(natten_reducer) { return absent(); }

#endif  // !NATTEN_HAS_GROUPS
