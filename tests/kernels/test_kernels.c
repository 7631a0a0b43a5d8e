/*
 * test_kernels.c - every kernel variant against the reference, bit for bit, and their speed.
 *
 *   test_kernels            checks; SEED=n replays a run, PART=n keeps one case of n
 *   test_kernels --bench    prints the speed of each variant on one thread; --csv FILE writes it too
 *
 * Inputs are random, all near the minimum, all near the maximum, or a mix of both ends; biases are
 * as large as the overflow proof of format/model.h allows.  Destinations are guarded on both sides.
 */
#include "tests/kernels/bench.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { GUARD = 64, GUARD_VALUE = 0x5a5a };

static uint64_t seed;
static int32_t part = 1;

/* Whether a case is left out, for machines that are slow. */
static bool left_out(test_random *random) {
    return test_random_range(random, 1, part) > 1;
}

/* The instruction sets that this processor has, the reference first. */
static kernel_variant variants[8];
static size_t variant_count;

static void find_variants(void) {
    static const struct {
        vqz_cpu cpu;
        const char *name;
    } names[] = {{VQZ_CPU_SCALAR, "scalar"}, {VQZ_CPU_AVX2, "avx2"},
                 {VQZ_CPU_AVX_VNNI, "avxvnni"}, {VQZ_CPU_AVX512, "avx512"},
                 {VQZ_CPU_AVX512_VNNI, "avx512vnni"}, {VQZ_CPU_NEON, "neon"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        kernel_variant *next = &variants[variant_count];
        *next = (kernel_variant){.cpu = names[i].cpu, .name = names[i].name};
        vqzi_kernels_init(&next->kernels, next->cpu);
        if (i == 0 || next->kernels.conv != next[-1].kernels.conv)
            variant_count++;
        else
            printf("%s: not on this processor\n", next->name);
    }
}

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

void conv_init(vqzi_conv *conv, int32_t *offsets, test_random *random, uint32_t in_channels,
               uint32_t out_channels, uint32_t kernel, uint32_t stride) {
    uint32_t blocks = (out_channels + VQZI_CONV_BLOCK - 1) / VQZI_CONV_BLOCK;
    int style = test_random_range(random, 0, 3), activation = test_random_range(random, 0, 2);
    uint32_t bits = (uint32_t)test_random_range(random, 2, 16);
    size_t taps = (size_t)kernel * kernel * in_channels, run = (size_t)kernel * in_channels;
    int32_t reach = (int32_t)VQZI_MIN((size_t)INT16_MAX, ((size_t)INT32_MAX - 131072) / taps >> 15);

    memset(conv, 0, sizeof *conv);
    conv->in_channels = in_channels;
    conv->out_channels = out_channels;
    conv->rows = kernel;
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

void conv_clear(vqzi_conv *conv) {
    free(conv->weights);
    free(conv->shifts);
}

static void check_conv(test_random *random, uint32_t in_channels, uint32_t out_channels,
                       uint32_t kernel, uint32_t stride, uint32_t width, bool with_add) {
    vqzi_conv conv;
    if (left_out(random))
        return;
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
    vqzi_conv_job job = {&conv, offsets, src, pitch, with_add ? add : NULL, expected, width};
    variants[0].kernels.conv(&job);
    job.dst = actual + GUARD;
    for (size_t v = 1; v < variant_count; v++) {
        for (size_t i = 0; i < dst_count + 2 * GUARD; i++)
            actual[i] = GUARD_VALUE;
        variants[v].kernels.conv(&job);
        bool outside = false;
        for (size_t i = 0; i < GUARD; i++)
            outside |= actual[i] != GUARD_VALUE || actual[GUARD + dst_count + i] != GUARD_VALUE;
        bool differs = memcmp(expected, actual + GUARD, dst_count * sizeof *actual) != 0;
        if (outside || differs)
            fail_msg("%s: conv %s: in %u out %u kernel %u stride %u width %u add %d",
                     variants[v].name, outside ? "writes outside" : "differs", in_channels,
                     out_channels, kernel, stride, width, with_add);
    }
    free(src);
    free(add);
    free(expected);
    free(actual);
    free(offsets);
    conv_clear(&conv);
}

/* Every number of outputs with every width, the inputs few (the first layer's) or drawn; then every
   number of inputs. */
static void test_conv(void **state) {
    test_random random = {seed};
    (void)state;
    for (uint32_t kernel = 1; kernel <= 5; kernel += 2)
        for (uint32_t stride = 1; stride <= 2 && stride <= kernel; stride++) {
            for (uint32_t out = 1; out <= 70; out++)
                for (uint32_t width = 1; width <= 20; width++) {
                    uint32_t most = test_random_range(&random, 0, 15) ? 4 : 40;
                    uint32_t in = (uint32_t)test_random_range(&random, 1, (int32_t)most);
                    check_conv(&random, in, out, kernel, stride, width, (out + width) & 1);
                }
            for (uint32_t in = 1; in <= 70; in++)
                for (uint32_t width = 1; width <= 25; width += 6)
                    check_conv(&random, in, (uint32_t)test_random_range(&random, 1, 40), kernel,
                               stride, width, (in + width) & 1);
        }
    for (uint32_t kernel = 2; kernel <= 4; kernel += 2) /* the even kernels of the preset classic */
        for (uint32_t width = 1; width <= 70; width++)
            check_conv(&random, 3, 33, kernel, 2, width, width & 1);
}

/* ---- sums and products of one position ---- */

/* Sums of the upper `rows` rows of a window, started from the offsets or from what is there. */
static void check_sums(test_random *random, uint32_t in_channels, uint32_t out_channels,
                       uint32_t kernel, uint32_t rows, uint32_t width, bool continued) {
    vqzi_conv conv;
    size_t padded = (out_channels + VQZI_CONV_BLOCK - 1u) / VQZI_CONV_BLOCK * VQZI_CONV_BLOCK;
    if (left_out(random))
        return;
    int32_t *offsets = allocate(out_channels + VQZI_CONV_BLOCK, sizeof *offsets);
    conv_init(&conv, offsets, random, in_channels, out_channels, kernel, 1);
    size_t pitch = ((size_t)width - 1 + kernel) * in_channels, count = width * padded;
    size_t src_count = pitch * kernel + VQZI_KERNEL_SLACK;
    int16_t *src = allocate(src_count, sizeof *src);
    int32_t *start = allocate(count, sizeof *start), *expected = allocate(count, sizeof *expected);
    int32_t *actual = allocate(count + 2 * GUARD, sizeof *actual);
    fill(random, test_random_range(random, 0, 3), src, src_count);
    for (size_t i = 0; i < count; i++)
        start[i] = (int32_t)test_random_next(random);
    conv.rows = rows; /* of the weights of the first block; more blocks are not laid out for it */
    if (rows < kernel && out_channels > VQZI_CONV_BLOCK)
        conv.rows = kernel;
    vqzi_conv_job job = {&conv, continued ? NULL : offsets, src, pitch, NULL, NULL, width};
    memcpy(expected, start, count * sizeof *start);
    variants[0].kernels.sums(&job, expected);
    for (size_t v = 1; v < variant_count; v++) {
        for (size_t i = 0; i < count + 2 * GUARD; i++)
            actual[i] = GUARD_VALUE;
        memcpy(actual + GUARD, start, count * sizeof *start);
        variants[v].kernels.sums(&job, actual + GUARD);
        bool outside = false, differs = false;
        for (size_t i = 0; i < GUARD; i++)
            outside |= actual[i] != GUARD_VALUE || actual[GUARD + count + i] != GUARD_VALUE;
        for (uint32_t x = 0; x < width; x++)
            differs |= memcmp(expected + x * padded, actual + GUARD + x * padded,
                              out_channels * sizeof *actual) != 0;
        if (outside || differs)
            fail_msg("%s: sums %s: in %u out %u kernel %u rows %u width %u continued %d",
                     variants[v].name, outside ? "written outside" : "differ", in_channels,
                     out_channels, kernel, rows, width, continued);
    }
    free(src);
    free(start);
    free(expected);
    free(actual);
    free(offsets);
    conv_clear(&conv);
}

/* The reference's sums are those of its convolution: with shift 0 and 16 bits they can be compared. */
static void check_reference_sums(test_random *random) {
    enum { IN = 5, OUT = 19, PADDED = 32, WIDTH = 7, KERNEL = 3, PITCH = (WIDTH + KERNEL - 1) * IN };
    vqzi_conv conv;
    int32_t offsets[OUT + VQZI_CONV_BLOCK], sums[WIDTH * PADDED] = {0};
    int16_t src[PITCH * KERNEL + VQZI_KERNEL_SLACK], dst[WIDTH * OUT], one[PADDED];
    conv_init(&conv, offsets, random, IN, OUT, KERNEL, 1);
    fill(random, 0, src, sizeof src / sizeof *src);
    vqzi_conv_job job = {&conv, offsets, src, PITCH, NULL, dst, WIDTH};
    variants[0].kernels.conv(&job);
    variants[0].kernels.sums(&job, sums);
    conv.pairs = 0; /* nothing to be added: matvec alone finishes the sums */
    for (int x = 0; x < WIDTH; x++) {
        conv.kernel = 0;
        variants[0].kernels.matvec(&conv, sums + x * PADDED, src, one);
        assert_memory_equal(one, dst + x * OUT, OUT * sizeof *dst);
    }
    conv_clear(&conv);
}

static void check_matvec(test_random *random, uint32_t in, uint32_t out) {
    enum { MOST = 320 };
    vqzi_conv conv;
    int32_t offsets[MOST + VQZI_CONV_BLOCK] = {0};
    int16_t expected[MOST], actual[MOST + 2 * GUARD];
    size_t padded = (out + VQZI_CONV_BLOCK - 1u) / VQZI_CONV_BLOCK * VQZI_CONV_BLOCK;
    if (left_out(random))
        return;
    conv_init(&conv, offsets, random, in, out, 1, 1);
    int16_t *src = allocate(in + 1, sizeof *src); /* exact: pairs alone are read */
    fill(random, test_random_range(random, 0, 3), src, in + 1);
    variants[0].kernels.matvec(&conv, offsets, src, expected);
    for (size_t v = 1; v < variant_count; v++) {
        for (size_t i = 0; i < MOST + 2 * GUARD; i++)
            actual[i] = GUARD_VALUE;
        variants[v].kernels.matvec(&conv, offsets, src, actual + GUARD);
        bool outside = false;
        for (size_t i = 0; i < GUARD; i++)
            outside |= actual[i] != GUARD_VALUE || actual[GUARD + padded + i] != GUARD_VALUE;
        if (outside || memcmp(expected, actual + GUARD, out * sizeof *actual) != 0)
            fail_msg("%s: matvec %s: in %u out %u", variants[v].name,
                     outside ? "writes outside" : "differs", in, out);
    }
    free(src);
    conv_clear(&conv);
}

static void test_sums(void **state) {
    test_random random = {seed};
    (void)state;
    check_reference_sums(&random);
    for (uint32_t kernel = 3; kernel <= 5; kernel += 2)
        for (uint32_t out = 1; out <= 70; out++)
            for (uint32_t width = 1; width <= 50; width += 1 + width / 8)
                check_sums(&random, (uint32_t)test_random_range(&random, 1, 9), out, kernel,
                           (uint32_t)test_random_range(&random, 1, (int32_t)kernel), width,
                           (out + width) & 1);
}

static void test_matvec(void **state) {
    test_random random = {seed};
    (void)state;
    for (uint32_t out = 1; out <= 300; out += 1 + out / 40)
        for (uint32_t in = 1; in <= 70; in++)
            check_matvec(&random, in, out);
}

/* The reference itself on a convolution small enough to work out by hand. */
static void test_conv_by_hand(void **state) {
    int16_t weights[2 * 2 * 2 * VQZI_CONV_BLOCK] = {0};
    int32_t shifts[VQZI_CONV_BLOCK] = {1}, offsets[VQZI_CONV_BLOCK] = {10 + 1};
    /* 2x2 taps 1 2 / 3 -4, one channel, bias 10, shift 1, add -3, leaky 1/4, 6 bits */
    vqzi_conv conv = {1, 1, 2, 2, 1, 1, weights, shifts, 2, -32, 31};
    const int16_t src[2][5] = {{1, 2, 3, 100, 0}, {4, 5, 60, 7, 0}}, add[4] = {-3, -3, -3, -3};
    int16_t dst[4];
    vqzi_conv_job job = {&conv, offsets, src[0], 5, add, dst, 4};
    (void)state;
    weights[0] = 1;
    weights[1] = 2;
    weights[2 * VQZI_CONV_BLOCK] = 3;
    weights[2 * VQZI_CONV_BLOCK + 1] = -4;
    variants[0].kernels.conv(&job);
    assert_int_equal(dst[0], 1);   /* (5 - 8 + 11) >> 1 = 4, - 3 */
    assert_int_equal(dst[1], -27); /* (8 - 225 + 11) >> 1 = -103, - 3 = -106, >> 2 = -27 (floor) */
    assert_int_equal(dst[2], 31);  /* (203 + 152 + 11) >> 1 = 183, - 3, saturated */
    assert_int_equal(dst[3], 31);  /* (100 + 21 + 11) >> 1 = 66, - 3, saturated */
}

/* ---- activation ---- */

static void check_act(test_random *random, int style, size_t count, int slope, int minimum) {
    int16_t src[100], expected[100], actual[100 + 2 * GUARD];
    fill(random, style, src, count);
    for (size_t i = 0; i < count; i++)
        expected[i] = (int16_t)(src[i] >= 0 ? src[i] : VQZI_MAX(src[i] >> slope, minimum));
    for (size_t v = 0; v < variant_count; v++) {
        for (size_t i = 0; i < 100 + 2 * GUARD; i++)
            actual[i] = GUARD_VALUE;
        variants[v].kernels.act(actual + GUARD, src, count, slope, minimum);
        if (memcmp(expected, actual + GUARD, count * sizeof *actual) != 0)
            fail_msg("%s: act differs: %zu elements, slope %d", variants[v].name, count, slope);
        for (size_t i = 0; i < GUARD; i++) {
            assert_int_equal(actual[i], GUARD_VALUE);
            assert_int_equal(actual[GUARD + count + i], GUARD_VALUE);
        }
    }
}

static void test_act(void **state) {
    test_random random = {seed};
    (void)state;
    for (int style = 0; style < 4; style++)
        for (size_t count = 0; count <= 100; count++) {
            check_act(&random, style, count, 0, 0);
            for (int slope = 0; slope <= 8; slope++)
                check_act(&random, style, count, slope, INT16_MIN);
        }
}

/* ---- search ---- */

/* Codes as the quantiser packs them; entries keeps the plain form for the check. */
void codes_init(vqzi_codes *codes, int16_t *entries, test_random *random, uint32_t count,
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

void codes_clear(vqzi_codes *codes) {
    free(codes->packed);
    free(codes->base);
}

/* All variants, the reference among them, against the definition. */
static void check_search(test_random *random, uint32_t count, uint32_t dims) {
    enum { RESIDUALS = 41 };
    vqzi_codes codes;
    if (left_out(random))
        return;
    int16_t *entries = allocate((size_t)count * dims, sizeof *entries);
    int32_t reach = dims > 32 ? 2047 : 4095;
    if (test_random_next(random) & 1)
        reach = 3; /* many ties */
    codes_init(&codes, entries, random, count, dims, reach);
    size_t padded = (size_t)codes.pairs * 2;
    int16_t *residuals = allocate(padded * RESIDUALS, sizeof *residuals);
    uint16_t expected[RESIDUALS], actual[RESIDUALS + 1];
    int style = test_random_range(random, 0, 3);
    for (size_t i = 0; i < RESIDUALS; i++) {
        int64_t best = INT64_MAX;
        for (size_t d = 0; d < dims; d++)
            residuals[i * padded + d] = draw(random, style, -reach - 1, reach);
        for (uint32_t k = 0; k < count; k++) {
            int64_t cost = codes.base[k];
            for (size_t d = 0; d < dims; d++)
                cost -= 2 * residuals[i * padded + d] * entries[k * dims + d];
            if (cost < best) {
                best = cost;
                expected[i] = (uint16_t)k;
            }
        }
    }
    for (size_t v = 0; v < variant_count; v++)
        for (size_t n = 0; n <= RESIDUALS; n += n < 17 ? 1 : 12) {
            actual[n] = 0xabcd;
            variants[v].kernels.search(&codes, residuals, n, actual);
            assert_int_equal(actual[n], 0xabcd);
            if (memcmp(expected, actual, n * sizeof *actual) != 0)
                fail_msg("%s: search differs: %u codes of %u dims", variants[v].name, count, dims);
        }
    codes_clear(&codes);
    free(entries);
    free(residuals);
}

static void test_search(void **state) {
    static const uint32_t counts[] = {2, 7, 8, 9, 16, 17, 31, 33, 100, 256, 1000};
    static const uint32_t dims[] = {1, 2, 3, 4, 8, 15, 64};
    test_random random = {seed};
    (void)state;
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
        for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
            for (int repeat = 0; repeat < 4; repeat++)
                check_search(&random, counts[c], dims[d]);
}

int main(int argc, char **argv) {
    const char *replay = getenv("SEED");
    seed = replay ? strtoull(replay, NULL, 0) : (uint64_t)time(NULL);
    if (getenv("PART"))
        part = VQZI_MAX(atoi(getenv("PART")), 1);
    find_variants();
    if (argc > 1 && strcmp(argv[1], "--bench") == 0)
        return bench_kernels(variants, variant_count,
                             argc > 3 && strcmp(argv[2], "--csv") == 0 ? argv[3] : NULL);
    printf("SEED=%llu\n", (unsigned long long)seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv_by_hand),
        cmocka_unit_test(test_conv),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_matvec),
        cmocka_unit_test(test_act),
        cmocka_unit_test(test_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
