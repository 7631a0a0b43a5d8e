/*
 * codec_library.c - the library in process: megapixels/s of each instruction set and number of
 * threads, and the proof that all of them give the same files and the same pixels.
 */
#include "codec/kernels/kernels.h"
#include "format/container.h"
#include "tests/bench/bench_codec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A path that took so long in all is not measured again. */
static const double PATIENCE = 5;

static const struct {
    vqz_cpu cpu;
    const char *name;
} paths[] = {{VQZ_CPU_SCALAR, "scalar"},          {VQZ_CPU_AVX2, "avx2"},
             {VQZ_CPU_AVX_VNNI, "avxvnni"},       {VQZ_CPU_AVX512, "avx512"},
             {VQZ_CPU_AVX512_VNNI, "avx512vnni"}, {VQZ_CPU_NEON, "neon"}};
enum { PATHS = sizeof paths / sizeof *paths, CASES = 2 * PATHS };

/* An instruction set with a number of threads. */
typedef struct library_case {
    const char *cpu;
    int threads;
    vqz_context *context;
    int runs;
    double encode[MAX_REPEATS], decode[MAX_REPEATS];
} library_case;

/* Instruction sets that the machine lacks choose the same kernels as the one before. */
static int find_cases(const bench *b, library_case *cases, bool with_scalar) {
    vqzi_kernels before, now;
    int count = 0;
    memset(&before, 0, sizeof before);
    for (size_t i = 0; i < PATHS; i++) {
        memset(&now, 0, sizeof now);
        vqzi_kernels_init(&now, paths[i].cpu);
        bool same = memcmp(&now, &before, sizeof now) == 0;
        before = now;
        if (same || (paths[i].cpu == VQZ_CPU_SCALAR && !with_scalar))
            continue;
        const int threads[] = {1, b->threads};
        for (int t = 0; t < (b->threads > 1 ? 2 : 1); t++) {
            library_case *c = &cases[count++];
            vqz_context_options options;
            vqz_diag diag = {""};
            vqz_context_options_init(&options);
            options.cpu = paths[i].cpu;
            options.threads = threads[t];
            options.limits.max_memory = (uint64_t)8 << 30;
            *c = (library_case){.cpu = paths[i].name, .threads = threads[t]};
            if (vqz_context_create(&c->context, &options, &diag) != VQZ_OK)
                bench_die("%s", diag.message);
        }
    }
    return count;
}

static _Noreturn void differ(const picture_set *set, int index, const char *what,
                             const library_case *c) {
    bench_die("%s, picture %d: %s of %s with %d threads differ from those of the first path; the "
              "format promises that they never do",
              set->name, index, what, c->cpu, c->threads);
}

/* Encodes and decodes every picture once; the first case of all says what is right. */
static void run_case(const bench *b, picture_set *set, library_case *c) {
    vqz_encode_options options;
    vqz_diag diag = {""};
    double encode = 0, decode = 0;
    vqz_encode_options_init(&options);
    options.quality = b->quality;
    for (int i = 0; i < set->count; i++) {
        bench_picture *p = &set->pictures[i];
        vqz_image decoded = p->image;
        uint8_t hash[32];
        void *file;
        size_t size;
        bench_check_stop();
        double start = bench_clock();
        if (vqz_encode(c->context, b->model, &p->image, &options, &file, &size, &diag) != VQZ_OK)
            bench_die("%s: %s", p->png, diag.message);
        encode += bench_clock() - start;
        decoded.stride = (size_t)decoded.width * decoded.channels;
        decoded.pixels = bench_alloc(decoded.stride * decoded.height);
        /* touched, so that the time is the decoder's alone; and no pixel is right by chance */
        memset(decoded.pixels, 0xa5, decoded.stride * decoded.height);
        start = bench_clock();
        if (vqz_decode(c->context, b->model, file, size, &decoded, &diag) != VQZ_OK)
            bench_die("%s: %s", p->png, diag.message);
        decode += bench_clock() - start;
        vqzi_sha256(hash, decoded.pixels, decoded.stride * decoded.height);
        free(decoded.pixels);
        if (p->file == NULL) {
            p->file = memcpy(bench_alloc(size), file, size);
            p->file_size = size;
            memcpy(p->pixel_hash, hash, sizeof hash);
        } else if (size != p->file_size || memcmp(file, p->file, size) != 0) {
            differ(set, i, "file bytes", c);
        } else if (memcmp(hash, p->pixel_hash, sizeof hash) != 0) {
            differ(set, i, "decoded pixels", c);
        }
        vqz_free(file);
    }
    c->encode[c->runs] = encode;
    c->decode[c->runs++] = decode;
}

