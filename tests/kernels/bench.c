/* bench.c - see bench.h. */
#include "tests/kernels/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TILE = 512, ROWS = 16 }; /* pixels of a work tile's side; rows of a layer that are timed */
static const double RUN_SECONDS = 0.1;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (!memory) {
        fputs("bench: out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

typedef struct layer {
    char name[40];
    uint32_t in_channels, out_channels, kernel, stride, width;
    bool add;
} layer;

typedef struct report {
    const kernel_variant *variant;
    double peak;
    FILE *csv;
} report;

static void print(const report *out, const char *kind, const char *name, const char *shape,
                  double macs) {
    const char *isa = out->variant->name;
    printf("%-10s %-6s %-16s %-28s %7.1f GMAC/s", isa, kind, name, shape, macs * 1e-9);
    if (out->peak > 0)
        printf(" %6.1f %%", 100 * macs / out->peak);
    printf("\n");
    if (out->csv)
        fprintf(out->csv, "%s,%s,%s,%s,%.2f,%.2f\n", isa, kind, name, shape, macs * 1e-9,
                out->peak * 1e-9);
}

/* Best of several short runs: other work on the machine only slows a run down. */
static void bench_conv(const report *out, const layer *shape) {
    const vqzi_kernels *kernels = &out->variant->kernels;
    test_random random = {1};
    vqzi_conv conv;
    int32_t *offsets = allocate(shape->out_channels + VQZI_CONV_BLOCK, sizeof *offsets);
    conv_init(&conv, offsets, &random, shape->in_channels, shape->out_channels, shape->kernel,
              shape->stride);
    size_t pitch = ((size_t)shape->width * shape->stride + 4) * shape->in_channels;
    size_t src_count = pitch * (ROWS * shape->stride + 4) + VQZI_KERNEL_SLACK;
    size_t dst_count = (size_t)shape->width * shape->out_channels;
    int16_t *src = allocate(src_count, sizeof *src);
    int16_t *dst = allocate(dst_count, sizeof *dst), *add = allocate(dst_count, sizeof *add);
    for (size_t i = 0; i < src_count; i++)
        src[i] = (int16_t)test_random_range(&random, INT16_MIN, INT16_MAX);
    double macs = (double)dst_count * ROWS * shape->in_channels * shape->kernel * shape->kernel;
    double best = 0;
    for (double start = now(); now() - start < RUN_SECONDS;) {
        double begin = now();
        for (size_t y = 0; y < ROWS; y++) {
            vqzi_conv_job job = {
                &conv, offsets,     src + y * shape->stride * pitch, pitch, shape->add ? add : NULL,
                dst,   shape->width};
            kernels->conv(&job);
        }
        best = VQZI_MAX(best, macs / (now() - begin));
    }
    char text[64];
    snprintf(text, sizeof text, "%ux%u/%u %u->%u%s x%u", shape->kernel, shape->kernel,
             shape->stride, shape->in_channels, shape->out_channels, shape->add ? " add" : "",
             shape->width);
    print(out, "conv", shape->name, text, best);
    free(src);
    free(dst);
    free(add);
    free(offsets);
    conv_clear(&conv);
}

/* What a stage of a prior runs: sums of a row, products of one position. */
static void bench_prior(const report *out, uint32_t in_channels, uint32_t out_channels,
                        uint32_t kernel) {
    enum { WIDTH = 48 };
    test_random random = {1};
    vqzi_conv conv;
    int32_t *offsets = allocate(out_channels + VQZI_CONV_BLOCK, sizeof *offsets);
    conv_init(&conv, offsets, &random, in_channels, out_channels, kernel, 1);
    size_t pitch = (size_t)(WIDTH + kernel - 1) * in_channels;
    size_t padded = out_channels + VQZI_CONV_BLOCK;
    int16_t *src = allocate(pitch * kernel + VQZI_KERNEL_SLACK, sizeof *src);
    int16_t *dst = allocate(padded, sizeof *dst);
    int32_t *sums = allocate(WIDTH * padded, sizeof *sums);
    double macs = (double)WIDTH * out_channels * in_channels * kernel * kernel, best = 0;
    vqzi_conv_job job = {&conv, offsets, src, pitch, NULL, NULL, WIDTH};
    for (double start = now(); now() - start < RUN_SECONDS;) {
        double begin = now();
        if (kernel > 1)
            out->variant->kernels.sums(&job, sums);
        else
            for (size_t x = 0; x < WIDTH; x++)
                out->variant->kernels.matvec(&conv, offsets, src + x * in_channels, dst);
        best = VQZI_MAX(best, macs / (now() - begin));
    }
    char text[64];
    snprintf(text, sizeof text, "%ux%u %u->%u x%d", kernel, kernel, in_channels, out_channels,
             kernel > 1 ? WIDTH : 1);
    print(out, kernel > 1 ? "sums" : "matvec", "prior", text, best);
    free(src);
    free(dst);
    free(sums);
    free(offsets);
    conv_clear(&conv);
}

static void bench_search(const report *out, const char *name, uint32_t count, uint32_t dims) {
    enum { RESIDUALS = TILE / 8 };
    test_random random = {1};
    vqzi_codes codes;
    int16_t *entries = allocate((size_t)count * dims, sizeof *entries);
    codes_init(&codes, entries, &random, count, dims, 500);
    int16_t *residuals = allocate((size_t)codes.pairs * 2 * RESIDUALS, sizeof *residuals);
    uint16_t found[RESIDUALS];
    double best = 0;
    for (double start = now(); now() - start < RUN_SECONDS;) {
        double begin = now();
        out->variant->kernels.search(&codes, residuals, RESIDUALS, found);
        best = VQZI_MAX(best, RESIDUALS / (now() - begin));
    }
    char text[64];
    snprintf(text, sizeof text, "%u x %u", count, dims);
    print(out, "search", name, text, best * count * dims);
    free(entries);
    free(residuals);
    codes_clear(&codes);
}

/* Convolutions of a network whose input has `width` positions a row. */
static uint32_t list_net(const vqzi_net *net, const char *name, uint32_t width, layer *layers) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < net->op_count; i++) {
        const vqzi_op *op = &net->ops[i];
        int32_t scale = vqzi_net_register(net, i + 1).scale;
        if (op->kind != VQZI_CONV)
            continue;
        layer *next = &layers[count++];
        *next = (layer){.in_channels = vqzi_net_register(net, op->src).channels,
                        .out_channels = op->channels,
                        .kernel = op->kernel,
                        .stride = op->stride,
                        .width = scale < 0 ? width << -scale : width >> scale,
                        .add = op->add != VQZI_NO_REGISTER};
        snprintf(next->name, sizeof next->name, "%s op %u", name, i);
    }
    return count;
}

