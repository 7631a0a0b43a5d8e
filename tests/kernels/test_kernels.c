/*
 * test_kernels.c - every kernel variant against the reference, bit for bit, and their speed.
 *
 *   test_kernels            checks; SEED=n replays a run
 *   test_kernels --bench    prints GMAC/s of each variant on one thread
 *
 * Inputs are random, all near the minimum, all near the maximum, or a mix of both ends; biases are
 * as large as the overflow proof of format/model.h allows.  Destinations are guarded on both sides.
 */
#include "codec/kernels/kernels.h"
#include "tests/support/random_model.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { GUARD = 64, GUARD_VALUE = 0x5a5a };

static uint64_t seed;

static const struct {
    vqz_cpu cpu;
    const char *name;
} variants[] = {{VQZ_CPU_AVX2, "avx2"}};

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(VQZI_MAX(count, (size_t)1), size);
    assert_non_null(memory);
    return memory;
}

/* A value of the given style in low..high. */
static int16_t draw(test_random *random, int style, int32_t low, int32_t high) {
    int32_t near = test_random_range(random, 0, 2);
    switch (style) {
    case 0: return (int16_t)test_random_range(random, low, high);
    case 1: return (int16_t)VQZI_MIN(low + near, high);
    case 2: return (int16_t)VQZI_MAX(high - near, low);
    default: return (int16_t)(test_random_next(random) & 1 ? low : high);
    }
}

static void fill(test_random *random, int style, int16_t *values, size_t count) {
    for (size_t i = 0; i < count; i++)
        values[i] = draw(random, style, INT16_MIN, INT16_MAX);
}

/* ---- convolution ---- */

static void conv_init(vqzi_conv *conv, int32_t *offsets, test_random *random, uint32_t in_channels,
                      uint32_t out_channels, uint32_t kernel, uint32_t stride) {
    uint32_t blocks = (out_channels + VQZI_CONV_BLOCK - 1) / VQZI_CONV_BLOCK;
    int style = test_random_range(random, 0, 3), activation = test_random_range(random, 0, 2);
    uint32_t bits = (uint32_t)test_random_range(random, 2, 16);
    size_t taps = (size_t)kernel * kernel * in_channels, run = (size_t)kernel * in_channels;
    int32_t reach = (int32_t)VQZI_MIN((size_t)INT16_MAX, ((size_t)INT32_MAX - 131072) / taps >> 15);

    memset(conv, 0, sizeof *conv);
    conv->in_channels = in_channels;
    conv->out_channels = out_channels;
    conv->kernel = kernel;
    conv->stride = stride;
    conv->pairs = (uint32_t)((run + 1) / 2);
    conv->slope = activation == VQZI_LEAKY ? test_random_range(random, 1, 8) : 0;
    conv->maximum = (1 << (bits - 1)) - 1;
    conv->minimum = activation == VQZI_RELU ? 0 : -conv->maximum - 1;
    conv->weights = allocate((size_t)blocks * kernel * conv->pairs * VQZI_CONV_BLOCK, 4);
    conv->shifts = allocate((size_t)blocks * VQZI_CONV_BLOCK, sizeof *conv->shifts);
    for (uint32_t o = 0; o < out_channels; o++) {
        int64_t sum = 0;
        for (uint32_t ky = 0; ky < kernel; ky++)
            for (size_t i = 0; i < run; i++) {
                int16_t w = draw(random, style, -reach, reach);
                size_t pair = (o / VQZI_CONV_BLOCK * kernel + ky) * conv->pairs + i / 2;
                conv->weights[(pair * VQZI_CONV_BLOCK + o % VQZI_CONV_BLOCK) * 2 + i % 2] = w;
                sum += abs(w);
            }
        conv->shifts[o] = test_random_range(random, 0, 20);
        int32_t room = (int32_t)(INT32_MAX - 32768 - (sum << 15));
        offsets[o] = test_random_next(random) & 1 ? room : -room;
    }
}

static void conv_clear(vqzi_conv *conv) {
    free(conv->weights);
    free(conv->shifts);
}

