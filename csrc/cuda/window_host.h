// The primitives of the window program as plain loops: one thread does what a block does.
#pragma once

#include <algorithm>

#include "host.h"
#include "window_keys.h"

namespace natten::cuda {

template <class T, int kDim_, int kGroups_, bool kListed>
class WindowHost : public Host<float> {
 public:
  using Element = T;
  static constexpr int kDim = kDim_;
  static constexpr bool kBulk = false;
  static constexpr int kGroups = kGroups_;
  static constexpr int kSteps = (kGroups + 1) / 2;
  using Memory = WindowMemory<T>;

  explicit WindowHost(const WindowCall& call)
      : Host<float>(call.patching.warps() * kPatchRows),
        memory_{buffer(call.layout.bytes), call.layout},
        patches_(call.patching.warps()),
        groups_(call.groups) {
    address_.resize(patches_ * groups_ * 8);
    steps_.resize(patches_);
    tables_.resize(patches_);
  }

  struct Values : std::vector<float> {
    using std::vector<float>::vector;
    void clear() { std::fill(begin(), end(), 0.0f); }
  };
  static constexpr int kMost = kPatchesLimit * kPatchRows;
  struct Strip : Values {
    Strip() : Values(kMost * 16) {}
  };
  struct Sums : Values {
    Sums() : Values(kMost * kDim) {}
  };
  struct Operand {
    std::vector<std::vector<T>> rows;
  };

  Memory& memory() { return memory_; }
  static float reciprocal(float x) { return 1.0f / x; }

  template <class F>
  void each_lane(const F& f) {
    for (int patch = 0; patch < patches_; patch++) {
      for (int lane = 0; lane < kLanes; lane++) f(patch, lane);
    }
  }
  template <class F>
  static void each_token(const Lines& lines, const Block& block, const F& f) {
    for (int line = 0; line < block.y.size; line++) {
      for (int x = 0; x < block.x.size; x++) {
        f(lines.first + line * lines.down + x * lines.across, line * block.pitch + x);
      }
    }
  }
  static void copy_row(T* pane, int row, const T* from) {
    for (int d = 0; d < kDim; d++) element(pane, pane_place<T, kDim>(row, 0), d) = from[d];
  }
  void copy_box(T* pane, const T* image, const Lines& lines, T* other_pane, const T* other_image,
                const Lines& other_lines, const Block& block) {
    each_token(lines, block, [&](int from, int row) { copy_row(pane, row, image + from); });
    each_token(other_lines, block, [&](int from, int row) { copy_row(other_pane, row, other_image + from); });
  }
  void copy_in_bulk(int, const WindowCall&, const Block&, int64_t, int64_t, int64_t) {}
  void wait_for_bulk(int) {}
  void wait_for_inputs() {}
  void copy_value(float* to, const float* from) { *to = *from; }
  void wait_for_values() {}
  template <class F>
  void each_stage(const WindowCall&, const F&) {}
  template <class F>
  void release(int, const F&) {}
  static bool hidden(bool flag) { return flag; }
  template <class F>
  void place_rows(const F& f) {
    own_.clear();
    for (int r = 0; r < count(); r++) own_.push_back(f(r / kPatchRows, r % kPatchRows));
  }
  void copy_rows(T* pane, const T* image, const Rows<int>& at) {
    for (int r = 0; r < count(); r++) copy_row(pane, own_[r], image + at[r]);
  }
  void copy_stats(QueryStats* stats, const float* lse, const float* mean, const Lines& lines, const Block& block) {
    each_token(lines, block, [&](int from, int row) { stats[row] = {lse[from], mean[from]}; });
  }
  void prefetch(const T*, const Rows<int>&) {}

  template <class F>
  auto rows(const F& f) {
    return each_row([&](int r) { return f(r / kPatchRows, r % kPatchRows); });
  }
  Operand operand(const T* image, const Rows<int>& at) {
    Operand result;
    for (int r = 0; r < count(); r++) result.rows.emplace_back(image + at[r], image + at[r] + kDim);
    return result;
  }
  Operand operand_of(T* pane) {
    Operand result;
    for (int r = 0; r < count(); r++) {
      result.rows.emplace_back();
      for (int d = 0; d < kDim; d++) result.rows[r].push_back(element(pane, pane_place<T, kDim>(own_[r], 0), d));
    }
    return result;
  }
  Rows<float> row_values(const float* image, const Rows<int>& at) {
    return each_row([&](int r) { return image[at[r]]; });
  }
  Rows<float> row_dots(const Operand& a, const Operand& b) {
    return each_row([&](int r) {
      float sum = 0;
      for (int d = 0; d < kDim; d++) sum += static_cast<float>(a.rows[r][d]) * static_cast<float>(b.rows[r][d]);
      return sum;
    });
  }

  template <class F, class G>
  void columns(const F& first, const G& rows) {
    for (int patch = 0; patch < patches_; patch++) {
      for (int c = 0; c < kGroups * 8; c++) {
        address_[patch * groups_ * 8 + c] = pane_place<T, kDim>(first(patch) + rows(patch, c), 0);
      }
    }
  }
  template <class F>
  void tables(const F& f) {
    for (int patch = 0; patch < patches_; patch++) tables_[patch] = f(patch);
  }
  template <class F>
  void steps(const F& f) {
    for (int patch = 0; patch < patches_; patch++) steps_[patch] = f(patch);
  }
  bool within(int step) const {
    for (int patch = 0; patch < patches_; patch++) {
      if (step < steps_[patch]) return true;
    }
    return false;
  }
  void step(int) {
    for (size_t i = 0; i < address_.size(); i++) address_[i] = pane_place<T, kDim>(memory_.columns()[i], 0);
  }

