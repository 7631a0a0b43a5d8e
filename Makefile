# vqz - see README.md.  `make help` lists the targets.
#
# Variables
#   CC, CFLAGS, LDFLAGS    as everywhere; CC=clang needs libomp-dev (make deps CC=clang installs it)
#   BUILD=build            where objects and tests go; give each compiler or setting its own
#   WERROR=1               warnings are errors; set by itself when CI is set
#   SAN=address,undefined  sanitizers
#   PREFIX, DESTDIR        for install and uninstall (LIBDIR, INCLUDEDIR, MANDIR too)
#   DEFAULT_MODEL          the .vqm that is built in
#   HOSTCC                 the compiler for programs that the build runs: CC, or cc where CC compiles for
#                          other machines; zstd is needed here too
#   MPICC=mpicc            MPI's compiler, for training in several processes; MPICC= leaves that out
#   TRAINER=               leaves `vqz train` out, and with it oneDNN, which not every processor has
#   V=1                    show whole command lines
#   T=unit/test_x          make check: only tests whose path contains this word
#   FUZZ=decode, TIME=60   make fuzz: the targets, and seconds for each
ifeq ($(origin CC),default)
CC := gcc
endif
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
CFLAGS ?= -O2 -g
BUILD ?= build
DEFAULT_MODEL ?= samples/default.vqm
TRAINER ?= 1
ifdef CI
WERROR ?= 1
endif

# Debian packages: everything that building and testing needs, in this one list.
DEPS := gcc g++ libc6-dev make pkg-config libzstd-dev libpng-dev libjpeg62-turbo-dev \
        $(if $(TRAINER),libdnnl-dev) libcmocka-dev zlib1g-dev $(if $(findstring clang,$(CC)),clang libomp-dev)
# The header each library is recognised by where there is no dpkg.
DEP_HEADERS := zstd.h png.h jpeglib.h $(if $(TRAINER),dnnl.h) omp.h cmocka.h zlib.h
DEP_NAMES := zstd, libpng, libjpeg-turbo, oneDNN (C API; not with TRAINER=), OpenMP, cmocka, zlib, with their headers

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I. -fPIC -fvisibility=hidden -fopenmp $(WARN) \
             $(if $(WERROR),-Werror) $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer) $(CFLAGS)
ALL_LDFLAGS = -fopenmp $(if $(SAN),-fsanitize=$(SAN)) $(LDFLAGS)

