# GoNATTEN, one command per task. `make` alone lists them.
#
# GONATTEN_CACHE, LIBTORCH and LIBTORCH_VERSION (docs/install.md) come from the environment or the command line.

WORKERS ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
PREFIX ?= /usr/local
DESTDIR ?=
# Arguments for natten in `make train` and `make bench`: make train ARGS="--epochs 2"
ARGS ?=

# CUDA=1 builds build/lib/libnatten_cuda.so as well, for CUDA_ARCH ("8.0 9.0"; docs/cuda-kernels.md).
CUDA ?= 0
CUDA_ARCH ?=

export WORKERS CUDA CUDA_ARCH

VERSION := $(or $(shell git describe --tags --always --dirty 2>/dev/null),unknown)
IN_ENV := scripts/env

# Where the command looks for libraries, first to last: its libtorch, then libnatten installed beside it or just built.
RUNPATH = $$($(IN_ENV) --torch)/lib:\$$ORIGIN/../lib:\$$ORIGIN/../build/lib
GO_LDFLAGS = -X main.version=$(VERSION) -r $(RUNPATH)

# A make within this one: make's own -j stands where it was given; recipes that call it begin with +, which hands on
# the job slots. (Only recipes see LIBTORCH= of the command line.)
SUBMAKE = $(MAKE) $(if $(filter -j%,$(MAKEFLAGS)),,-j$(WORKERS)) --no-print-directory
CSRC = $(SUBMAKE) -C csrc TORCH=$$($(IN_ENV) --torch) BUILD=$(CURDIR)/build

.PHONY: help setup ready lib gotch build test cuda-check test-setup test-csrc test-sanitize test-examples train bench lint \
  fmt install clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Options: WORKERS=$(WORKERS) PREFIX=$(PREFIX) LIBTORCH= LIBTORCH_VERSION= GONATTEN_CACHE= CUDA= CUDA_ARCH= ARGS="

setup: ## put libtorch into the cache folder (once)
	@scripts/setup

# Before each build. What was built against another libtorch goes.
ready:
	@scripts/setup --quiet
	@mkdir -p build
	@$(IN_ENV) > build/env.sh.new
	@cmp -s build/env.sh.new build/env.sh || { rm -rf build/lib build/bin build/obj; mv build/env.sh.new build/env.sh; }
	@rm -f build/env.sh.new
	@$(IN_ENV) --pkg-config "$(VERSION)" > build/natten.pc

lib: ready
	+@$(CSRC) lib $(if $(filter-out 0,$(CUDA)),cuda CUDA_HOME=$$($(IN_ENV) --cuda) NCCL=$$($(IN_ENV) --nccl))

cuda-check: ## compile the CUDA kernels for sm_90a, check what the compiler made of them (no GPU needed)
	+@$(MAKE) --no-print-directory lib CUDA=1 CUDA_ARCH=9.0
	@scripts/cuda-report --check

# gotch is one long compilation on one core: it goes beside the library's many.
gotch: ready
	@$(IN_ENV) go build -v -p $(WORKERS) github.com/sugarme/gotch/libtch

build: ready ## build the library and the natten command (the first time also gotch: minutes)
	+@$(SUBMAKE) lib gotch
	$(IN_ENV) go build -v -p $(WORKERS) -buildvcs=false -ldflags "$(GO_LDFLAGS)" -o bin/natten ./cmd/natten

# Go keeps test results by what the Go code says; after a change of the library they are made anew until they pass.
test: build test-setup test-csrc ## build, vet and run all tests
	$(IN_ENV) go vet ./...
	$(IN_ENV) go test -p $(WORKERS) -timeout 20m \
	  $$([ -z "$$(find build/lib -name '*.so' -newer build/tested 2>&1)" ] || echo -count=1) ./...
	@touch build/tested

test-setup:
	@scripts/test-setup

# The library's own tests: kernels, their memory, the operators' contract, and the CUDA tile programs on the host.
TEST_PROGRAMS = cpu-test cpu-pool contract-test tile-test hopper-test
test-csrc: build
	+@$(CSRC) $(TEST_PROGRAMS)
	build/bin/cpu-test
	build/bin/cpu-test 60 1 emulated
	build/bin/cpu-pool
	build/bin/contract-test 2000
	build/bin/tile-test
	build/bin/hopper-test

SANITIZED = $(CURDIR)/build/sanitize
# g++ 13 aligns frames wrongly for AVX-512 where the sanitizer keeps them after return, its default (GCC's bug 110027).
ASAN = detect_leaks=0:detect_stack_use_after_return=0
test-sanitize: ready ## run the library's tests under the address and undefined-behaviour sanitizers
	+@$(CSRC) SANITIZE=address,undefined CXXFLAGS="-O1 -g1" BUILD=$(SANITIZED) cpu-test cpu-pool contract-test
	ASAN_OPTIONS=$(ASAN) $(SANITIZED)/bin/cpu-test 30
	ASAN_OPTIONS=$(ASAN) $(SANITIZED)/bin/cpu-test 20 1 emulated
	ASAN_OPTIONS=$(ASAN) $(SANITIZED)/bin/cpu-pool
	ASAN_OPTIONS=$(ASAN):allocator_may_return_null=1 $(SANITIZED)/bin/contract-test 1000

# Each is a Go module of its own, built as a user would: with the exports that natten prints.
test-examples: build ## build and run the modules under examples/
	@set -e; for module in examples/*/go.mod; do \
	  echo "$${module%/go.mod}"; \
	  settings=$$(bin/natten env); \
	  (eval "$$settings"; cd "$${module%/go.mod}" && go vet ./... && go run .); \
	done

train: build ## train the small NAT on Fashion-MNIST, from nothing to a model and its curve
	bin/natten train $(ARGS)

bench: build ## time the operators against their peers in libtorch
	bin/natten bench $(ARGS)

.PHONY: peers check-peers bench-peers
bench-peers: build ## time operators, counting, training step and loader beside Python's (minutes; ARGS="--only loader")
	scripts/bench-peers $(ARGS)

peers: ## make the Python environment of the projects compared with (once: minutes, about 8 GB)
	scripts/peers-env

check-peers: build ## compare operators, messages and compiled graphs with NATTEN and PyTorch in Python
	scripts/check-peers $(ARGS)

lint: ready ## check formatting, go vet, staticcheck, shellcheck
	@scripts/lint

fmt: ## format the Go and C++ sources
	@scripts/lint --fix

# Does not build as another user: what stands in build/ is what is installed.
install: ## install command, libraries, header and pkg-config file under PREFIX
	@[ -x bin/natten ] && [ -f build/natten.pc ] || $(MAKE) build
	@case "$(PREFIX)" in *[!A-Za-z0-9_./+=@~-]*|[!/]*) echo "PREFIX is '$(PREFIX)': want an absolute path without special characters" >&2; exit 1;; esac
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/lib/pkgconfig \
	  $(DESTDIR)$(PREFIX)/share/gonatten
	install -m 755 bin/natten $(DESTDIR)$(PREFIX)/bin
	install -m 755 build/lib/*.so $(DESTDIR)$(PREFIX)/lib
	install -m 644 csrc/natten.h $(DESTDIR)$(PREFIX)/include
	sed 's|@PREFIX@|$(PREFIX)|' build/natten.pc > $(DESTDIR)$(PREFIX)/lib/pkgconfig/natten.pc
	sed 's|$(CURDIR)/build/lib|$(PREFIX)/lib|' build/env.sh > $(DESTDIR)$(PREFIX)/share/gonatten/env.sh

clean: ## remove what was built (the cache folder stays)
	rm -rf build bin
