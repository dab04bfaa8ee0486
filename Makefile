# metavar: GNU make. `make help` lists the targets.
.DEFAULT_GOAL := all
SHELL := /bin/bash
ifeq ($(origin CC),default)
CC := gcc
endif
BUILD ?= build
OPT ?= -O2
SAN ?=

VERSION := $(shell cat VERSION)
WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wno-psabi -Wno-missing-field-initializers
# -ffp-contract=off and no -ffast-math: the same bits from every compiler and instruction set.
COMMON := -std=gnu17 -g $(OPT) $(WARN) -ffp-contract=off -fno-math-errno -Iinclude -I$(BUILD) -MMD -MP $(SAN)
ARCH := $(shell uname -m)

HDF5_CFLAGS = $(shell pkg-config --cflags hdf5-serial 2>/dev/null || pkg-config --cflags hdf5)
HDF5_LIBS = $(shell pkg-config --libs-only-L hdf5-serial 2>/dev/null || pkg-config --libs-only-L hdf5) -lhdf5_hl -lhdf5
MPI_CFLAGS = $(shell mpicc --showme:compile)
MPI_LIBS = $(shell mpicc --showme:link)
LIBS = $(HDF5_LIBS) $(MPI_LIBS) -lyaml -ljansson -lxxhash -lgsl -lgslcblas -lz -lpthread -lm

# Number types and instruction sets of the inner loops (include/metavar/num.h).
ifeq ($(ARCH),x86_64)
VECTORS := x86_64 x86_64_v3 x86_64_v4
else
VECTORS := generic
endif
VARIANTS := scalar shadow $(VECTORS)
FLAGS_scalar := -DMV_NUM=MV_NUM_SCALAR $(if $(SAN),,-O3) # networks run in it: loops over batches become vectors
FLAGS_shadow := -DMV_NUM=MV_NUM_COMPLEX
FLAGS_x86_64 := -DMV_NUM=MV_NUM_LANES -DMV_LANES=2
FLAGS_x86_64_v3 := -DMV_NUM=MV_NUM_LANES -DMV_LANES=4 -march=x86-64-v3
FLAGS_x86_64_v4 := -DMV_NUM=MV_NUM_LANES -DMV_LANES=8 -march=x86-64-v4
FLAGS_generic := -DMV_NUM=MV_NUM_LANES -DMV_LANES=2

