/*
 * encodes.c - files and pixels that must be the same on every machine; machines.sh and bochs.sh compare them.
 *
 *   encodes CPU THREADS
 *
 * Draws small pictures, encodes and decodes them with the built-in model and small random ones over
 * qualities, efforts and coders, and prints a line for each: what it was, the size of the file, and
 * hashes of the file and of the pixels.  CPU is the number of a vqz_cpu; where the processor has
 * not those instructions nothing is printed and the exit code is 3.  Loops are divided among the
 * threads however short they are.
 */
#include "codec/internal.h"
#include "format/container.h"
#include "tests/support/random_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One encoding. */
typedef struct setting {
    int quality, effort;
    vqz_entropy entropy;
    int progressive;
} setting;

typedef struct machine {
    vqz_context *context;
    const vqz_model *model;
    char name[32]; /* of the model, for what is printed */
} machine;

static void check(vqz_status status, const vqz_diag *diag) {
    if (status == VQZ_OK)
        return;
    fprintf(stderr, "encodes: %s\n", diag->message);
    exit(1);
}

/* ---- pictures ---- */

static vqz_image make_image(uint32_t width, uint32_t height, uint32_t channels) {
    vqz_image image = {width, height, channels, (size_t)width * channels, NULL};
    image.pixels = calloc(height, image.stride);
    if (image.pixels == NULL)
        check(VQZ_ERROR_MEMORY, &(vqz_diag){"out of memory"});
    return image;
}

/* Gradients, edges and a little noise, different in every channel; alpha among them. */
static vqz_image draw_image(uint32_t width, uint32_t height, uint32_t channels) {
    test_random random = {width * 31u + height * 7u + channels};
    vqz_image image = make_image(width, height, channels);
    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < width; x++)
            for (uint32_t c = 0; c < channels; c++) {
                int32_t edge = ((x >> 3) + (y >> 2) + c) & 1 ? 70 : 0;
                int32_t noise = test_random_range(&random, 0, 25);
                image.pixels[y * image.stride + x * channels + c] =
                    (uint8_t)(x * (c + 2) + y * (4 - c) + (uint32_t)(edge + noise));
            }
    return image;
}

/* ---- what is printed ---- */

static void print_hash(const char *what, const void *data, size_t size) {
    uint8_t hash[VQZI_HASH_SIZE];
    vqzi_sha256(hash, data, size);
    printf("  %s ", what);
    for (int i = 0; i < 8; i++)
        printf("%02x", hash[i]);
}

static void print_pixels(const vqz_image *image) {
    print_hash("pixels", image->pixels, image->height * image->stride);
}

/* Decodes all of the file, a part of it, and what its first two thirds show. */
static void decode(const machine *m, const void *file, size_t size, const vqz_image *source) {
    vqz_diag diag = {""};
    vqz_decode_options options;
    vqz_image image = make_image(source->width, source->height, source->channels);
    check(vqz_decode(m->context, m->model, file, size, &image, &diag), &diag);
    print_pixels(&image);

    vqz_decode_options_init(&options);
    options.partial = 1;
    if (vqz_decode_with(m->context, m->model, file, size * 2 / 3, &options, &image, &diag) ==
        VQZ_OK)
        print_pixels(&image);
    else
        printf("  (%s)", diag.message);

    vqz_decode_options_init(&options);
    options.x = source->width / 3;
    options.y = source->height / 2;
    options.width = (source->width + 2) / 3;
    options.height = (source->height + 1) / 2;
    vqz_image part = make_image(options.width, options.height, source->channels);
    check(vqz_decode_with(m->context, m->model, file, size, &options, &part, &diag), &diag);
    print_pixels(&part);
    free(part.pixels);
    free(image.pixels);
}

static void run(const machine *m, const vqz_image *image, setting s) {
    static const char metadata[] =
        "II*\0\10\0\0\0\0\0\0\0\0\0 a block of metadata, metadata, metadata";
    static const char *const coders[] = {"auto", "rans", "zstd"};
    vqz_diag diag = {""};
    vqz_encode_options options;
    void *file;
    size_t size;
    vqz_encode_options_init(&options);
    options.quality = s.quality;
    options.effort = s.effort;
    options.entropy = s.entropy;
    options.progressive = s.progressive;
    options.exif = metadata;
    options.exif_size = image->channels == 4 ? sizeof metadata : 0;
    check(vqz_encode(m->context, m->model, image, &options, &file, &size, &diag), &diag);
    printf("%s %ux%ux%u -q %d --effort %d --entropy %s%s: %zu bytes", m->name, image->width,
           image->height, image->channels, s.quality, s.effort, coders[s.entropy],
           s.progressive ? " --progressive" : "", size);
    print_hash("file", file, size);
    decode(m, file, size, image);
    printf("\n");
    vqz_free(file);
}