static void check_conv(test_random *random, const vqzi_kernels *reference,
                       const vqzi_kernels *variant, uint32_t in_channels, uint32_t out_channels,
                       uint32_t kernel, uint32_t stride, uint32_t width) {
    vqzi_conv conv;
    int32_t *offsets = allocate(out_channels + VQZI_CONV_BLOCK, sizeof *offsets);
    conv_init(&conv, offsets, random, in_channels, out_channels, kernel, stride);
    size_t pitch = ((size_t)(width - 1) * stride + kernel) * in_channels;
    size_t src_count = pitch * kernel + VQZI_KERNEL_SLACK, dst_count = (size_t)width * out_channels;
    int16_t *src = allocate(src_count, sizeof *src);
    int16_t *add = allocate(dst_count, sizeof *add);
    int16_t *expected = allocate(dst_count, sizeof *expected);
    int16_t *actual = allocate(dst_count + 2 * GUARD, sizeof *actual);
    fill(random, test_random_range(random, 0, 3), src, src_count);
    fill(random, test_random_range(random, 0, 3), add, dst_count);
    for (size_t i = 0; i < dst_count + 2 * GUARD; i++)
        actual[i] = GUARD_VALUE;

    vqzi_conv_job job = {&conv, offsets, src, pitch,
                         test_random_next(random) & 1 ? add : NULL, expected, width};
    reference->conv(&job);
    job.dst = actual + GUARD;
    variant->conv(&job);
    if (memcmp(expected, actual + GUARD, dst_count * sizeof *actual) != 0)
        fail_msg("conv differs: in %u out %u kernel %u stride %u width %u", in_channels,
                 out_channels, kernel, stride, width);
    for (size_t i = 0; i < GUARD; i++)
        if (actual[i] != GUARD_VALUE || actual[GUARD + dst_count + i] != GUARD_VALUE)
            fail_msg("conv writes outside: in %u out %u kernel %u stride %u width %u", in_channels,
                     out_channels, kernel, stride, width);
    free(src);
    free(add);
    free(expected);
    free(actual);
    free(offsets);
    conv_clear(&conv);
}

static void test_conv(void **state) {
    static const uint32_t inputs[] = {1, 2, 3, 4, 5, 16, 33}, outputs[] = {1, 3, 8, 15, 16, 17, 40};
    static const uint32_t widths[] = {1, 2, 3, 4, 5, 6, 7, 11, 12, 25};
    (void)state;
    for (size_t v = 0; v < sizeof variants / sizeof *variants; v++) {
        test_random random = {seed};
        vqzi_kernels reference, variant;
        vqzi_kernels_init(&reference, VQZ_CPU_SCALAR);
        vqzi_kernels_init(&variant, variants[v].cpu);
        if (variant.conv == reference.conv) {
            print_message("%s: not on this processor\n", variants[v].name);
            skip();
        }
        for (uint32_t kernel = 1; kernel <= 5; kernel++)
            for (uint32_t stride = 1; stride <= 2 && stride <= kernel; stride++)
                for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
                    for (size_t o = 0; o < sizeof outputs / sizeof *outputs; o++)
                        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
                            check_conv(&random, &reference, &variant, inputs[i], outputs[o],
                                       kernel, stride, widths[w]);
    }
}

/* The reference itself on a convolution small enough to work out by hand. */
static void test_conv_by_hand(void **state) {
    vqzi_kernels reference;
    int16_t weights[2 * 2 * 2 * VQZI_CONV_BLOCK] = {0};
    int32_t shifts[VQZI_CONV_BLOCK] = {1}, offsets[VQZI_CONV_BLOCK] = {10 + 1};
    /* 2x2 taps 1 2 / 3 -4, one channel, bias 10, shift 1, add -3, leaky 1/4, 6 bits */
    vqzi_conv conv = {1, 1, 2, 1, 1, weights, shifts, 2, -32, 31};
    const int16_t src[2][5] = {{1, 2, 3, 100, 0}, {4, 5, 60, 7, 0}}, add[4] = {-3, -3, -3, -3};
    int16_t dst[4];
    vqzi_conv_job job = {&conv, offsets, src[0], 5, add, dst, 4};
    (void)state;
    weights[0] = 1;
    weights[1] = 2;
    weights[2 * VQZI_CONV_BLOCK] = 3;
    weights[2 * VQZI_CONV_BLOCK + 1] = -4;
    vqzi_kernels_init(&reference, VQZ_CPU_SCALAR);
    reference.conv(&job);
    assert_int_equal(dst[0], 1);   /* (5 - 8 + 11) >> 1 = 4, - 3 */
    assert_int_equal(dst[1], -27); /* (8 - 225 + 11) >> 1 = -103, - 3 = -106, >> 2 = -27 (floor) */
    assert_int_equal(dst[2], 31);  /* (203 + 152 + 11) >> 1 = 183, - 3, saturated */
    assert_int_equal(dst[3], 31);  /* (100 + 21 + 11) >> 1 = 66, - 3, saturated */
}