/* Shapes of other models: few channels on either side, large kernels, wide codebooks. */
static const layer others[] = {
    {"few inputs", 3, 64, 4, 2, TILE / 2, false},   {"few inputs", 3, 32, 3, 1, TILE, false},
    {"few inputs", 1, 16, 5, 1, TILE, false},       {"few outputs", 32, 3, 3, 1, TILE, false},
    {"few outputs", 32, 4, 3, 1, TILE, false},      {"few outputs", 32, 8, 3, 1, TILE, false},
    {"few outputs", 64, 12, 3, 1, TILE / 2, false},
};

int bench_kernels(const kernel_variant *variants, size_t count, const char *csv) {
    layer layers[2 * VQZI_MAX_OPS];
    vqzi_model model;
    vqz_diag diag;
    size_t size;
    const void *bytes = vqz_default_model(&size);
    FILE *file = csv ? fopen(csv, "w") : NULL;
    if (csv && !file) {
        fprintf(stderr, "%s: cannot be written\n", csv);
        return 1;
    }
    if (vqzi_model_parse(&model, bytes, size, NULL, &diag) != VQZ_OK) {
        fprintf(stderr, "default model: %s\n", diag.message);
        return 1;
    }
    if (file)
        fprintf(file, "isa,kernel,layer,shape,gmac_per_s,peak_gmac_per_s\n");
    uint32_t layer_count = list_net(&model.analysis, "analysis", TILE, layers);
    layer_count +=
        list_net(&model.synthesis, "synthesis", TILE / model.stride, layers + layer_count);
    for (size_t v = 0; v < count; v++) {
        report out = {&variants[v], peak_macs(variants[v].cpu), file};
        printf("%-10s registers only: %.1f GMAC/s\n", variants[v].name, out.peak * 1e-9);
        for (uint32_t i = 0; i < layer_count; i++)
            bench_conv(&out, &layers[i]);
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
            bench_conv(&out, &others[i]);
        for (uint32_t p = 0; p < model.plane_count; p++) {
            const vqzi_plane *plane = &model.planes[p];
            char name[32];
            snprintf(name, sizeof name, "plane %u", p);
            if (p == 0 || plane->dims != plane[-1].dims || plane->codes != plane[-1].codes)
                bench_search(&out, name, plane->codes, plane->dims);
        }
        bench_search(&out, "wide", 512, 64);
        bench_prior(&out, 1, 64, 5);
        bench_prior(&out, 32, 64, 3);
        bench_prior(&out, 2, 64, 1);
        bench_prior(&out, 64, 64, 1);
        bench_prior(&out, 64, 2, 1);
        bench_prior(&out, 64, 256, 1);
    }
    vqzi_model_clear(&model);
    if (file && fclose(file) != 0) {
        fprintf(stderr, "%s: cannot be written\n", csv);
        return 1;
    }
    return 0;
}