# Folders of kernels for instruction sets that this processor family does not have stay out.
MACHINE := $(shell $(CC) -dumpmachine 2>/dev/null)
HOSTCC ?= $(if $(filter $(shell uname -m)-%,$(MACHINE)),$(CC),cc)
ISA_SRC := $(if $(filter x86_64-%,$(MACHINE)),$(wildcard codec/kernels/x86/*.c)) \
           $(if $(filter aarch64-%,$(MACHINE)),$(wildcard codec/kernels/arm/*.c))
LIB_SRC := $(wildcard format/*.c codec/*.c codec/kernels/*.c) $(ISA_SRC)
TRAIN_SRC := $(filter-out trainer/missing.c,$(wildcard trainer/*.c)) \
             $(if $(filter x86_64-%,$(MACHINE)),$(wildcard trainer/x86/*.c))
CLI_SRC := $(wildcard cli/*.c)
TEST_SRC := $(wildcard tests/*/test_*.c)
TEST_SCRIPTS := $(wildcard tests/*/test_*.sh)
ifeq ($(TRAINER),)
TRAIN_SRC := $(wildcard trainer/corpus*.c) $(addprefix trainer/,cluster.c missing.c random.c)
TEST_SRC := $(filter-out tests/train/% tests/grad/% tests/unit/test_trainer.c tests/cli/test_kill.c,$(TEST_SRC))
MPICC :=
endif
SUPPORT_SRC := $(wildcard tests/support/*.c)
KERNEL_BENCH_SRC := tests/kernels/bench.c tests/kernels/peak.c
BENCH_SRC := $(wildcard tests/bench/*.c)
# Prints what is made instead of the whole command, unless V=1.
say = $(if $(V),,@echo '  $(1) $@';)
objects = $(patsubst %.c,$(BUILD)/%.o,$(1))
LIB_OBJ := $(call objects,$(LIB_SRC))
TRAIN_OBJ := $(call objects,$(TRAIN_SRC))
CLI_OBJ := $(call objects,$(CLI_SRC))
SUPPORT_OBJ := $(call objects,$(SUPPORT_SRC))
FUZZ ?= decode model picture roundtrip
FUZZ_SRC := $(wildcard tests/fuzz/*.c)
REPLAYS := $(patsubst tests/fuzz/fuzz_%.c,$(BUILD)/tests/fuzz/replay_%,$(wildcard tests/fuzz/fuzz_*.c))
TESTS := $(patsubst %.c,$(BUILD)/%,$(TEST_SRC)) $(REPLAYS)

LIB_LIBS := -lzstd -lm
CLI_LIBS := -lpng -ljpeg $(LIB_LIBS)
# The module that is linked with MPI; the program loads it under mpirun and runs without it otherwise.
MPICC ?= mpicc
MPI_MODULE := $(if $(MPICC),$(shell echo '\#include <mpi.h>' | $(MPICC) -E -x c - >/dev/null 2>&1 && \
                                    echo vqz-mpi.so))
PRODUCTS := vqz libvqz.a libvqz.so.0 $(MPI_MODULE)

version_part = $(shell awk '$$2 == "VQZ_VERSION_$(1)" { print $$3 }' codec/vqz.h)
VERSION = $(call version_part,MAJOR).$(call version_part,MINOR).$(call version_part,PATCH)

# As many jobs as processors for targets that build for the user, unless make was told a number.
JOBS = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 2))

# Objects of tests stay, or every check would compile them again.
.SECONDARY:

.PHONY: all
all: $(PRODUCTS)

# What is built lives under $(BUILD); the copies at the top are what people run.  They are compared,
# not dated, so that changing BUILD cannot leave the program of another compiler there.
.PHONY: FORCE
FORCE:
$(PRODUCTS): %: $(BUILD)/% FORCE
	@cmp -s $< $@ || { rm -f $@ && cp -p $< $@; }

# Changed flags rebuild everything: this file changes only when they do.
FLAGS_NOW = $(CC) $(ALL_CFLAGS) / $(ALL_LDFLAGS) / $(DEFAULT_MODEL) / $(TRAINER)
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(subst ','\'',$(FLAGS_NOW))' | cmp -s - $@ || echo '$(subst ','\'',$(FLAGS_NOW))' > $@

# Flags of one file are private, or $(BUILD)/flags, which the file depends on, would be made with them.
# Kernels for one instruction set are compiled for it and chosen at run time.  Reading a model is loops
# over its weights that every start waits for.  The trainer is float code, where errno and traps do not
# matter; its convolutions are products and sums that may be fused.
$(BUILD)/codec/kernels/x86/%_avx2.o: private ALL_CFLAGS += -mavx2
$(BUILD)/codec/kernels/x86/%_avxvnni.o: private ALL_CFLAGS += -mavx2 -mavxvnni
$(BUILD)/codec/kernels/x86/%_avx512.o: private ALL_CFLAGS += -mavx512bw
$(BUILD)/codec/kernels/x86/%_avx512vnni.o: private ALL_CFLAGS += -mavx512bw -mavx512vnni
# gcc's first scheduling would load more at once than the registers of the NEON kernels have room for.
$(BUILD)/codec/kernels/arm/%_neon.o: private ALL_CFLAGS += $(if $(findstring clang,$(CC)),,-fno-schedule-insns)
$(BUILD)/format/model_%.o $(BUILD)/format/prior_%.o: private ALL_CFLAGS += -O3
$(BUILD)/trainer/%.o: private ALL_CFLAGS += -O3 -fno-math-errno -fno-trapping-math
$(BUILD)/trainer/winograd_portable.o: private ALL_CFLAGS += -ffp-contract=fast
$(BUILD)/trainer/x86/%_avx2.o: private ALL_CFLAGS += -ffp-contract=fast -mavx2 -mfma
$(BUILD)/trainer/x86/%_avx512.o: private ALL_CFLAGS += -ffp-contract=fast -mavx512f
$(BUILD)/trainer/x86/%_avx512bf16.o: private ALL_CFLAGS += -ffp-contract=fast -mavx512bf16
$(BUILD)/tests/bench/bench_train.o: private ALL_CFLAGS += -O3 -fno-math-errno -fno-trapping-math
$(BUILD)/codec/default_model.o: private ALL_CFLAGS += -DVQZI_DEFAULT_MODEL='"$(DEFAULT_MODEL)"' \
    -DVQZI_DEFAULT_BODY='"$(BUILD)/default.body"'
$(BUILD)/codec/default_model.o: $(DEFAULT_MODEL) $(BUILD)/default.body

$(BUILD)/%.o: %.c Makefile $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC  ) $(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# The model that is built in is checked and inflated here, once, and not at every start.  The program that
# does so runs on the machine that builds.
HOST_OBJ := $(patsubst %.c,$(BUILD)/host/%.o,codec/host/unpack_model.c $(wildcard format/*.c))
$(BUILD)/host/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,HOST) $(HOSTCC) -std=c11 -D_GNU_SOURCE -I. -O2 -fopenmp $(WARN) -MMD -MP -c -o $@ $<
$(BUILD)/host/unpack_model: $(HOST_OBJ)
	$(call say,HOST) $(HOSTCC) -fopenmp -o $@ $^ -lzstd
$(BUILD)/default.body: $(BUILD)/host/unpack_model $(DEFAULT_MODEL) $(BUILD)/flags
	$(call say,MAKE) $< $(DEFAULT_MODEL) $@

$(BUILD)/libvqz.a: $(LIB_OBJ)
	$(call say,AR  ) rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/libvqz.so.0: $(LIB_OBJ)
	$(call say,LINK) $(CC) $(ALL_LDFLAGS) -shared -Wl,-soname,$(@F) $(if $(SAN),,-Wl,-z,defs) -o $@ $^ $(LIB_LIBS)

$(BUILD)/libtrainer.a: $(TRAIN_OBJ)
	$(call say,AR  ) rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/libcli.a: $(filter-out %/main.o,$(CLI_OBJ))
	$(call say,AR  ) rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/libsupport.a: $(SUPPORT_OBJ)
	$(call say,AR  ) rm -f $@ && $(AR) rcs $@ $^

# OMPI_CC and MPICH_CC: the compiler under mpicc.
$(BUILD)/vqz-mpi.so: trainer/mpi/module.c trainer/cluster_module.h Makefile $(BUILD)/flags
	$(call say,MPICC) OMPI_CC='$(CC)' MPICH_CC='$(CC)' $(MPICC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -shared -o $@ $<

$(BUILD)/vqz: $(BUILD)/cli/main.o $(BUILD)/libcli.a $(BUILD)/libtrainer.a $(BUILD)/libvqz.a
	$(call say,LINK) $(CC) $(ALL_LDFLAGS) -o $@ $^ $(CLI_LIBS)

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(BUILD)/libsupport.a $(BUILD)/libcli.a $(BUILD)/libtrainer.a \
                  $(BUILD)/libvqz.a
	$(call say,LINK) $(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) -lcmocka $(CLI_LIBS)

# A fuzz target: run by libFuzzer (in the build of `make fuzz` alone), or over its corpus.
FUZZ_PARTS := $(BUILD)/tests/fuzz/common.o $(BUILD)/libsupport.a $(BUILD)/libcli.a $(BUILD)/libvqz.a
link_fuzz = $(call say,LINK) $(CC) $(ALL_LDFLAGS) $(1) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(CLI_LIBS) -lz
$(BUILD)/tests/fuzz/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/libfuzzer.o $(FUZZ_PARTS)
	$(call link_fuzz,-fsanitize=fuzzer)
$(BUILD)/tests/fuzz/replay_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/replay.o $(FUZZ_PARTS)
	$(call link_fuzz)
$(BUILD)/tests/fuzz/seeds: $(BUILD)/tests/fuzz/seeds.o $(FUZZ_PARTS)
	$(call link_fuzz)

$(BUILD)/tests/kernels/test_kernels: $(call objects,$(KERNEL_BENCH_SRC))

# Files and pixels for check-machines; links with no more than the library, which other machines have.
$(BUILD)/tests/machines/encodes: $(call objects,tests/machines/encodes.c tests/support/random_model.c \
                                   tests/support/random_prior.c) $(BUILD)/libvqz.a
	$(call say,LINK) $(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIB_LIBS)

# Benchmarks of several files.  launch is as small as a program can be: see its comment.
BENCH_CODEC := $(BUILD)/tests/bench/bench_codec $(BUILD)/tests/bench/launch
$(BUILD)/tests/bench/bench_codec: $(call objects,$(wildcard tests/bench/codec_*.c))
BENCH_RD := $(BUILD)/tests/bench/bench_rd
$(BENCH_RD): $(call objects,$(wildcard tests/bench/rd_*.c))
BENCH_ENTROPY := $(BUILD)/tests/bench/bench_entropy
$(BENCH_CODEC) $(BENCH_RD) $(BENCH_ENTROPY): $(BUILD)/tests/bench/common.o
$(BUILD)/tests/bench/test_rd: $(BUILD)/tests/bench/rd_curve.o
$(BUILD)/tests/bench/launch: $(BUILD)/tests/bench/launch.o
	$(call say,LINK) $(CC) $(ALL_LDFLAGS) -Wl,--as-needed -o $@ $<

# Drives the second decoder; makes the conformance vectors.
CONFORMANCE := $(BUILD)/tests/conformance/random_files $(BUILD)/tests/conformance/make_vectors
VECTOR_SRC := tests/conformance/vector_models.c tests/conformance/vector_files.c
$(BUILD)/tests/conformance/make_vectors: $(call objects,$(VECTOR_SRC))

.PHONY: tests
tests: all $(TESTS) $(BENCH_CODEC) $(BENCH_RD) $(BENCH_ENTROPY) $(CONFORMANCE)

# ---- for people ----

.PHONY: deps
deps:
	@CC='$(CC)' NAMES='$(DEP_NAMES)' HEADERS='$(DEP_HEADERS)' tests/support/deps.sh $(DEPS)

# Every binary is run from here with VQZ naming the program; see tests/support/run.sh.
.PHONY: check
check:
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory $(JOBS) tests
	@VQZ='$(abspath $(BUILD)/vqz)' VQZ_BUILD='$(abspath $(BUILD))' CC='$(CC)' \
	    LINK_FLAGS='$(ALL_LDFLAGS)' tests/support/run.sh '$(T)' $(TESTS) $(TEST_SCRIPTS)

# The second decoder beside the library, on the vectors and on many random models and files.
.PHONY: check-spec
check-spec: $(CONFORMANCE)
	@VQZ_BUILD='$(abspath $(BUILD))' CC='$(CC)' LINK_FLAGS='$(ALL_LDFLAGS)' COUNT=$(or $(COUNT),1000) SEED=$(SEED) \
	    tests/conformance/test_second_decoder.sh

# SIGKILL at COUNT random moments of compress, decompress and train; SEED=n: other moments.
.PHONY: check-kill
check-kill: $(BUILD)/vqz $(BUILD)/tests/cli/test_kill
	@VQZ='$(abspath $(BUILD)/vqz)' OMP_WAIT_POLICY=passive COUNT=$(or $(COUNT),200) \
	    $(if $(SEED),SEED=$(SEED)) $(BUILD)/tests/cli/test_kill

# The same bytes and pixels on other processors, cross-compiled and run under qemu; see the script.
#   MACHINES="aarch64 s390x"          of aarch64 s390x riscv64 i386; s390x is big-endian, i386 has 32 bits
#   MACHINE_TESTS="unit/test_rans"    tests/*/test_* to run there
MACHINES ?= aarch64 s390x riscv64 i386
MACHINE_TESTS ?= kernels/test_kernels unit/test_example \
                 $(patsubst tests/%.c,%,$(wildcard tests/conformance/test_vectors.c))
.PHONY: check-machines
check-machines: $(BUILD)/vqz $(BUILD)/tests/machines/encodes
	@MAKE='$(MAKE) $(JOBS)' NATIVE='$(BUILD)' TESTS='$(MACHINE_TESTS)' \
	    tests/machines/machines.sh check $(BUILD)/machines $(MACHINES)

# The cross compilers, qemu and libraries that it needs: packages of Debian 12.
.PHONY: deps-machines
deps-machines:
	@tests/machines/machines.sh deps $(BUILD)/machines $(MACHINES)

# The kernels for AVX-512, its VNNI, and AVX-VNNI on processors that Bochs emulates; see the script.
#   SETS="avx512"    of avx512 avx512vnni avxvnni        PART=1   all cases of test_kernels, not every 4th
#   BOCHS=program    another one than Debian 12's, which has no processor with AVX-VNNI
AVX512_BUILD := $(BUILD)/avx512
.PHONY: check-avx512
check-avx512:
	@$(MAKE) --no-print-directory $(JOBS) TRAINER= BUILD=$(AVX512_BUILD) \
	    $(addprefix $(AVX512_BUILD)/,vqz tests/kernels/test_kernels tests/machines/encodes)
	@BOCHS='$(BOCHS)' SETS='$(SETS)' PART='$(PART)' tests/machines/bochs.sh check $(AVX512_BUILD)

# Bochs, what makes a CD to boot from, and a kernel: packages of Debian 12.
.PHONY: deps-avx512
deps-avx512:
	@tests/machines/bochs.sh deps $(AVX512_BUILD)

# Hostile bytes: clang's libFuzzer with the sanitizers, each target for TIME seconds from the committed
# seeds and what earlier runs found ($(FUZZ_BUILD)/corpus).  See tests/README.md.
FUZZ_BUILD ?= build-fuzz
TIME ?= 60
.PHONY: fuzz
fuzz:
	@$(MAKE) --no-print-directory $(JOBS) CC=clang BUILD=$(FUZZ_BUILD) SAN=address,undefined \
	    CFLAGS='-O1 -g -fsanitize=fuzzer-no-link -fno-sanitize-recover=all' \
	    $(FUZZ:%=$(FUZZ_BUILD)/tests/fuzz/fuzz_%)
	@tests/fuzz/run.sh $(FUZZ_BUILD) $(TIME) $(FUZZ)

# The seeds anew, after a change of a format or of tests/support/random_model.c.
.PHONY: fuzz-seeds
fuzz-seeds: $(BUILD)/tests/fuzz/seeds
	@$<

.PHONY: demo
demo:
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory $(JOBS) all
	@samples/demo.sh $(BUILD)/vqz $(BUILD)/demo

# The demo's pictures, drawn again from their program (about ten minutes on two processors).
.PHONY: pictures
pictures: $(BUILD)/samples/render/render
	@for scene in stilllife lake pebbles; do \
	    $(BUILD)/samples/render/render $$scene samples/pictures/$$scene.png || exit 1; done

$(BUILD)/samples/render/%.o: private ALL_CFLAGS += -O3 -fno-math-errno -fno-trapping-math
$(BUILD)/samples/render/render: $(call objects,$(wildcard samples/render/*.c))
	$(call say,LINK) $(CC) $(ALL_LDFLAGS) -o $@ $^ -lpng -lm

.PHONY: install
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR) \
	    $(DESTDIR)$(MANDIR)/man1
	install -m 755 $(BUILD)/vqz $(DESTDIR)$(PREFIX)/bin/vqz
	$(if $(MPI_MODULE),install -d $(DESTDIR)$(PREFIX)/lib/vqz)
	$(if $(MPI_MODULE),install -m 644 $(BUILD)/$(MPI_MODULE) $(DESTDIR)$(PREFIX)/lib/vqz/$(MPI_MODULE))
	install -m 644 $(BUILD)/libvqz.a $(DESTDIR)$(LIBDIR)/libvqz.a
	install -m 755 $(BUILD)/libvqz.so.0 $(DESTDIR)$(LIBDIR)/libvqz.so.0
	ln -sf libvqz.so.0 $(DESTDIR)$(LIBDIR)/libvqz.so
	install -m 644 codec/vqz.h $(DESTDIR)$(INCLUDEDIR)/vqz.h
	sed -e 's,@PREFIX@,$(PREFIX),' -e 's,@LIBDIR@,$(LIBDIR),' -e 's,@INCLUDEDIR@,$(INCLUDEDIR),' \
	    -e 's,@VERSION@,$(VERSION),' vqz.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/vqz.pc
	install -m 644 spec/vqz.1 $(DESTDIR)$(MANDIR)/man1/vqz.1

.PHONY: uninstall
uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/vqz $(DESTDIR)$(LIBDIR)/libvqz.a $(DESTDIR)$(LIBDIR)/libvqz.so.0 \
	    $(DESTDIR)$(LIBDIR)/libvqz.so $(DESTDIR)$(INCLUDEDIR)/vqz.h \
	    $(DESTDIR)$(LIBDIR)/pkgconfig/vqz.pc $(DESTDIR)$(MANDIR)/man1/vqz.1 \
	    $(DESTDIR)$(PREFIX)/lib/vqz/vqz-mpi.so
	@rmdir $(DESTDIR)$(PREFIX)/lib/vqz 2>/dev/null || true

# ---- for those who work on it ----

SOURCES = $(LIB_SRC) codec/host/unpack_model.c $(TRAIN_SRC) trainer/mpi/module.c $(CLI_SRC) $(TEST_SRC) $(KERNEL_BENCH_SRC) \
          $(SUPPORT_SRC) $(FUZZ_SRC) $(BENCH_SRC) $(CONFORMANCE:$(BUILD)/%=%.c) $(VECTOR_SRC) \
          spec/decoder/vqzdec.c $(wildcard samples/render/*.c tests/machines/*.c) trainer/missing.c
HEADERS = $(wildcard codec/*.h codec/kernels/*.h codec/kernels/*/*.h format/*.h trainer/*.h cli/*.h \
            tests/support/*.h tests/fuzz/*.h tests/conformance/*.h tests/bench/*.h tests/kernels/*.h samples/render/*.h)

.PHONY: format
format:
	clang-format -i $(SOURCES) $(HEADERS)

# Static analysis of what reads hostile bytes; a finding fails.  What is left out, and why:
# tests/README.md.  LINTED="$(echo trainer/*.c)" looks at the trainer.
LINTED ?= $(filter-out format/common.c codec/kernels/x86/%,$(LIB_SRC) $(CLI_SRC))
TIDY_CHECKS := -*,bugprone-*,clang-analyzer-*,-bugprone-easily-swappable-parameters
TIDY_CHECKS := $(TIDY_CHECKS),-bugprone-implicit-widening-of-multiplication-result
TIDY_CHECKS := $(TIDY_CHECKS),-clang-analyzer-security.insecureAPI.*,-clang-analyzer-deadcode.DeadStores
TIDY_CHECKS := $(TIDY_CHECKS),-clang-analyzer-core.UndefinedBinaryOperatorResult
TIDY_CHECKS := $(TIDY_CHECKS),-clang-analyzer-core.uninitialized.Assign
TIDY_CHECKS := $(TIDY_CHECKS),-bugprone-sizeof-expression,-clang-analyzer-valist.Uninitialized
.PHONY: lint
lint:
	cppcheck --std=c11 --language=c -I. --enable=warning,performance,portability --inline-suppr \
	    --suppress=missingIncludeSystem --error-exitcode=1 --quiet $(LINTED)
	clang-tidy --quiet --warnings-as-errors='*' --checks='$(TIDY_CHECKS)' $(LINTED) -- \
	    -std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I. -fopenmp -include tests/support/analyzer.h

# gcc's analyzer, a file at a time.
.PHONY: analyze
analyze:
	@$(MAKE) --no-print-directory $(JOBS) CC=gcc BUILD=$(BUILD)/analyze WERROR=1 \
	    CFLAGS='-O0 -fanalyzer -Wno-analyzer-malloc-leak -Wno-unused-value -include tests/support/analyzer.h' \
	    $(LINTED:%.c=$(BUILD)/analyze/%.o)
	@echo 'no findings'

# Memory errors and leaks (valgrind), and data races (clang's ThreadSanitizer): see the scripts.
.PHONY: check-valgrind
check-valgrind:
	@$(MAKE) --no-print-directory $(JOBS) $(BUILD)/vqz $(REPLAYS)
	@tests/support/check_valgrind.sh $(BUILD)

.PHONY: check-tsan
check-tsan:
	@$(MAKE) --no-print-directory $(JOBS) CC=clang BUILD=$(BUILD)/tsan SAN=thread CFLAGS='-O1 -g' \
	    $(patsubst %,$(BUILD)/tsan/%,vqz tests/unit/test_team tests/unit/test_threads \
	    tests/unit/test_shared_model tests/cli/test_parallel)
	@tests/support/check_tsan.sh $(BUILD)/tsan

# Speed, memory and start-up beside the programs of WebP, AVIF and JPEG XL (Debian: webp, libavif-bin,
# libjxl-tools), then the kernels and training; also in $(BUILD)/bench as bench.md and bench.csv.
#   FOLDER=pictures  LARGE=picture (else copies of one picture: 13.4 megapixels, HUGE=1: 100)
#   QUALITY=80       of vqz; QUICK=1: everything once, nothing large
.PHONY: bench
bench: all $(BENCH_CODEC) $(BUILD)/tests/kernels/test_kernels \
       $(patsubst %.c,$(BUILD)/%,$(wildcard tests/bench/bench_*.c))
	@VQZ='$(abspath $(BUILD)/vqz)' $(BUILD)/tests/bench/bench_codec -o $(BUILD)/bench \
	    $(if $(QUICK),-n 1 -s 0) $(if $(QUALITY),-q $(QUALITY)) $(if $(HUGE),-s 100) \
	    $(if $(LARGE),-l '$(LARGE)') '$(MODEL)' '$(FOLDER)'
	@$(MAKE) --no-print-directory bench-speed CSV=$(BUILD)/bench/kernels.csv >$(BUILD)/bench/speed.txt
	@$(MAKE) --no-print-directory bench-train $(if $(QUICK),SECONDS=1) >$(BUILD)/bench/train.txt
	@{ printf '\n## Networks and kernels\n\n```\n'; cat $(BUILD)/bench/speed.txt; \
	    printf '```\n\n## Training\n'; cat $(BUILD)/bench/train.txt; } | tee -a $(BUILD)/bench/bench.md

# Rate and distortion beside JPEG, WebP, AVIF and JPEG XL (Debian: libjpeg-turbo-progs, webp, libavif-bin,
# libjxl-tools) on a folder of pictures; also $(BUILD)/bench/rd.md, rd.csv (every picture) and rd.svg.
#   MODEL=file.vqm     none: the others alone
#   QUALITIES=1,50,100 of vqz; else one for each level of the model.  EFFORT=9 of its encoder
#   RANGE=0.1:0.9      bits per pixel that BD-rate and the plot are about
#   LIMIT=40           so many pictures, spread evenly over the folder
#   PEERS=webp,jxl     of jpeg webp avif400 avif420 avif444 jxl, or none
#   ALPHA=1            pictures keep their alpha, else they are put on white first
#   RD_JOBS=2          pictures side by side; else as many as there are processors
#   TITLE=Kodak        of the report and the plot; else the folder
#   RD_OUT=build/bench/rd, BENCH_CACHE=build/bench/cache   where reports and the peers' results go
MODEL ?= $(DEFAULT_MODEL)
FOLDER ?= samples/pictures
RD_OUT ?= $(BUILD)/bench/rd
BENCH_CACHE ?= $(BUILD)/bench/cache
.PHONY: bench-rd
bench-rd: $(BENCH_RD) $(BUILD)/tests/bench/launch
	@$(BENCH_RD) $(if $(filter none,$(MODEL)),,-m '$(MODEL)') -o '$(RD_OUT)' -c '$(BENCH_CACHE)' \
	    $(if $(QUALITIES),-q '$(QUALITIES)') $(if $(RANGE),-r '$(RANGE)') $(if $(EFFORT),-e $(EFFORT)) $(if $(LIMIT),-n $(LIMIT)) \
	    $(if $(PEERS),-p '$(PEERS)') $(if $(RD_JOBS),-j $(RD_JOBS)) $(if $(ALPHA),-a) \
	    $(if $(TITLE),-t '$(TITLE)') '$(FOLDER)'

# Bytes of real files of both entropy coders beside the cross-entropy, under the float networks, of the
# codes in them: MODEL, the PRESET that it was trained with, FOLDER.
PRESET ?= photo
.PHONY: bench-entropy
bench-entropy: $(BENCH_ENTROPY)
	@$(BENCH_ENTROPY) '$(MODEL)' '$(PRESET)' '$(FOLDER)'

# Training speed of the presets' networks; speed of the integer kernels on the default model's layers
# for every instruction set of this processor, beside that of their multiplications alone.
.PHONY: bench-speed
bench-speed: $(BUILD)/tests/bench/bench_network $(BUILD)/tests/kernels/test_kernels
	@$(BUILD)/tests/bench/bench_network
	@$(BUILD)/tests/kernels/test_kernels --bench $(if $(CSV),--csv '$(CSV)')

# Whole training steps beside PyTorch's (Debian: python3-torch libopenblas0) on pictures of FOLDER; SECONDS: of each
# measurement.  Where PyTorch is missing it says so and our half is measured.
PYTHON ?= /usr/bin/python3
SECONDS ?= 4
.PHONY: bench-train
bench-train: $(BUILD)/tests/bench/bench_train
	@mkdir -p $(BUILD)/bench
	@$(PYTHON) tests/bench/pytorch_train.py --seconds $(SECONDS) >$(BUILD)/bench/pytorch.csv || true
	@$(BUILD)/tests/bench/bench_train -s $(SECONDS) -c $(BUILD)/bench/train.csv '$(FOLDER)' \
	    <$(BUILD)/bench/pytorch.csv

# Makes the conformance vectors again; adds those that spec/vectors lacks and changes none.
.PHONY: vectors
vectors: $(BUILD)/tests/conformance/make_vectors
	@rm -rf $(BUILD)/vectors && $< $(BUILD)/vectors
	@tests/conformance/keep_vectors.sh $(BUILD)/vectors spec/vectors

.PHONY: clean
clean:
	rm -rf $(BUILD) $(PRODUCTS)

.PHONY: help
help:
	@echo 'make             the program vqz, libvqz.a and libvqz.so.0'
	@echo 'make demo        compress the sample pictures and bring them back (build/demo)'
	@echo 'make check       build and run every test; T=word: only those whose path has the word'
	@echo 'make check-spec  the second decoder (spec/decoder) beside the library; COUNT=1000 SEED=1'
	@echo 'make check-kill  COUNT=200: kill compress, decompress and train so often, and look what is left'
	@echo 'make check-machines  the codec on other processors under qemu; make deps-machines installs what it needs'
	@echo 'make check-avx512  AVX-512 and VNNI on processors emulated by Bochs; make deps-avx512 installs what it needs'
	@echo 'make deps        install the Debian packages that are missing (demo and check do so too)'
	@echo 'make install     to PREFIX ($(PREFIX)), below DESTDIR; make uninstall removes it again'
	@echo 'make pictures    draw samples/pictures again'
	@echo 'make bench       speed, memory, start-up beside WebP, AVIF and JPEG XL (build/bench);'
	@echo '                 FOLDER=pictures LARGE=picture HUGE=1 QUALITY=80 QUICK=1'
	@echo 'make bench-rd    bytes, PSNR, MS-SSIM, BD-rate beside JPEG, WebP, AVIF and JPEG XL (build/bench);'
	@echo '                 MODEL=file.vqm FOLDER=pictures RANGE=0.1:0.9 QUALITIES=1,50,100 EFFORT=9 LIMIT=40'
	@echo '                 PEERS=webp,jxl ALPHA=1 BENCH_CACHE=folder'
	@echo 'make bench-entropy  files beside the cross-entropy of their codes; MODEL=file.vqm PRESET=photo'
	@echo 'make bench-speed GMAC/s of training and of the integer kernels (CSV=file: these as a table)'
	@echo 'make bench-train training steps beside PyTorch; FOLDER=pictures SECONDS=4'
	@echo 'make vectors     the conformance vectors (spec/vectors): new ones are added, none is changed'
	@echo 'make format      clang-format all sources'
	@echo 'make lint        cppcheck and clang-tidy; make analyze: gcc -fanalyzer'
	@echo 'make check-valgrind, make check-tsan: memory errors, data races'
	@echo 'make fuzz        libFuzzer and the sanitizers; TIME=60 seconds each of FUZZ="$(FUZZ)"'
	@echo 'make clean       remove $(BUILD)/ and the products'
	@echo 'Variables: CC CFLAGS LDFLAGS BUILD WERROR=1 V=1 SAN=address,undefined PREFIX DESTDIR'
	@echo '           DEFAULT_MODEL MPICC; see the top of the Makefile'

-include $(LIB_OBJ:.o=.d) $(HOST_OBJ:.o=.d) $(TRAIN_OBJ:.o=.d) $(CLI_OBJ:.o=.d) $(SUPPORT_OBJ:.o=.d) $(TESTS:=.d) \
         $(CONFORMANCE:=.d) $(VECTOR_SRC:%.c=$(BUILD)/%.d) \
         $(patsubst %.c,$(BUILD)/%.d,$(KERNEL_BENCH_SRC) $(BENCH_SRC) $(FUZZ_SRC) tests/machines/encodes.c)
