// What the forward drivers share: what a call knows before it starts, and the keys and values at hand, packed.
#pragma once

#include "bias.h"
#include "element.h"
#include "key_rows.h"

namespace natten::cpu {
namespace NATTEN_ISA {

template <class T>
struct ForwardCall {
  const Problem& p;
  const RowPlan& plan;
  const BiasTable<acc_t<T>>& bias;
  int64_t members;  // query heads of one key head
  Layout q, k, v, out, lse;

  ForwardCall(const Problem& p_, const RowPlan& plan_, const BiasTable<acc_t<T>>& bias_, const View& q_, const View& k_,
              const View& v_, const View& out_, const View& lse_)
      : p(p_),
        plan(plan_),
        bias(bias_),
        members(p.heads / p.kv_heads),
        q(p, plan, q_, members, p.dim, sizeof(T)),
        k(p, plan, k_, 1, p.dim, sizeof(T)),
        v(p, plan, v_, 1, p.value_dim, sizeof(T)),
        out(p, plan, out_, members, p.value_dim, sizeof(T)),
        lse(p, plan, lse_, members) {}
};

// One thread's ring of key rows, each keys as scores read them and then [position][channels] values, from origin() on.
// O: how products are formed.
template <class S, class O, class T>
class ForwardKeys {
  using E = acc_t<T>;
  static constexpr int W = S::kLanes;

 public:
  explicit ForwardKeys(const ForwardCall<T>& call)
      : call_(call),
        rows_(call.p, call.plan),
        score_keys_(call.p.dim, rows_.room()),
        channels_(round_up(call.p.value_dim, W)),
        // Picks and shifted loads reach past the keys' end; what they find there is not used.
        row_size_(score_keys_.size() + odd_lines<E>(rows_.room() * channels_)) {}

  const ScoreKeys<S, O, E>& score_keys() const { return score_keys_; }
  int64_t channels() const { return channels_; }
  int64_t origin() const { return rows_.origin(); }
  const E* row(int64_t step) const { return rows_[step]; }
  const E* values(int64_t step) const { return rows_[step] + score_keys_.size(); }

  // Packs what the block's steps need and the ring does not hold.
  void pack(const Stop& stop) {
    if (stop.new_unit) rows_.reset(call_.p, stop, row_size_);
    rows_.visit(
        stop, [&](const Step& step, E* row, int64_t begin, int64_t end) { pack_row(stop, step, row, begin, end); },
        [](int64_t, int64_t, const E*, int64_t, int64_t) {},
        [&](E* row, int64_t by, int64_t count) {
          score_keys_.move(row, by, count);
          move_rows(row + score_keys_.size(), by, count, channels_);
        });
  }

  bool fits_ahead(const Block& block) const { return cpu::NATTEN_ISA::fits_ahead(block, call_.q.bytes); }

  // The block's rows of all four tensors.
  void plan_prefetch(const Stop& stop, Prefetch& prefetch) const {
    const Block& block = stop.block;
    if (!fits_ahead(block)) return;
    const int64_t query = block.first_query, last_query = block.last_query;
    for (int i = 0; i < (block.stacked ? 1 : block.rows); ++i) {
      for (int64_t member = 0; member < call_.members; ++member) {
        prefetch.add(call_.q.template query_row<const T>(stop, i, member), call_.q, query, last_query);
        prefetch.add(call_.out.template query_row<T>(stop, i, member), call_.out, query, last_query);
      }
    }
    rows_.template plan_prefetch<T>(stop, {&call_.k, &call_.v}, prefetch);
  }

 private:
  // Packed positions begin .. end - 1 of a key row; begin lies on a whole vector.
  void pack_row(const Stop& stop, const Step& step, E* row, int64_t begin, int64_t end) {
    const Problem& p = call_.p;
    const T* const k_row = call_.k.template row<const T>(stop, step.z, step.y);
    const T* const v_row = call_.v.template row<const T>(stop, step.z, step.y);
    const int64_t* const v_at = call_.v.at.data();
    const int64_t origin = rows_.origin();
    score_keys_.pack(k_row, call_.k.at.data(), begin, end, origin, row);
    E* const values = row + score_keys_.size();
    if constexpr (O::Sums::kWidth == 1) {
      pack_natural<S>(v_row, v_at + begin, end - begin, p.value_dim, values + (begin - origin) * channels_, channels_);
    } else {
      const int64_t from = std::max(begin - 1, origin);  // it lacked its neighbour
      pack_natural_pairs<typename O::Sums>(v_row, v_at + from, end - from, p.value_dim,
                                           values + (from - origin) * channels_, channels_);
    }
  }

  const ForwardCall<T>& call_;
  KeyRows<E> rows_;
  const ScoreKeys<S, O, E> score_keys_;
  const int64_t channels_, row_size_;
};

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
