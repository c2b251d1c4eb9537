// What tile_test.cpp runs of the window program; window_test.cpp has it.
#pragma once

namespace natten::cuda::test {

// Runs the window program on random configurations; returns how many failed.
int check_windows(int configurations, unsigned seed);

}  // namespace natten::cuda::test
