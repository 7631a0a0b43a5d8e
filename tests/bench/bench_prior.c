/*
 * bench_prior.c - speed of a conditional prior beside that of the default model's synthesis, on one
 * tile and one thread.  The prior has random weights, and latents that its tables fit: what a tile
 * costs depends on its shape and on little else.
 *
 *   bench_prior [bits a pixel [effort]]      (default 1, of latents at 1/8, and each effort)
 */
#include "codec/internal.h"
#include "codec/prior.h"
#include "codec/quantise.h"
#include "tests/support/random_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { D = 64, ROWS = 64, COLUMNS = 48, HIDDEN = 64, CODES = 255, STRIDE = 8 };
static const int stages[] = {1, 1, 2, 4, 8, 16, 32};
enum { STAGES = sizeof stages / sizeof *stages };
static const double RUN_SECONDS = 1;

/* Of this thread: others on the machine are not its concern. */
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (!memory) {
        fputs("bench_prior: out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

static void check(vqz_status status, const char *what) {
    if (status != VQZ_OK) {
        fprintf(stderr, "bench_prior: %s: %s\n", what, vqz_status_string(status));
        exit(1);
    }
}

/* Standard deviation of a class, in codes. */
static double deviation(double class) {
    return 0.08 * exp2(class / 4);
}

static double normal_below(double x) {
    return 0.5 * erfc(-x / sqrt(2));
}

static void make_tables(vqzi_prior *prior) {
    prior->frequencies =
        allocate(VQZI_CLASSES * VQZI_PHASES * VQZI_SYMBOLS, sizeof *prior->frequencies);
    for (int class = 0; class < VQZI_CLASSES; class++) {
        double sigma = deviation(class);
        int bits = 0;
        while (5.0 * (1 << bits) < 2.5 * sigma)
            bits++;
        prior->class_bits[class] = (uint8_t)bits;
        for (int phase = 0; phase < VQZI_PHASES; phase++) {
            uint16_t *table =
                prior->frequencies + (class * VQZI_PHASES + phase) * VQZI_SYMBOLS;
            uint32_t left = 65536, best = 0;
            for (int s = 0; s < VQZI_SYMBOLS; s++) {
                double low = ((s - 7) * (1 << bits)) - 0.5 - phase / 8.0;
                double high = ((s - 6) * (1 << bits)) - 0.5 - phase / 8.0;
                double p = (s == 15 ? 1 : normal_below(high / sigma)) -
                           (s == 0 ? 0 : normal_below(low / sigma));
                table[s] = (uint16_t)(1 + p * (65536 - 16));
                left -= table[s];
                best = table[s] > table[best] ? (uint32_t)s : best;
            }
            table[best] = (uint16_t)(table[best] + left);
        }
    }
}

static void make_layer(vqzi_op *op, test_random *random, uint32_t in, uint32_t out,
                       uint32_t kernel, int32_t reach, int shift) {
    size_t taps = (size_t)kernel * kernel * in;
    *op = (vqzi_op){.kind = VQZI_CONV, .add = VQZI_NO_REGISTER, .kernel = (uint8_t)kernel,
                    .stride = 1, .bits = 16, .channels = (uint16_t)out, .bias_sets = 1};
    op->shift = allocate(out, 1);
    memset(op->shift, shift, out);
    op->weights = allocate(out * taps, sizeof *op->weights);
    op->biases = allocate(out, sizeof *op->biases);
    for (size_t i = 0; i < out * taps; i++)
        op->weights[i] = (int16_t)test_random_range(random, -reach, reach);
}

/* Gives the default model scalar planes and a prior; per channel a spread that adds up to the bits. */
static void make_prior(vqzi_model *model, test_random *random, double *spreads) {
    vqzi_prior *prior = &model->prior;
    *prior = (vqzi_prior){.stage_count = STAGES, .gain_shift = 8};
    prior->stages = allocate(STAGES, sizeof *prior->stages);
    prior->gains = allocate(D, sizeof *prior->gains);
    prior->mean_gains = allocate(D, sizeof *prior->mean_gains);
    make_tables(prior);
    model->plane_count = D;
    model->planes = allocate(D, sizeof *model->planes);
    for (int c = 0; c < D; c++) {
        vqzi_plane *plane = &model->planes[c];
        *plane = (vqzi_plane){.codes = CODES, .dims = 1, .books = 1, .ordered = 1};
        plane->channels = allocate(1, 1);
        plane->channels[0] = (uint8_t)c;
        plane->codebook = allocate(CODES, sizeof *plane->codebook);
        for (int k = 0; k < CODES; k++)
            plane->codebook[k] = (int16_t)((k - CODES / 2) * 16);
        prior->gains[c] = 256;
        prior->mean_gains[c] = model->steps[c] * 4096u;
    }
    int begin = 0;
    for (int i = 0; i < STAGES; i++) {
        vqzi_stage *stage = &prior->stages[i];
        int end = begin + stages[i], kernel = i < 4 ? 5 : 3;
        stage->planes = (uint8_t)stages[i];
        stage->net = (vqzi_net){VQZI_CONTEXT_BITS, (uint16_t)end, 3, allocate(3, sizeof(vqzi_op))};
        make_layer(&stage->net.ops[0], random, (uint32_t)end, HIDDEN, (uint32_t)kernel, 60, 6);
        make_layer(&stage->net.ops[1], random, HIDDEN, HIDDEN, 1, 60, 8);
        make_layer(&stage->net.ops[2], random, HIDDEN, 2 * (uint32_t)stages[i], 1, 30, 14);
        int16_t *weights = stage->net.ops[0].weights; /* none on what comes later */
        for (int tap = 0; tap < HIDDEN * kernel * kernel; tap++)
            for (int c = begin; c < end && tap % (kernel * kernel) >= kernel * kernel / 2; c++)
                weights[tap * end + c] = 0;
        for (int p = 0; p < stages[i]; p++)
            stage->net.ops[2].biases[2 * p + 1] = (int32_t)(64 * spreads[begin + p]) << 14;
        begin = end;
    }
}

int main(int argc, char **argv) {
    double bits = (argc > 1 ? atof(argv[1]) : 1) * STRIDE * STRIDE;
    double spreads[D], low = -20, high = 60;
    vqzi_model model;
    vqz_diag diag;
    size_t size;
    const void *bytes = vqz_default_model(&size);
    test_random random = {1};
    check(vqzi_model_parse(&model, bytes, size, NULL, &diag), "default model");

    /* spreads fall by an octave in eight channels; bisect the first one for the sum of entropies */
    for (int turn = 0; turn < 50; turn++) {
        double first = (low + high) / 2, sum = 0;
        for (int c = 0; c < D; c++) {
            spreads[c] = VQZI_MIN(VQZI_MAX(first - 0.5 * c, 0), VQZI_CLASSES - 1);
            double sigma = deviation(spreads[c]);
            sum += VQZI_MAX(0, log2(sigma * 4.13)) + exp2(-2 / VQZI_MAX(sigma, 0.2) / 4);
        }
        *(sum < bits ? &low : &high) = first;
    }
    make_prior(&model, &random, spreads);
    vqzi_level level = vqzi_model_level(&model, 90);
    vqzi_kernels kernels;
    vqzi_kernels_init(&kernels, VQZ_CPU_BEST);

    int16_t *latents = allocate(ROWS * COLUMNS * D, sizeof *latents), *decoded = allocate(ROWS * COLUMNS * D, 2);
    int16_t *entries = allocate(CODES, sizeof *entries);
    vqzi_model_entries(&model, level, 0, entries);
    for (int i = 0; i < ROWS * COLUMNS * D; i++) {
        double u = ((double)(test_random_next(&random) >> 11) + 1) * 0x1p-53;
        double v = (double)(test_random_next(&random) >> 11) * 0x1p-53;
        double value = sqrt(-2 * log(u)) * cos(6.283185307 * v) * deviation(spreads[i % D]);
        vqzi_model_entries(&model, level, (uint32_t)(i % D), entries);
        value *= entries[CODES / 2 + 1];
        latents[i] = (int16_t)VQZI_MIN(VQZI_MAX(value, -4095), 4095);
    }

    vqzi_prepared_prior *prepared;
    vqzi_prior_coder *coder;
    check(vqzi_prior_prepare(&prepared, &model), "prepare");
    uint64_t lambda = vqzi_lambda(&model, level, 0);
    check(vqzi_prior_create(&coder, prepared, level, &kernels, ROWS, COLUMNS, lambda), "create");
    uint16_t *codes = allocate(2 * ROWS * COLUMNS * D, sizeof *codes), *planes[2][D];
    for (int p = 0; p < 2 * D; p++)
        planes[p / D][p % D] = codes + (size_t)p * ROWS * COLUMNS;
    vqzi_prior_tile tile = {ROWS, COLUMNS, latents, COLUMNS * D, planes[0], COLUMNS};
    vqzi_prior_tile result = {ROWS, COLUMNS, decoded, COLUMNS * D, planes[1], COLUMNS};
    vqzi_buffer stream = {0};
    double pixels = ROWS * COLUMNS * STRIDE * STRIDE;
    int only = argc > 2 ? atoi(argv[2]) : 0;
    for (int effort = only ? only : 1; effort <= (only ? only : 9); effort++) {
        double best = 1e9;
        for (double start = now(); now() - start < RUN_SECONDS;) {
            double begin = now();
            stream.size = 0;
            check(vqzi_prior_encode(coder, &tile, effort, false, 1, &stream), "encode");
            best = VQZI_MIN(best, now() - begin);
        }
        printf("encode effort %d: %6.2f ms a tile, %6.1f Mpixel/s, %zu bytes (%.3f bpp)\n", effort,
               best * 1e3, pixels / best * 1e-6, stream.size, (double)stream.size * 8 / pixels);
    }
    const uint8_t *data = stream.data;
    check(vqzi_prior_decode(coder, &result, &data, &stream.size, 1), "decode");
    if (memcmp(planes[0][0], planes[1][0], ROWS * COLUMNS * D * sizeof *codes) != 0) {
        fprintf(stderr, "bench_prior: the codes differ\n");
        return 1;
    }
    result.codes = NULL; /* as pictures are decoded */
    double decode = 1e9;
    for (double start = now(); now() - start < RUN_SECONDS;) {
        double begin = now();
        check(vqzi_prior_decode(coder, &result, &data, &stream.size, 1), "decode");
        decode = VQZI_MIN(decode, now() - begin);
    }
    vqzi_prepared_net net;
    vqzi_net_plan plan;
    vqzi_executor *executor;
    vqzi_team team = {.threads = 1};
    double synthesis = 1e9;
    check(vqzi_net_prepare(&net, &model.synthesis), "prepare");
    vqzi_net_plan_make(&plan, &net, COLUMNS, ROWS, COLUMNS * STRIDE, ROWS * STRIDE);
    check(vqzi_executor_create(&executor, &net, &plan, level, &kernels, &team), "executor");
    for (double start = now(); now() - start < RUN_SECONDS;) {
        double begin = now();
        vqzi_executor_begin(executor, 0, 0);
        vqzi_executor_run(executor);
        synthesis = VQZI_MIN(synthesis, now() - begin);
    }
    printf("decode:          %6.2f ms a tile, %6.1f Mpixel/s\n", decode * 1e3,
           pixels / decode * 1e-6);
    printf("synthesis:       %6.2f ms a tile, %6.1f Mpixel/s; the prior takes %.0f %% of that\n",
           synthesis * 1e3, pixels / synthesis * 1e-6, 100 * decode / synthesis);
    return 0;
}
