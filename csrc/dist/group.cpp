// Collective operations between processes, and gradients averaged while the
// backward pass still runs (c10d::Reducer, the engine of DistributedDataParallel).
#include "store.h"

#if NATTEN_HAS_GROUPS

#include <c10/core/DeviceGuard.h>

#include <torch/csrc/distributed/c10d/comm.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include "../capi/guard.h"
#include "../cuda/group.h"
#include "../cuda_loader.h"
#include "group.h"

using natten::capi::guard;
using natten::capi::tensor;
using natten::dist::Group;
using natten::dist::Store;
using std::chrono::milliseconds;

namespace {

Group& of(natten_group handle) {
  TORCH_CHECK(handle != nullptr, "null group handle");
  return *static_cast<Group*>(handle);
}

std::vector<at::Tensor> list(const natten_tensor* tensors, int64_t count) {
  std::vector<at::Tensor> out;
  out.reserve(count);
  for (int64_t i = 0; i < count; i++) out.push_back(tensor(tensors[i]).detach());
  return out;
}

void wait(const c10::intrusive_ptr<c10d::Work>& work) {
  if (work) work->wait();
}

// The reducer's usual averaging, counted.
class Average : public c10d::CommHookInterface {
 public:
  explicit Average(Group& group) : group_(group) {}

  c10::intrusive_ptr<c10::ivalue::Future> runHook(c10d::GradBucket& bucket) override {
    group_.reductions++;
    std::vector<at::Tensor> tensors{bucket.getBufferRef()};
    tensors[0].div_(group_.group->getSize());
    return group_.backend(tensors[0]).allreduce(tensors)->getFuture();
  }

  at::Tensor parseHookResult(const c10::IValue& result) override {
    return result.isTensorList() ? result.toTensorVector()[0] : result.toTensor();
  }

 private:
  Group& group_;
};

// Gloo's connections, which ProcessGroupGloo keeps to itself.
struct Connections : c10d::ProcessGroupGloo {
  static auto& of(c10d::ProcessGroupGloo& group) { return group.*(&Connections::contexts_); }
};

}  // namespace

char* natten_group_open(natten_store store, int rank, int size, int64_t timeout_ms, int cuda, natten_group* group) {
  return guard([&] {
    TORCH_CHECK(store != nullptr, "null store handle");
    const auto& shared = static_cast<Store*>(store)->store;
    auto options = c10d::ProcessGroupGloo::Options::create_default(milliseconds(timeout_ms));
    auto backend = c10::make_intrusive<c10d::ProcessGroupGloo>(shared, rank, size, options);
    auto made = c10::make_intrusive<c10d::ProcessGroup>(shared, rank, size);
    made->setBackend(c10::DeviceType::CPU, c10d::ProcessGroup::BackendType::GLOO, backend);
    made->setDefaultBackend(c10d::ProcessGroup::BackendType::GLOO);
    auto all = std::make_unique<Group>();
    if (cuda >= 0) {
      const auto make = reinterpret_cast<decltype(&natten_cuda_group)>(natten::cuda::symbol("natten_cuda_group"));
      TORCH_CHECK(make != nullptr, "this build has no NCCL, over which processes train on CUDA (docs/install.md)");
      make(shared, rank, size, timeout_ms, &all->nccl);
      made->setBackend(c10::DeviceType::CUDA, c10d::ProcessGroup::BackendType::NCCL, all->nccl);
      all->device = c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(cuda));
    }
    all->group = std::move(made);
    all->gloo = std::move(backend);
    *group = all.release();
  });
}

char* natten_group_connect(natten_group group) {
  return guard([&] {
    if (of(group).nccl) of(group).nccl->eagerConnectSingleDevice(of(group).device);
  });
}

char* natten_group_wait(natten_group group) {
  return guard([&] {
    if (!of(group).nccl) return;
    const c10::impl::VirtualGuardImpl device(c10::kCUDA);
    device.getStream(of(group).device).synchronize();
  });
}

void natten_group_close(natten_group group) {
  auto* const g = static_cast<Group*>(group);
  // Shutting NCCL down waits for the others, aborting does not; nothing is under way any more.
  if (g != nullptr && g->nccl) free(guard([&] { g->nccl->abort(); }));
  delete g;
}

char* natten_group_abort(natten_group group) {
  return guard([&] {
    for (auto& context : Connections::of(*of(group).gloo)) context->closeConnections();
    if (of(group).nccl) of(group).nccl->abort();
  });
}

char* natten_group_sum(natten_group group, const natten_tensor* tensors, int64_t count) {
  return guard([&] {
    for (auto& t : list(tensors, count)) {
      std::vector<at::Tensor> one{t};
      wait(of(group).backend(t).allreduce(one));
    }
  });
}

char* natten_group_broadcast(natten_group group, const natten_tensor* tensors, int64_t count, int root) {
  return guard([&] { c10d::broadcast_coalesced(of(group).group, list(tensors, count), 25 << 20, root); });
}

int64_t natten_group_reductions(natten_group group) {
  return group == nullptr ? 0 : static_cast<Group*>(group)->reductions;
}

char* natten_reducer_open(natten_group group, const natten_tensor* parameters, int64_t count, int64_t bucket_bytes,
                          natten_reducer* reducer) {
  return guard([&] {
    std::vector<at::Tensor> leaves;
    for (int64_t i = 0; i < count; i++) leaves.push_back(tensor(parameters[i]));
    // As DistributedDataParallel does: gradients come from the last parameters
    // first, and a small first bucket gets the network going early.
    const int64_t first = std::min<int64_t>(bucket_bytes, c10d::kDefaultFirstBucketBytes);
    auto [buckets, limits] = c10d::compute_bucket_assignment_by_size(
        leaves, {static_cast<size_t>(first), static_cast<size_t>(bucket_bytes)}, std::vector<bool>(leaves.size()));
    std::reverse(buckets.begin(), buckets.end());
    c10d::verify_params_across_processes(of(group).group, leaves, std::nullopt);
    auto made = std::make_unique<c10d::Reducer>(
        leaves, std::move(buckets), of(group).group, std::vector<bool>(leaves.size(), false), bucket_bytes,
        /*find_unused_parameters=*/false, /*gradient_as_bucket_view=*/false, std::unordered_map<size_t, std::string>{},
        first, /*skip_all_reduce_unused_params=*/false,
        /*use_python_reducer=*/false, std::vector<int64_t>{});
    made->register_comm_hook(std::make_unique<Average>(of(group)));
    *reducer = made.release();
  });
}

char* natten_reducer_close(natten_reducer reducer) {
  return guard([&] {
    auto* r = static_cast<c10d::Reducer*>(reducer);
    if (r != nullptr) r->remove_autograd_hooks();
    delete r;
  });
}

char* natten_reducer_prepare(natten_reducer reducer) {
  return guard([&] {
    auto& r = *static_cast<c10d::Reducer*>(reducer);
    r.rebuild_buckets();  // once, in the order in which the first gradients came
    r.prepare_for_forward();
    r.prepare_for_backward({});
  });
}

char* natten_reducer_check(natten_reducer reducer) {
  return guard([&] { static_cast<c10d::Reducer*>(reducer)->check_finalized(); });
}

#endif  // NATTEN_HAS_GROUPS