  // Calls f(row, column of the strip) for what a step has.
  template <class F>
  void each_place(int step, const F& f) {
    for (int r = 0; r < count(); r++) {
      if (step >= steps_[r / kPatchRows]) continue;
      for (int c = 0; c < 16; c++) {
        if (kListed || step * 2 + c / 8 < kGroups) f(r, c);
      }
    }
  }
  void clear(Strip& strip) { strip.clear(); }
  void begin(Strip& strip, int step) {
    each_place(step, [&](int r, int c) { strip[r * 16 + c] = table(r)[table_place(r % 16, step * 16 + c)]; });
  }
  void add(Strip& to, const Strip& from, int step) {
    each_place(step, [&](int r, int c) { to[r * 16 + c] += from[r * 16 + c]; });
  }
  void add_to_table(const Strip* strips, int patch) {
    for (int step = 0; step < kSteps; step++) {
      each_place(step, [&](int r, int c) {
        if (r / kPatchRows == patch) table(r)[table_place(r % 16, step * 16 + c)] += strips[step][r * 16 + c];
      });
    }
  }
  template <class F>
  void each_score(Strip& strip, int step, const F& f) {
    each_place(step, [&](int r, int c) { f(r, strip[r * 16 + c]); });
  }
  template <class F>
  void pair(Strip& a, Strip& b, int step, const F& f) {
    each_place(step, [&](int r, int c) { f(r, a[r * 16 + c], b[r * 16 + c]); });
  }
  template <class F>
  void pair_listed(Strip& a, Strip& b, int step, const QueryStats* stats, const F& f) {
    each_place(step, [&](int r, int c) {
      const int patch = r / kPatchRows, column = step * 16 + c;
      const int row = memory_.columns()[patch * groups_ * 8 + column];
      const int entry = memory_.bias_places()[patch * groups_ * kGroupValues + table_place(r % kPatchRows, column)];
      f(r, memory_.bias()[entry], stats[row], a[r * 16 + c], b[r * 16 + c]);
    });
  }
  void row_max(Strip& strip, int step, Rows<float>& top) {
    each_place(step, [&](int r, int c) { top.values[r] = std::max(top.values[r], strip[r * 16 + c]); });
  }
  void finish_row_max(Rows<float>&) {}
  template <class F>
  bool any(const Rows<float>& rows, const F& f) {
    return std::any_of(rows.values.begin(), rows.values.end(), f);
  }
  void row_sum(Strip& strip, int step, Rows<float>& total) {
    each_place(step, [&](int r, int c) { total.values[r] += strip[r * 16 + c]; });
  }
  void finish_row_sum(Rows<float>&) {}

  void multiply_transposed(Strip& strip, const Operand& a, const T* pane, int step) {
    each_place(step, [&](int r, int c) {
      float sum = strip[r * 16 + c];
      for (int d = 0; d < kDim; d++) {
        sum += static_cast<float>(a.rows[r][d]) * static_cast<float>(element(pane, column_place(r, step, c), d));
      }
      strip[r * 16 + c] = sum;
    });
  }
  void multiply(Sums& sums, const Strip& strip, const T* pane, int step) {
    each_place(step, [&](int r, int c) {
      const float x = static_cast<float>(static_cast<T>(strip[r * 16 + c]));
      for (int d = 0; d < kDim; d++) {
        sums[r * kDim + d] += x * static_cast<float>(element(pane, column_place(r, step, c), d));
      }
    });
  }
  std::vector<T> pieces(const Sums& sums, const Rows<float>& factor, const T* = nullptr) {
    std::vector<T> result;
    for (int r = 0; r < count(); r++) {
      for (int d = 0; d < kDim; d++) result.push_back(static_cast<T>(sums[r * kDim + d] * factor[r]));
    }
    return result;
  }
  void store(const std::vector<T>& pieces, T* image, const Rows<int>& at) {
    for (int r = 0; r < count(); r++) {
      for (int d = 0; at[r] >= 0 && d < kDim; d++) image[at[r] + d] = pieces[r * kDim + d];
    }
  }
  void store_rows(const Rows<float>& values, float* image, const Rows<int>& at) {
    for (int r = 0; r < count(); r++) {
      if (at[r] >= 0) image[at[r]] = values[r];
    }
  }

 private:
  template <class F>
  auto each_row(const F& f) {
    return Host<float>::rows(f);
  }
  float* table(int row) { return memory_.tables() + tables_[row / kPatchRows] * kGroups * kGroupValues; }
  int column_place(int row, int step, int c) const { return address_[row / kPatchRows * groups_ * 8 + step * 16 + c]; }
  // Element d of the row that starts at `place`, its pieces in the pane's order.
  static const T& element(const T* pane, int place, int d) { return element(const_cast<T*>(pane), place, d); }
  static T& element(T* pane, int place, int d) {
    constexpr int kPiece = 16 / static_cast<int>(sizeof(T));
    return *reinterpret_cast<T*>(reinterpret_cast<char*>(pane) + (place ^ (d / kPiece * 16)) + d % kPiece * sizeof(T));
  }

  Memory memory_;
  int patches_, groups_;
  std::vector<int> address_, steps_, tables_, own_;
};

}  // namespace natten::cuda