/* ---- activation ---- */

static void test_act(void **state) {
    test_random random = {seed};
    vqzi_kernels reference, variant;
    int16_t src[100], expected[100], actual[100 + GUARD];
    (void)state;
    vqzi_kernels_init(&reference, VQZ_CPU_SCALAR);
    vqzi_kernels_init(&variant, VQZ_CPU_BEST);
    for (int style = 0; style < 4; style++)
        for (size_t count = 0; count <= 100; count++)
            for (int slope = 0; slope <= 8; slope++) {
                int minimum = slope == 0 && (count & 1) ? 0 : INT16_MIN;
                fill(&random, style, src, count);
                for (size_t i = 0; i < 100 + GUARD; i++)
                    actual[i] = GUARD_VALUE;
                reference.act(expected, src, count, slope, minimum);
                variant.act(actual, src, count, slope, minimum);
                assert_memory_equal(expected, actual, count * sizeof *actual);
                assert_int_equal(actual[count], GUARD_VALUE);
                for (size_t i = 0; i < count; i++) {
                    int t = src[i] >= 0 ? src[i] : VQZI_MAX(src[i] >> slope, minimum);
                    assert_int_equal(expected[i], t);
                }
            }
}

/* ---- search ---- */

/* Codes as the quantiser packs them; entries keeps the plain form for the check. */
static void codes_init(vqzi_codes *codes, int16_t *entries, test_random *random, uint32_t count,
                       uint32_t dims, int32_t reach) {
    int style = test_random_range(random, 0, 3);
    codes->codes = count;
    codes->pairs = (dims + 1) / 2;
    codes->blocks = (count + VQZI_SEARCH_BLOCK - 1) / VQZI_SEARCH_BLOCK;
    size_t padded = (size_t)codes->blocks * VQZI_SEARCH_BLOCK;
    codes->packed = allocate(padded * codes->pairs, 4);
    codes->base = allocate(padded, sizeof *codes->base);
    for (size_t k = 0; k < padded; k++) {
        codes->base[k] = k < count ? test_random_range(random, 0, 50) : INT32_MAX;
        for (size_t d = 0; d < dims && k < count; d++) {
            int16_t e = draw(random, style, -reach, reach);
            entries[k * dims + d] = e;
            codes->base[k] += e * e;
            codes->packed[((k / VQZI_SEARCH_BLOCK * codes->pairs + d / 2) * VQZI_SEARCH_BLOCK +
                           k % VQZI_SEARCH_BLOCK) * 2 + d % 2] = (int16_t)(-2 * e);
        }
    }
}

static void check_search(test_random *random, const vqzi_kernels *reference,
                         const vqzi_kernels *variant, uint32_t count, uint32_t dims) {
    enum { RESIDUALS = 23 };
    vqzi_codes codes;
    int16_t *entries = allocate((size_t)count * dims, sizeof *entries);
    int32_t reach = dims > 32 ? 2047 : 4095;
    if (test_random_next(random) & 1)
        reach = 3; /* many ties */
    codes_init(&codes, entries, random, count, dims, reach);
    size_t padded = (size_t)codes.pairs * 2;
    int16_t *residuals = allocate(padded * RESIDUALS, sizeof *residuals);
    uint16_t expected[RESIDUALS], actual[RESIDUALS + 1];
    int style = test_random_range(random, 0, 3);
    for (size_t i = 0; i < RESIDUALS; i++)
        for (size_t d = 0; d < dims; d++)
            residuals[i * padded + d] = draw(random, style, -reach - 1, reach);
    for (size_t n = 1; n <= RESIDUALS; n += 11) {
        actual[n] = 0xabcd;
        reference->search(&codes, residuals, n, expected);
        variant->search(&codes, residuals, n, actual);
        assert_int_equal(actual[n], 0xabcd);
        if (memcmp(expected, actual, n * sizeof *actual) != 0)
            fail_msg("search differs: %u codes of %u dims", count, dims);
    }
    for (size_t i = 0; i < RESIDUALS; i++) { /* and the reference against the definition */
        int64_t best = INT64_MAX;
        uint32_t best_code = 0;
        for (uint32_t k = 0; k < count; k++) {
            int64_t cost = codes.base[k];
            for (size_t d = 0; d < dims; d++)
                cost -= 2 * residuals[i * padded + d] * entries[k * dims + d];
            if (cost < best) {
                best = cost;
                best_code = k;
            }
        }
        assert_int_equal(expected[i], best_code);
    }
    free(codes.packed);
    free(codes.base);
    free(entries);
    free(residuals);
}

