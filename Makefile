# vqz - see README.md.  `make help` lists the targets.
#
# Variables: CC, CFLAGS, PREFIX, DESTDIR, WERROR=1 (warnings are errors, as in CI), SAN=address,undefined
CC ?= gcc
PREFIX ?= /usr/local
CFLAGS ?= -O2 -g
BUILD ?= build
DEFAULT_MODEL ?= samples/default.vqm

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -I. -fPIC -fvisibility=hidden -fopenmp $(WARN) \
             $(if $(WERROR),-Werror) $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer) $(CFLAGS)
ALL_LDFLAGS = -fopenmp $(if $(SAN),-fsanitize=$(SAN)) $(LDFLAGS)

LIB_SRC := $(wildcard format/*.c codec/*.c codec/kernels/*.c codec/kernels/x86/*.c)
TRAIN_SRC := $(wildcard trainer/*.c)
CLI_SRC := $(wildcard cli/*.c)
TEST_SRC := $(wildcard tests/*/test_*.c)
SUPPORT_SRC := $(wildcard tests/support/*.c)
objects = $(patsubst %.c,$(BUILD)/%.o,$(1))
LIB_OBJ := $(call objects,$(LIB_SRC))
TRAIN_OBJ := $(call objects,$(TRAIN_SRC))
CLI_OBJ := $(call objects,$(CLI_SRC))
SUPPORT_OBJ := $(call objects,$(SUPPORT_SRC))
TESTS := $(patsubst %.c,$(BUILD)/%,$(TEST_SRC))

LIB_LIBS := -lzstd -lm
CLI_LIBS := -lpng -ljpeg -ldnnl $(LIB_LIBS)

.PHONY: all
all: vqz libvqz.a libvqz.so.0

# Kernels for one instruction set are compiled for it and chosen at run time; the trainer is float
# code, where the compiler may reassociate and may use what the machine has only through oneDNN.
$(BUILD)/codec/kernels/x86/%_avx2.o: ALL_CFLAGS += -mavx2
$(BUILD)/trainer/%.o: ALL_CFLAGS += -O3 -fno-math-errno -fno-trapping-math
$(BUILD)/codec/default_model.o: ALL_CFLAGS += -DVQZI_DEFAULT_MODEL='"$(DEFAULT_MODEL)"'
$(BUILD)/codec/default_model.o: $(DEFAULT_MODEL)

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

libvqz.a: $(LIB_OBJ)
	rm -f $@ && $(AR) rcs $@ $^

libvqz.so.0: $(LIB_OBJ)
	$(CC) $(ALL_LDFLAGS) -shared -Wl,-soname,$@ -o $@ $^ $(LIB_LIBS)

$(BUILD)/libtrainer.a: $(TRAIN_OBJ)
	rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/libcli.a: $(filter-out %/main.o,$(CLI_OBJ))
	rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/libsupport.a: $(SUPPORT_OBJ)
	rm -f $@ && $(AR) rcs $@ $^

vqz: $(BUILD)/cli/main.o $(BUILD)/libcli.a $(BUILD)/libtrainer.a libvqz.a
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(CLI_LIBS)

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(BUILD)/libsupport.a $(BUILD)/libcli.a $(BUILD)/libtrainer.a libvqz.a
	$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcmocka $(CLI_LIBS)

.PHONY: tests
tests: vqz $(TESTS)

.PHONY: clean
clean:
	rm -rf $(BUILD) vqz libvqz.a libvqz.so.0

-include $(LIB_OBJ:.o=.d) $(TRAIN_OBJ:.o=.d) $(CLI_OBJ:.o=.d) $(SUPPORT_OBJ:.o=.d) $(TESTS:=.d)