static void draw_sample(const machine *m, uint32_t channels) {
    vqz_diag diag = {""};
    vqz_sample_options options;
    vqz_image image = make_image(19, 13, channels);
    vqz_sample_options_init(&options);
    options.seed = 7;
    check(vqz_sample(m->context, m->model, &options, &image, &diag), &diag);
    printf("%s sample", m->name);
    print_pixels(&image);
    printf("\n");
    free(image.pixels);
}

/* ---- models ---- */

static const int qualities[] = {1, 30, 75, 100}, efforts[] = {1, 6, 9};
static const setting coders[] = {
    {30, 6, VQZ_ENTROPY_ZSTD, 0}, {75, 6, VQZ_ENTROPY_RANS, 0}, {30, 6, VQZ_ENTROPY_RANS, 1}};
enum { QUALITIES = 4, EFFORTS = 3, CODERS = 3 };

/* Every quality with every effort. */
static void run_grid(const machine *m, const vqz_image *image) {
    for (int q = 0; q < QUALITIES; q++)
        for (int e = 0; e < EFFORTS; e++)
            run(m, image, (setting){qualities[q], efforts[e], VQZ_ENTROPY_AUTO, 0});
}

/* The coders that the model has. */
static void run_coders(const machine *m, const vqz_image *image) {
    vqz_model_info info;
    vqz_model_get_info(m->model, &info);
    for (int i = 0; i < (info.prior_stages > 0 ? CODERS : 1); i++)
        run(m, image, coders[i]);
}

static void run_default(machine *m) {
    static const uint32_t sizes[][3] = {{21, 14, 4}, {17, 9, 1}, {1, 1, 3}};
    vqz_diag diag = {""};
    vqz_model *model;
    size_t size;
    const void *bytes = vqz_default_model(&size);
    check(vqz_model_load(&model, bytes, size, NULL, &diag), &diag);
    m->model = model;
    snprintf(m->name, sizeof m->name, "default");
    vqz_image image = draw_image(24, 17, 3);
    run_grid(m, &image);
    run_coders(m, &image);
    free(image.pixels);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        image = draw_image(sizes[i][0], sizes[i][1], sizes[i][2]);
        run(m, &image, (setting){75, 6, VQZ_ENTROPY_AUTO, i == 0});
        free(image.pixels);
    }
    draw_sample(m, 3);
    vqz_model_free(model);
}

/* A random model of each kind; every third has no prior, and files of version 1. */
static const struct kind {
    uint32_t channels, stride, codes;
    bool prior;
    uint32_t pictures[3]; /* channels */
} kinds[] = {{3, 8, 32, true, {3, 4, 1}},   {3, 4, 300, true, {4, 3, 2}},
             {3, 8, 256, false, {3, 4, 1}}, {1, 2, 16, true, {1, 2, 1}},
             {4, 16, 64, true, {4, 3, 4}},  {1, 4, 4096, false, {2, 1, 1}}};

static void run_random(machine *m, uint64_t seed, const struct kind *kind) {
    static const uint32_t sizes[][2] = {{45, 37}, {90, 70}, {9, 2}};
    random_model_options options;
    vqz_model_info info;
    random_model_options_init(&options, seed);
    options.channels = kind->channels;
    options.stride = kind->stride;
    options.max_codes = kind->codes;
    options.prior = kind->prior;
    options.overlap = !kind->prior;
    vqz_model *model = random_model_load(&options);
    m->model = model;
    snprintf(m->name, sizeof m->name, "random%u", (unsigned)seed);
    vqz_model_get_info(model, &info);
    printf("%s", m->name);
    print_hash("model", info.hash, sizeof info.hash);
    printf("\n");
    for (uint32_t i = 0; i < 3; i++) {
        vqz_image image = draw_image(sizes[i][0], sizes[i][1], kind->pictures[i]);
        if (i == 0)
            run_grid(m, &image);
        run_coders(m, &image);
        free(image.pixels);
    }
    if (kind->prior)
        draw_sample(m, kind->channels);
    vqz_model_free(model);
}

/* Whether the kernels are others than those of the next lower instruction set. */
static bool has_cpu(vqz_cpu cpu) {
    vqzi_kernels wanted, lower;
    vqzi_kernels_init(&wanted, cpu);
    vqzi_kernels_init(&lower, cpu == VQZ_CPU_NEON ? VQZ_CPU_SCALAR : cpu - 1);
    return cpu == VQZ_CPU_SCALAR || wanted.conv != lower.conv;
}

int main(int argc, char **argv) {
    machine m;
    vqz_diag diag = {""};
    vqz_context_options options;
    vqz_context_options_init(&options);
    if (argc != 3) {
        fprintf(stderr, "usage: encodes CPU THREADS\n");
        return 2;
    }
    options.cpu = (vqz_cpu)atoi(argv[1]);
    options.threads = atoi(argv[2]);
    if (!has_cpu(options.cpu))
        return 3;
    check(vqz_context_create(&m.context, &options, &diag), &diag);
    vqzi_context_set_tuning(m.context, 64, 0);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        run_random(&m, i + 1, &kinds[i]);
    run_default(&m);
    vqz_context_free(m.context);
    return 0;
}