TASKS := $(patsubst src/tasks/%.c,%,$(sort $(wildcard src/tasks/*.c)))
ESTIMATORS := $(patsubst src/estimators/%.c,%,$(sort $(wildcard src/estimators/*.c)))
KERNEL_SRC := src/lifetime.c src/unroll.c src/unroll_back.c src/variant.c $(TASKS:%=src/tasks/%.c) $(ESTIMATORS:%=src/estimators/%.c)
FRAME_SRC := $(filter-out src/main.c $(KERNEL_SRC),$(wildcard src/*.c src/commands/*.c analysis/*.c))

KERNEL_OBJ := $(foreach v,$(VARIANTS),$(KERNEL_SRC:src/%.c=$(BUILD)/kernel/$v/%.o))
FRAME_OBJ := $(FRAME_SRC:%.c=$(BUILD)/%.o)
TESTS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(sort $(wildcard tests/test_*.c)))

.PHONY: all
all: $(BUILD)/metavar

# --- generated -------------------------------------------------------------------------------------------
# A file in src/tasks is a task, a file in src/estimators an estimator: the registry follows from the names.
$(BUILD)/registry.h: FORCE
	@mkdir -p $(@D)
	@{ echo '/* generated from file names */'; \
	   $(foreach t,$(TASKS),echo 'MV_REGISTER_TASK($t)';) \
	   $(foreach e,$(ESTIMATORS),echo 'MV_REGISTER_ESTIMATOR($e)';) } > $@.new
	@cmp -s $@ $@.new && rm $@.new || mv $@.new $@
$(BUILD)/kernels.h: FORCE
	@mkdir -p $(@D)
	@{ echo '/* generated: the builds of the inner loops */'; $(foreach v,$(VARIANTS),echo 'MV_REGISTER_KERNEL($v)';) } > $@.new
	@cmp -s $@ $@.new && rm $@.new || mv $@.new $@
# Where the binary comes from; rewritten only when something changed.
GIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)$(shell git diff --quiet HEAD -- src include analysis Makefile 2>/dev/null || echo +)
$(BUILD)/build_info.h: FORCE
	@mkdir -p $(@D)
	@{ echo '#define MV_VERSION "$(VERSION)"'; echo '#define MV_GIT "$(GIT)"'; \
	   echo '#define MV_FLAGS "$(strip -std=gnu17 $(OPT) -ffp-contract=off -fno-math-errno $(SAN))"'; \
	   echo '#define MV_COMPILER "$(shell $(CC) --version | head -n 1)"'; \
	   echo '#define MV_ANALYSIS_DIR "$(CURDIR)/analysis"'; } > $@.new
	@cmp -s $@ $@.new && rm $@.new || mv $@.new $@
.PHONY: FORCE
FORCE:
GENERATED := $(BUILD)/registry.h $(BUILD)/kernels.h $(BUILD)/build_info.h

# --- objects ---------------------------------------------------------------------------------------------
define KERNEL_RULE
$(BUILD)/kernel/$(1)/%.o: src/%.c Makefile | $(GENERATED)
	@mkdir -p $$(@D)
	$(CC) $(COMMON) $$(FLAGS_$(1)) -DMV_VARIANT=$(1) -c $$< -o $$@
endef
$(foreach v,$(VARIANTS),$(eval $(call KERNEL_RULE,$v)))
$(BUILD)/src/store_%.o: COMMON += $(HDF5_CFLAGS)
$(BUILD)/src/comm_mpi.o: COMMON += $(MPI_CFLAGS)
$(BUILD)/%.o: %.c Makefile | $(GENERATED)
	@mkdir -p $(@D)
	$(CC) $(COMMON) -c $< -o $@

$(BUILD)/libmetavar.a: $(FRAME_OBJ) $(KERNEL_OBJ)
	@rm -f $@
	@ar rcs $@ $^
$(BUILD)/metavar: $(BUILD)/src/main.o $(BUILD)/libmetavar.a
	$(CC) $(SAN) $^ $(LIBS) -o $@
$(BUILD)/tests/%: $(BUILD)/tests/%.o $(BUILD)/libmetavar.a
	$(CC) $(SAN) $^ -lcmocka $(LIBS) -o $@
.SECONDARY: $(TESTS:%=%.o)

# --- what people call --------------------------------------------------------------------------------------
PACKAGES := build-essential pkg-config git openmpi-bin libopenmpi-dev libhdf5-dev libgsl-dev libyaml-dev \
            libjansson-dev libxxhash-dev librandom123-dev zlib1g-dev libopenblas0-serial python3 python3-matplotlib
TEST_PACKAGES := $(PACKAGES) xz-utils procps faketime libcmocka-dev clang clang-format binutils python3-h5py python3-xarray python3-h5netcdf \
                 python3-pandas
.PHONY: fuzz print-libs deps deps-test tests test demo bench clean help
# Installs the Debian packages that are missing; says which; does nothing when all are there.
deps:
	@tests/deps.sh $(PACKAGES)
deps-test:
	@tests/deps.sh $(TEST_PACKAGES)

RANKS ?= $(shell nproc)
DEMO ?= runs/demo
export OMPI_MCA_rmaps_base_oversubscribe ?= 1
ifeq ($(shell id -u),0)
export OMPI_ALLOW_RUN_AS_ROOT := 1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM := 1
endif
demo:
	@mkdir -p $(dir $(DEMO))
	@$(MAKE) --no-print-directory deps
	@echo 'metavar: building $(BUILD)/metavar'
	@$(MAKE) --no-print-directory -s -j$(RANKS) all
	mpirun -np $(RANKS) $(BUILD)/metavar run jobs/demo.yaml -o $(DEMO) --progress 5
	$(BUILD)/metavar analyze $(DEMO)
	$(BUILD)/metavar plot $(DEMO)
	$(BUILD)/metavar report $(DEMO)

tests: $(BUILD)/metavar $(TESTS)
test: deps-test
	@tests/run.sh
# About 25 minutes on two cores. SEED=N repeats the random choices of a run that printed it.
.PHONY: torture
torture: all
	@failed=0; for driver in kills.py "kills.py --verb train --kills 100" diskfull.py mutants.py; do \
	  /usr/bin/python3 tests/torture/$$driver --metavar $(BUILD)/metavar $(SEED:%=--seed %) || failed=1; done; exit $$failed

# The whole suite with sanitizers and an MPI run under valgrind; about 20 minutes on two cores.
.PHONY: test-memory
test-memory:
	@tests/deps.sh $(TEST_PACKAGES) valgrind
	@tests/run.sh sanitized

# The batch scripts against a real SLURM of three nodes, private to the test; needs root.
SLURM_PACKAGES := $(PACKAGES) slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge iproute2 procps shellcheck
.PHONY: test-slurm
test-slurm:
	@tests/deps.sh $(SLURM_PACKAGES)
	@$(MAKE) --no-print-directory -s -j$(RANKS) all
	@METAVAR=$(abspath $(BUILD))/metavar tests/slurm/test_slurm.sh
$(BUILD)/src/commands/sbatch.o: slurm/metavar.sbatch # is part of the program

# Inner steps per second against the floor of the hardware, for every kernel of this machine; seconds.
BENCH_KERNELS := $(filter-out shadow,$(VARIANTS))
define BENCH_RULE
$(BUILD)/bench/floor_$(1): tests/bench/bench_floor.c tests/bench/bench.h $(BUILD)/libmetavar.a Makefile
	@mkdir -p $$(@D)
	$(CC) $(COMMON) -Itests $$(FLAGS_$(1)) -DMV_BENCH_KERNEL='"$(1)"' $$< $(BUILD)/libmetavar.a -lcmocka $(LIBS) -o $$@
endef
$(foreach v,$(BENCH_KERNELS),$(eval $(call BENCH_RULE,$v)))
bench-floor: $(BENCH_KERNELS:%=$(BUILD)/bench/floor_%)
	@for b in $^; do $$b tests/bench/results/floor.csv || exit 1; done
# Gradients through up to a million steps, forwards and back, with many and few steps kept.
$(BUILD)/bench/reverse: tests/bench/bench_reverse.c tests/bench/bench.h $(BUILD)/libmetavar.a Makefile
	@mkdir -p $(@D)
	$(CC) $(COMMON) -Itests $< $(BUILD)/libmetavar.a -lcmocka $(LIBS) -o $@
bench-reverse: $(BUILD)/bench/reverse
	@$< tests/bench/results/reverse.csv
# Networks against the rate of OpenBLAS, measured in the same run; seconds.
$(BUILD)/bench/network: tests/bench/bench_network.c tests/bench/bench.h $(BUILD)/libmetavar.a Makefile
	@mkdir -p $(@D)
	$(CC) $(COMMON) -O3 -Itests $< $(BUILD)/libmetavar.a -lcmocka $(LIBS) -o $@
bench-network: $(BUILD)/bench/network
	@$< tests/bench/results/network.csv
# 10^7 samples analysed.
bench-analyze: all
	@tests/bench/analyze.sh
# The long study against the same in JAX, on all cores; some eight minutes, after an environment of its own is installed.
JAX_VERSION := 0.10.2
$(BUILD)/jax/installed-$(JAX_VERSION):
	@tests/deps.sh python3-venv
	@for p in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do \
	   $$p -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && python=$$p && break; done; \
	 [ "$$python" ] || { echo 'metavar: jax $(JAX_VERSION) needs Python 3.11 or later with venv' >&2; exit 1; }; \
	 rm -rf $(BUILD)/jax && $$python -m venv $(BUILD)/jax && $(BUILD)/jax/bin/pip install -q 'jax[cpu]==$(JAX_VERSION)'
	@touch $@
bench-jax: all $(BUILD)/jax/installed-$(JAX_VERSION)
	@$(BUILD)/jax/bin/python tests/bench/jax_pairs.py $(BUILD)/metavar $(JAX_VERSION) tests/bench/results/jax.csv
# The maze's inner update against the same in JAX; half a minute, after the environment.
$(BUILD)/bench/update_worker: tests/bench/update_worker.c tests/bench/bench.h $(BUILD)/libmetavar.a Makefile
	@mkdir -p $(@D)
	$(CC) $(COMMON) -O3 -Itests $< $(BUILD)/libmetavar.a -lcmocka $(LIBS) -o $@
bench-jax-update: $(BUILD)/bench/update_worker $(BUILD)/jax/installed-$(JAX_VERSION)
	@$(BUILD)/jax/bin/python tests/bench/jax_update.py $< $(JAX_VERSION) tests/bench/results/update.csv
# The store; the farm against its simulation; one rank and two, idle ranks, memory; many ranks simulated. A few minutes each.
$(BUILD)/bench/%: tests/bench/%.c tests/bench/bench.h $(BUILD)/libmetavar.a Makefile
	@mkdir -p $(@D)
	$(CC) $(COMMON) -Itests/bench $< $(BUILD)/libmetavar.a $(LIBS) -o $@
bench-store: $(BUILD)/bench/bench_store
	@tests/bench/store.sh
bench-farm: $(BUILD)/bench/bench_farm
	@tests/bench/farm.sh
bench-ranks: all
	@/usr/bin/python3 tests/bench/ranks.py
bench-plan: $(BUILD)/bench/bench_plan
	@$< tests/bench/results/plan.csv
bench-reference: all
	@tests/bench/reference.sh
.PHONY: bench-floor bench-reverse bench-network bench-analyze bench-reference bench-store bench-farm bench-ranks bench-plan bench-scale bench-jax bench-jax-update
bench-scale: bench-store bench-farm bench-ranks bench-plan
bench: bench-floor bench-reverse bench-network bench-analyze bench-reference bench-scale

fuzz:
	@tests/fuzz/run.sh $(FUZZ_SECONDS)
print-libs:
	@echo $(LIBS)

clean:
	rm -rf build build-*
help:
	@echo 'make demo      install what is missing, build, run a reduced study on all cores, analyse, draw'
	@echo 'make test      install what is missing, build with gcc, clang and sanitizers, run every test'
	@echo 'make test-slurm  the batch scripts against a private SLURM: limits, signals, preemption, requeueing (root)'
	@echo 'make test-memory every test with sanitizers, an MPI run under valgrind'
	@echo 'make torture   300 kills at random moments, 50 full disks, 2000 damaged files; half an hour'
	@echo 'make           build $(BUILD)/metavar          make clean     remove everything built'
	@echo 'make fuzz      libFuzzer with sanitizers on the job-file reader and on run directories, FUZZ_SECONDS=600 each'
	@echo 'make bench     inner steps per second of every kernel against the floor, walks back, networks against dgemm,'
	@echo '               analysis of 10^7 samples, the reference against fd: lines in tests/bench/results/'
	@echo 'make bench-jax the long study against the same in JAX, which it installs in $(BUILD)/jax: lines in tests/bench/results/'
	@echo 'make bench-jax-update  the inner update of the maze, and its tangent, against the same in JAX'
	@echo 'make bench-scale the part of it that is about many ranks: bench-store, bench-farm, bench-ranks, bench-plan'
	@echo 'make deps      install missing Debian packages (root or sudo); deps-test: those of the tests too'

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
