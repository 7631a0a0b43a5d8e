/*
 * bench.h - speed of the kernels on the layers they run for, beside what the processor could do.
 */
#ifndef TESTS_KERNELS_BENCH_H
#define TESTS_KERNELS_BENCH_H

#include "codec/kernels/kernels.h"
#include "tests/support/random_model.h"

typedef struct kernel_variant {
    vqz_cpu cpu;
    const char *name;
    vqzi_kernels kernels;
} kernel_variant;

/* A convolution whose biases are as large as the overflow proof allows, and the codes of a plane;
   entries (count, dims) receives their plain form.  test_kernels.c */
void conv_init(vqzi_conv *conv, int32_t *offsets, test_random *random, uint32_t in_channels,
               uint32_t out_channels, uint32_t kernel, uint32_t stride);
void conv_clear(vqzi_conv *conv);
void codes_init(vqzi_codes *codes, int16_t *entries, test_random *random, uint32_t count,
                uint32_t dims, int32_t reach);
void codes_clear(vqzi_codes *codes);

/* Multiply-accumulates a second of a loop that only runs this instruction set's multiplication on
   registers: vpmaddwd (without the additions its kernels need), vpdpwssd, smlal; 0 where there is
   no such loop. */
double peak_macs(vqz_cpu cpu);

/* Prints a table, one thread; also as CSV to a file unless that is NULL.  Returns an exit code. */
int bench_kernels(const kernel_variant *variants, size_t count, const char *csv);

#endif
