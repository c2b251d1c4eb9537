// The key rows that a driver has at hand: packed once, kept in a ring while blocks need them, and finished when no
// later block does. Of a strip's row (see blocks.h) only a stretch from the position `origin` on is at hand; it moves
// to the row's beginning when its room is used up.
#pragma once

#include "prefetch.h"

namespace natten::cpu {
namespace NATTEN_ISA {

template <class E>
class KeyRows {
 public:
  KeyRows(const Problem& p, const RowPlan& plan)
      : length_(plan.length()), room_(room_of(p, plan)), width_(plan.width) {}

  // Positions that a row has room for: whole vectors.
  int64_t room() const { return room_; }
  // What lies at a row's beginning.
  int64_t origin() const { return origin_; }

  // At a unit's first block.
  void reset(const Problem& p, const Stop& stop, int64_t row_size) { ring_.reset(p, stop.group, row_size); }

  // Makes room for what the block sees and packs what is not packed yet.
  //   pack(step, row, begin, end)    positions of a key row; begin lies on a whole vector
  //   finish(z, y, row, begin, end)  positions that no later block sees
  //   move(row, by, count)           `count` positions to the row's beginning, from `by` on: whole vectors
  template <class Pack, class Finish, class Move>
  void visit(const Stop& stop, const Pack& pack, const Finish& finish, const Move& move) {
    const Block& block = stop.block;
    rows_.clear();
    for (const Step& step : block.steps) {
      ring_.visit_replaced(step.z, step.y, [&](int64_t z, int64_t y, E* row) { leave(stop, z, y, row, finish); });
      bool fresh;
      E* const row = ring_.row(step.z, step.y, fresh);
      if (fresh) {
        done_ = block.first_key;
        packed_ = origin_ = round_down(done_, width_);
      }
      if (stop.group.strips > 0 && done_ < block.first_key) {
        finish(step.z, step.y, row, done_, block.first_key);
        done_ = block.first_key;
      }
      if (packed_ < block.last_key) {
        if (round_up(block.last_key, width_) > origin_ + room_) {
          const int64_t begin = round_down(done_, width_);
          move(row, begin - origin_, packed_ - begin);
          origin_ = begin;
        }
        const int64_t end = std::min(round_up(block.last_key, width_), length_);
        pack(step, row, packed_, end);
        packed_ = end;
      }
      reached_ = block.last_key;
      rows_.push_back(row);
    }
  }
  // At a unit's end.
  template <class Finish>
  void leave_all(const Stop& stop, const Finish& finish) const {
    ring_.visit_all([&](int64_t z, int64_t y, E* row) { leave(stop, z, y, row, finish); });
  }

  // Of each step of the block visited last: its packed row.
  E* operator[](int64_t step) const { return rows_[step]; }

  // Fetches what visit() will pack.
  template <class T>
  void plan_prefetch(const Stop& stop, std::initializer_list<const Layout*> layouts, Prefetch& prefetch) const {
    for (const Step& step : stop.block.steps) {
      if (step.first > 0) continue;
      const bool held = !stop.new_unit && ring_.holds(step.z, step.y);
      const int64_t first = held ? packed_ : stop.block.first_key;
      for (const Layout* const layout : layouts) {
        prefetch.add(layout->template row<const T>(stop, step.z, step.y), *layout, first, stop.block.last_key);
      }
    }
  }

 private:
  template <class Finish>
  void leave(const Stop& stop, int64_t z, int64_t y, E* row, const Finish& finish) const {
    if (stop.group.strips > 0) {
      finish(z, y, row, done_, reached_);
    } else {
      finish(z, y, row, 0, length_);
    }
  }

  const int64_t length_, room_;
  const int width_;
  Ring<E> ring_;
  int64_t origin_ = 0;  // the first position at hand
  int64_t packed_ = 0;  // positions of the key row at hand that are packed; of all others the whole row is
  int64_t done_ = 0,
          reached_ = 0;  // of a strip's key row: before done_ all is finished, from reached_ on nothing begun
  std::vector<E*> rows_;
};

// Runs a worker over the blocks of units begin .. end - 1: while one block is computed, the next one's rows are
// fetched. The worker has
//   begin(stop)                   ready for the block: its keys packed
//   plan_prefetch(stop, prefetch) what the block will read and write
//   turns(stop)                   calls of prefetch.turn() that the block makes, about
//   run_tile(stop, tile, member)
//   finish_unit(stop, next)       after the last block of a unit; next: the stop that follows, or null
template <class Worker>
void run_blocks(const Problem& p, const RowPlan& plan, const Units& units, int64_t begin, int64_t end, Worker& worker,
                Prefetch& prefetch) {
  const int64_t members = p.heads / p.kv_heads;
  Walk walk(p, plan, units, begin, end);
  Stop here, ahead;
  bool more = walk.next(here);
  if (more) {
    worker.plan_prefetch(here, prefetch);
    prefetch.all();
  }
  while (more) {
    more = walk.next(ahead);
    worker.begin(here);
    if (more) worker.plan_prefetch(ahead, prefetch);
    prefetch.spread(worker.turns(here) * members);
    for (int64_t t = here.block.first_tile; t < here.block.last_tile; ++t) {
      for (int64_t member = 0; member < members; ++member) worker.run_tile(here, plan.tiles[t], member);
    }
    prefetch.all();
    if (!more || ahead.new_unit) worker.finish_unit(here, more ? &ahead : nullptr);
    std::swap(here, ahead);
  }
}

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