static void test_search(void **state) {
    static const uint32_t counts[] = {2, 7, 8, 9, 16, 17, 100, 256, 1000};
    static const uint32_t dims[] = {1, 2, 3, 4, 8, 15, 64};
    test_random random = {seed};
    vqzi_kernels reference, variant;
    (void)state;
    vqzi_kernels_init(&reference, VQZ_CPU_SCALAR);
    vqzi_kernels_init(&variant, VQZ_CPU_BEST);
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
        for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
            for (int repeat = 0; repeat < 4; repeat++)
                check_search(&random, &reference, &variant, counts[c], dims[d]);
}

/* ---- speed ---- */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Best of several short runs: other work on the machine only slows a run down. */
static void bench_conv(const vqzi_kernels *kernels, const char *name, uint32_t in_channels,
                       uint32_t out_channels, uint32_t kernel) {
    enum { WIDTH = 64, HEIGHT = 32 };
    test_random random = {1};
    vqzi_conv conv;
    int32_t *offsets = allocate(out_channels + VQZI_CONV_BLOCK, sizeof *offsets);
    conv_init(&conv, offsets, &random, in_channels, out_channels, kernel, 1);
    size_t pitch = (WIDTH + 4) * (size_t)in_channels, count = pitch * (HEIGHT + 4);
    int16_t *src = allocate(count + VQZI_KERNEL_SLACK, sizeof *src);
    int16_t *dst = allocate((size_t)WIDTH * out_channels, sizeof *dst);
    fill(&random, 0, src, count);
    double macs = (double)WIDTH * HEIGHT * in_channels * out_channels * kernel * kernel, best = 0;
    for (double start = now(); now() - start < 0.5;) {
        double begin = now();
        for (size_t y = 0; y < HEIGHT; y++) {
            vqzi_conv_job job = {&conv, offsets, src + y * pitch, pitch, NULL, dst, WIDTH};
            kernels->conv(&job);
        }
        best = VQZI_MAX(best, macs / (now() - begin));
    }
    printf("conv   %-7s %ux%u %3u -> %3u  %7.1f GMAC/s\n", name, kernel, kernel, in_channels,
           out_channels, best * 1e-9);
    free(src);
    free(dst);
    free(offsets);
    conv_clear(&conv);
}

static void bench_search(const vqzi_kernels *kernels, const char *name, uint32_t count,
                         uint32_t dims) {
    enum { RESIDUALS = 256 };
    test_random random = {1};
    vqzi_codes codes;
    int16_t *entries = allocate((size_t)count * dims, sizeof *entries);
    codes_init(&codes, entries, &random, count, dims, 500);
    int16_t *residuals = allocate((size_t)codes.pairs * 2 * RESIDUALS, sizeof *residuals);
    uint16_t found[RESIDUALS];
    double best = 0;
    for (double start = now(); now() - start < 0.3;) {
        double begin = now();
        kernels->search(&codes, residuals, RESIDUALS, found);
        best = VQZI_MAX(best, RESIDUALS / (now() - begin));
    }
    printf("search %-7s %4u codes x %2u  %9.0f k/s %7.1f GMAC/s\n", name, count, dims, best * 1e-3,
           best * count * dims * 1e-9);
    free(entries);
    free(residuals);
    free(codes.packed);
    free(codes.base);
}

static void bench(vqz_cpu cpu, const char *name) {
    vqzi_kernels kernels;
    vqzi_kernels_init(&kernels, cpu);
    bench_conv(&kernels, name, 96, 96, 3);
    bench_conv(&kernels, name, 96, 96, 1);
    bench_conv(&kernels, name, 128, 128, 3);
    bench_conv(&kernels, name, 32, 48, 3);
    bench_conv(&kernels, name, 3, 64, 4);
    bench_search(&kernels, name, 512, 64);
    bench_search(&kernels, name, 256, 1);
    bench_search(&kernels, name, 256, 4);
}

int main(int argc, char **argv) {
    const char *replay = getenv("SEED");
    seed = replay ? strtoull(replay, NULL, 0) : (uint64_t)time(NULL);
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
        bench(VQZ_CPU_SCALAR, "scalar");
        bench(VQZ_CPU_AVX2, "avx2");
        return 0;
    }
    printf("SEED=%llu\n", (unsigned long long)seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv_by_hand),
        cmocka_unit_test(test_conv),
        cmocka_unit_test(test_act),
        cmocka_unit_test(test_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
