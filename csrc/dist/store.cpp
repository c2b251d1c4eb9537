// The key-value store over which processes find each other.
#include "store.h"

#include <c10/util/Logging.h>

#include <cstdlib>
#include <cstring>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "../capi/guard.h"

using natten::capi::guard;
using natten::dist::Store;
using std::chrono::milliseconds;

namespace {
Store& of(natten_store handle) {
  TORCH_CHECK(handle != nullptr, "null store handle");
  return *static_cast<Store*>(handle);
}
}  // namespace

char* natten_store_open(const char* host, int port, int serve, const char* prefix, int64_t timeout_ms,
                        natten_store* store) {
  return guard([&] {
    // What c10d warns of comes back as an error, without its stack traces.
    setenv("TORCH_CPP_LOG_LEVEL", "ERROR", /*overwrite=*/0);
    c10::initLogging();
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(port);
    options.isServer = serve != 0;
    options.waitWorkers = false;  // who is missing is found out by name, later
    options.timeout = milliseconds(timeout_ms);
    options.multiTenant = true;
    auto tcp = c10::make_intrusive<c10d::TCPStore>(host, options);
    *store = new Store{c10::make_intrusive<c10d::PrefixStore>(prefix, std::move(tcp))};
  });
}

void natten_store_close(natten_store store) { delete static_cast<Store*>(store); }

char* natten_store_set(natten_store store, const char* key, const void* data, int64_t bytes) {
  return guard([&] {
    const auto* first = static_cast<const uint8_t*>(data);
    of(store).store->set(key, std::vector<uint8_t>(first, first + bytes));
  });
}

char* natten_store_add(natten_store store, const char* key, int64_t amount, int64_t* sum) {
  return guard([&] { *sum = of(store).store->add(key, amount); });
}

char* natten_store_get(natten_store store, const char* key, int64_t timeout_ms, void** data, int64_t* bytes) {
  return guard([&] {
    *data = nullptr;
    *bytes = 0;
    auto& s = *of(store).store;
    try {
      s.wait({key}, milliseconds(timeout_ms));
    } catch (const std::exception&) {
      if (!s.check({key})) return;  // an unreachable store throws here once more
    }
    const auto value = s.get(key);
    char* copy = static_cast<char*>(malloc(value.size() + 1));
    TORCH_CHECK(copy != nullptr, "no memory for ", value.size(), " bytes");
    if (!value.empty()) std::memcpy(copy, value.data(), value.size());
    *data = copy;
    *bytes = static_cast<int64_t>(value.size());
  });
}
