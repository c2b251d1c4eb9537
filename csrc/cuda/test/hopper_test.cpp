// The boxes, chunks and masks of the wgmma kernel on the CPU: attention summed
// tile by tile as the kernel does it, with what its copies would bring, against
// the definition in double. Needs neither nvcc nor a GPU.
//
//   hopper-test [configurations = 60] [seed = 1]
//
// Prints each failure with the seed that repeats it; exit status 1 when there is one.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "../../cpu/test/reference.h"
#include "../hopper_geometry.h"

namespace natten::cuda::hopper::test {
namespace {

using natten::cpu::test::Reference;

int failures = 0;

void fail(unsigned seed, const std::string& what, const Problem& p) {
  failures++;
  std::printf("seed %u: %s: rank %d dim %d", seed, what.c_str(), p.rank, static_cast<int>(p.dim));
  for (const Axis& axis : p.axis) {
    std::printf(" [n%d k%d d%d s%d%s]", static_cast<int>(axis.length), static_cast<int>(axis.kernel),
                static_cast<int>(axis.dilation), static_cast<int>(axis.stride), axis.causal ? " causal" : "");
  }
  std::printf("\n");
}

// What a box copy brings: `dim` numbers of each token of a box, zeros where the box leaves the tensor.
std::vector<double> copy_box(const Problem& p, const std::vector<double>& from, const Tile& tile, const int* place,
                             const int* box) {
  std::vector<double> to;
  for (int i0 = 0; i0 < box[0]; i0++) {
    for (int i1 = 0; i1 < box[1]; i1++) {
      for (int i2 = 0; i2 < box[2]; i2++) {
        const int at[kAxes] = {place[0] + i0, place[1] + i1, place[2] + i2};
        int64_t token = 0;
        bool inside = true;
        for (int a = 0; a < kAxes; a++) {
          const int64_t x = tile.residue[a] + at[a] * p.axis[a].dilation;
          inside = inside && x >= 0 && x < p.axis[a].length;
          token = token * p.axis[a].length + x;
        }
        for (int64_t d = 0; d < p.dim; d++) {
          to.push_back(inside ? from[(tile.batch * p.tokens() + token) * p.dim + d] : 0.0);
        }
      }
    }
  }
  return to;
}

struct Sums {
  double top = -std::numeric_limits<double>::infinity(), total = 0;
  std::vector<double> values;
};

void run_tile(const Problem& p, const Plan& plan, const Reference& r, int64_t item, std::vector<double>& out,
              unsigned seed) {
  const Tile tile = tile_at(p, plan.tiling, item);
  if (!tile.exists) return;
  const Box keys = keys_of_tile(tile);
  const ChunkGrid grid = grid_of(plan, keys);
  int rows_box[kAxes];
  for (int a = 0; a < kAxes; a++) rows_box[a] = 1 << plan.tiling.log[a];
  const std::vector<double> q = copy_box(p, r.q, tile, tile.origin, rows_box);
  std::vector<Sums> sums(kRows);
  for (Sums& s : sums) s.values.assign(p.dim, 0.0);
  for (int half = 0; half < kHalves; half++) {
    const Reach reach = chunks_of_half(plan, tile, keys, grid, half);
    if (reach.end > grid.total()) fail(seed, "a half reaches beyond the chunks", p);
    for (int chunk = reach.begin; chunk < reach.end; chunk++) {
      int origin[kAxes], place[kAxes];
      grid.origin(plan, chunk, origin);
      for (int a = 0; a < kAxes; a++) place[a] = keys.first[a] + origin[a];
      const std::vector<double> k = copy_box(p, r.k, tile, place, plan.chunk),
                                v = copy_box(p, r.v, tile, place, plan.chunk);
      for (int row = half * kRows / kHalves; row < (half + 1) * kRows / kHalves; row++) {
        const RowWindow window = row_window(plan, tile, keys, row);
        for (int quarter = 0; quarter < 4; quarter++) {
          const uint64_t bits = visible_columns(plan, window, origin, quarter);
          if (grid.count[2] == 1) {
            const int start[kAxes] = {0, 0, 0};
            const uint64_t inner = visible_columns(plan, along_last_axis(window), start, quarter);
            if ((inner & visible_lines(plan, window, origin)) != bits) fail(seed, "lines and columns disagree", p);
          }
          if ((bits & ~kAllColumns) != 0) fail(seed, "more columns than there are", p);
          for (int bit = 0; bit < 2 * kGroups; bit++) {
            if (!(bits >> bit & 1)) continue;
            const int column = bit / 2 * 8 + quarter * 2 + bit % 2;
            if (column >= chunk_size(plan)) {
              fail(seed, "a column that no copy brings", p);
              continue;
            }
            double logit = 0;
            for (int64_t d = 0; d < p.dim; d++) logit += q[row * p.dim + d] * k[column * p.dim + d];
            logit *= p.scale;
            Sums& s = sums[row];
            const double top = std::max(s.top, logit), rescale = std::exp(s.top - top), weight = std::exp(logit - top);
            s.top = top;
            s.total = s.total * rescale + weight;
            for (int64_t d = 0; d < p.dim; d++) s.values[d] = s.values[d] * rescale + weight * v[column * p.dim + d];
          }
        }
      }
    }
  }
  for (int row = 0; row < kRows; row++) {
    int at[kAxes];
    if (!row_place(plan.tiling, tile, row, at)) {
      if (sums[row].total != 0) fail(seed, "a row that does not exist sees keys", p);
      continue;
    }
    int64_t token = 0;
    for (int a = 0; a < kAxes; a++) {
      token = token * p.axis[a].length + tile.residue[a] + (tile.origin[a] + at[a]) * p.axis[a].dilation;
    }
    for (int64_t d = 0; d < p.dim; d++) {
      out[(tile.batch * p.tokens() + token) * p.dim + d] = sums[row].values[d] / sums[row].total;
    }
  }
}

Problem random_problem(std::mt19937& random) {
  const auto pick = [&](std::initializer_list<int64_t> values) { return *(values.begin() + random() % values.size()); };
  Problem p;
  p.rank = 1 + static_cast<int>(random() % 3);
  p.batch = pick({1, 1, 2});
  p.heads = p.kv_heads = 1;
  p.dim = p.value_dim = 2;
  for (int a = kAxes - p.rank; a < kAxes; a++) {
    Axis& axis = p.axis[a];
    axis.kernel = p.rank == 1   ? pick({7, 33, 70, 200, 401})
                  : p.rank == 2 ? pick({2, 7, 13, 24, 30})
                                : pick({1, 3, 6, 9});
    axis.dilation = pick({1, 1, 1, 2, 3, 8});
    axis.stride = random() % 3 == 0 ? 1 + static_cast<int64_t>(random() % axis.kernel) : 1;
    axis.causal = random() % 4 == 0;
    axis.length = axis.kernel * axis.dilation + static_cast<int64_t>(random() % (p.rank == 1   ? 300
                                                                                 : p.rank == 2 ? 30
                                                                                               : 6));
    while (axis.length > (p.rank == 1 ? 1600 : p.rank == 2 ? 60 : 14) && axis.dilation > 1) {
      axis.length -= axis.kernel;
      axis.dilation--;
    }
  }
  p.scale = 0.7;
  return p;
}

void check(unsigned seed) {
  std::mt19937 random(seed);
  const Problem p = random_problem(random);
  double products;
  const Plan plan = plan_of(p, &products);
  if (products < 0) {
    // 128 queries in a row, so far apart that no box holds them.
    if (p.rank > 1 || p.axis[2].dilation < 3) fail(seed, "no plan", p);
    return;
  }
  if (plan.chunk[2] % 8 != 0 || chunk_size(plan) > kColumns) return fail(seed, "a chunk does not fit", p);
  std::normal_distribution<double> normal;
  Reference r;
  for (auto* x : {&r.q, &r.k, &r.v, &r.dout}) {
    x->resize(p.batch * p.tokens() * p.dim);
    for (double& value : *x) value = normal(random);
  }
  compute(p, r);
  std::vector<double> out(r.out.size(), std::numeric_limits<double>::quiet_NaN());
  for (int64_t item = 0; item < plan.tiling.items; item++) run_tile(p, plan, r, item, out, seed);
  double worst = 0;
  for (size_t i = 0; i < out.size(); i++) {
    const double error = std::abs(out[i] - r.out[i]);
    if (!(error <= worst)) worst = std::isnan(error) ? 1e30 : error;
  }
  if (worst > 1e-9) fail(seed, "out off by " + std::to_string(worst), p);
}

// The shape the kernel was made for: no column of a chunk is lost, and little is multiplied in vain.
void check_large() {
  Problem p;
  p.rank = 2;
  p.batch = 1;
  p.heads = p.kv_heads = 24;
  p.dim = p.value_dim = 128;
  p.axis[1] = p.axis[2] = {256, 80, 1, 1, false};
  double products;
  plan_of(p, &products);
  const double useful = 65536.0 * 6400;
  if (products / useful > 1.25) fail(0, "products for each useful one: " + std::to_string(products / useful), p);
}

}  // namespace
}  // namespace natten::cuda::hopper::test

int main(int argc, char** argv) {
  using namespace natten::cuda::hopper::test;
  const int configurations = argc > 1 ? std::atoi(argv[1]) : 60;
  const unsigned seed = argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 1;
  check_large();
  for (int i = 0; i < configurations; i++) check(seed + static_cast<unsigned>(i));
  std::printf("wgmma kernel's tiles: %d configurations from seed %u, %d failures\n", configurations, seed, failures);
  return failures == 0 ? 0 : 1;
}