static double sum(const double *values, int count) {
    double total = 0;
    for (int i = 0; i < count; i++)
        total += values[i];
    return total;
}

static void report_case(const bench *b, const picture_set *set, const library_case *c) {
    double bits = 0;
    for (int i = 0; i < set->count; i++)
        bits += 8.0 * (double)set->pictures[i].file_size;
    for (int decode = 0; decode < 2; decode++) {
        const double *seconds = decode ? c->decode : c->encode;
        bench_row row = {.table = "library",
                         .pictures = set->name,
                         .codec = "libvqz",
                         .operation = decode ? "decode" : "encode",
                         .cpu = c->cpu,
                         .threads = c->threads,
                         .runs = c->runs,
                         .seconds = bench_median(seconds, c->runs),
                         .least_seconds = bench_minimum(seconds, c->runs),
                         .megapixels = set->megapixels,
                         .bits_per_pixel = bits / set->megapixels * 1e-6};
        bench_write_row(b, &row);
    }
    bench_say(b, "| %s | %d | %.2f | %.2f | %d |\n", c->cpu, c->threads,
              set->megapixels / bench_median(c->encode, c->runs),
              set->megapixels / bench_median(c->decode, c->runs), c->runs);
}

void bench_library(const bench *b, picture_set *set, bool with_scalar) {
    library_case *cases = bench_alloc(CASES * sizeof *cases);
    int count = find_cases(b, cases, with_scalar);
    for (int repeat = 0; repeat < b->repeats; repeat++)
        for (int i = 0; i < count; i++)
            if (sum(cases[i].encode, cases[i].runs) + sum(cases[i].decode, cases[i].runs) <
                PATIENCE)
                run_case(b, set, &cases[i]);
    bench_say(b,
              "\n### Library, %s (%d, %.2f megapixels)\n\nPixels in memory to a file in memory "
              "and back, -q %d; median of the runs.\n\n| instruction set | threads | encode MP/s "
              "| decode MP/s | runs |\n| --- | ---: | ---: | ---: | ---: |\n",
              set->name, set->count, set->megapixels, b->quality);
    for (int i = 0; i < count; i++) {
        report_case(b, set, &cases[i]);
        vqz_context_free(cases[i].context);
    }
    free(cases);
    /* one name for all files, and one for all pixels */
    uint8_t hash[32], *files = bench_alloc(32 * (size_t)set->count),
                      *pixels = bench_alloc(32 * (size_t)set->count);
    for (int i = 0; i < set->count; i++) {
        vqzi_sha256(files + 32 * i, set->pictures[i].file, set->pictures[i].file_size);
        memcpy(pixels + 32 * i, set->pictures[i].pixel_hash, 32);
    }
    vqzi_sha256(hash, files, 32 * (size_t)set->count);
    bench_say(b, "\nAll rows give the same files (%02x%02x%02x%02x)", hash[0], hash[1], hash[2],
              hash[3]);
    vqzi_sha256(hash, pixels, 32 * (size_t)set->count);
    bench_say(b, " and the same pixels (%02x%02x%02x%02x)%s.\n", hash[0], hash[1], hash[2], hash[3],
              with_scalar ? "" : "; the reference kernels are left out for their time");
    free(files);
    free(pixels);
}
