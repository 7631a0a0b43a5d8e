/*
 * codec_programs.c - whole programs: vqz beside the encoders and decoders of WebP, AVIF and JPEG
 * XL, as a user runs them, on the same files, one after another in every repeat.
 */
#include "cli/file.h"
#include "tests/support/picture_file.h"
#include "format/container.h"
#include "tests/bench/bench_codec.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What took so long in all is not measured again. */
static const double PATIENCE = 6;

enum { ENCODE, DECODE_PNG, DECODE_PPM, OPERATIONS, START_UPS = 20 };
static const char *const OPERATION_NAMES[OPERATIONS] = {"PNG to file", "file to PNG",
                                                        "file to PPM"};

struct codec {
    const char *name, *extension;
    const char *programs[2]; /* encoder, decoder */
    const char *version;     /* the option that prints it */
    const char *switches;    /* what the setting is given to */
    const char *patterns[OPERATIONS];
    const char *all_threads;                  /* what %t stands for when there are several */
    void (*setting)(char text[16], int step); /* bytes grow with the step */
    int steps;
    bool present;
    char chosen[16];
};

static void setting_webp(char text[16], int step) {
    snprintf(text, 16, "%d", step);
}

static void setting_avif(char text[16], int step) {
    snprintf(text, 16, "%d", 63 - step);
}

/* Butteraugli distances from 25, the largest, to 0.1. */
static void setting_jxl(char text[16], int step) {
    snprintf(text, 16, "%.2f", 25 * pow(0.1 / 25, step / 60.0));
}

/* Patterns are those of bench_run.  cwebp -mt and dwebp -mt have no number; dwebp overlaps parsing
   and filtering.  avifdec writes no PPM. */
static const codec CODECS[] = {
    {.name = "vqz",
     .extension = "vqz",
     .programs = {"vqz", "vqz"},
     .version = "--version",
     .switches = "-q",
     .patterns = {"%p compress -f --quiet -T %n -m %m -q %q -o %o %i",
                  "%p decompress -f --quiet -T %n -m %m -o %o %i",
                  "%p decompress -f --quiet -T %n -m %m -o %o %i"}},
    {.name = "WebP",
     .extension = "webp",
     .programs = {"cwebp", "dwebp"},
     .version = "-version",
     .switches = "-m 6 -q",
     .patterns = {"%p -quiet -m 6 %t -q %q %i -o %o", "%p -quiet %t %i -o %o",
                  "%p -quiet -ppm %t %i -o %o"},
     .all_threads = "-mt",
     .setting = setting_webp,
     .steps = 101},
    {.name = "AVIF",
     .extension = "avif",
     .programs = {"avifenc", "avifdec"},
     .version = "--version",
     .switches = "-s 6 --min and --max",
     .patterns = {"%p -s 6 -j %n -y 420 --min %q --max %q %i %o", "%p -j %n %i %o"},
     .setting = setting_avif,
     .steps = 64},
    {.name = "JPEG XL",
     .extension = "jxl",
     .programs = {"cjxl", "djxl"},
     .version = "--version",
     .switches = "-e 7 -d",
     .patterns = {"%p -e 7 --num_threads=%n -d %q %i %o", "%p --num_threads=%n %i %o",
                  "%p --num_threads=%n %i %o"},
     .setting = setting_jxl,
     .steps = 61},
};
enum { CODEC_COUNT = sizeof CODECS / sizeof *CODECS, MAX_COUNTS = 2 };

static const char *program_of(const bench *b, const codec *c, int operation) {
    return c->setting == NULL ? b->vqz : c->programs[operation == ENCODE ? 0 : 1];
}

codec *codecs_find(const bench *b) {
    codec *codecs = memcpy(bench_alloc(sizeof CODECS), CODECS, sizeof CODECS);
    for (codec *c = codecs; c < codecs + CODEC_COUNT; c++) {
        char line[160];
        const char *missing = NULL;
        for (int i = 1; i >= 0; i--)
            if (!bench_has_program(program_of(b, c, i)))
                missing = program_of(b, c, i);
        c->present = missing == NULL;
        if (c->setting == NULL && !c->present)
            bench_die("%s: there is no such program; build it with make", missing);
        if (c->present)
            bench_version(line, sizeof line, program_of(b, c, ENCODE), c->version);
        else
            snprintf(line, sizeof line, "left out: %s is not installed", missing);
        bench_say(b, "- %s (%s): %s\n", c->name, c->programs[ENCODE], line);
        snprintf(c->chosen, sizeof c->chosen, "%d", b->quality);
    }
    return codecs;
}

/* ---- one operation on one picture ---- */

static void coded_path(char path[640], const codec *c, const picture_set *set, int index) {
    snprintf(path, 640, "%s/%s-%d.%s", bench_folder(), set->name, index, c->extension);
}

static const char *decoded_path(char path[640], int operation) {
    snprintf(path, 640, "%s/decoded.%s", bench_folder(), operation == DECODE_PPM ? "ppm" : "png");
    return path;
}

static bench_cost operate(const bench *b, const codec *c, const picture_set *set, int index,
                          int operation, int threads) {
    char coded[640], decoded[640];
    coded_path(coded, c, set, index);
    decoded_path(decoded, operation);
    bench_words words = {.program = program_of(b, c, operation),
                         .input = operation == ENCODE ? set->pictures[index].png : coded,
                         .output = operation == ENCODE ? coded : decoded,
                         .setting = c->chosen,
                         .threads = threads > 1 && c->all_threads ? c->all_threads : "",
                         .model = b->model_path,
                         .thread_count = threads};
    return bench_run(c->patterns[operation], &words);
}

/* The program must make what the library makes, with every number of threads. */
static void check_vqz(const codec *c, const picture_set *set, int index, int operation,
                      int threads) {
    const bench_picture *original = &set->pictures[index];
    char path[640];
    vqz_diag diag = {""};
    if (original->file == NULL)
        return;
    if (operation == ENCODE) {
        void *data;
        size_t size;
        coded_path(path, c, set, index);
        if (file_read(path, (size_t)1 << 30, &data, &size, &diag) != VQZ_OK)
            bench_die("%s: %s", path, diag.message);
        if (size != original->file_size || memcmp(data, original->file, size) != 0)
            bench_die(
                "%s, picture %d: the file that vqz makes with %d threads is not the library's",
                set->name, index, threads);
        free(data);
        return;
    }
    picture p = {0};
    uint8_t hash[32];
    if (picture_file_read(&p, decoded_path(path, operation), (uint64_t)1 << 30, &diag) != VQZ_OK)
        bench_die("%s: %s", path, diag.message);
    vqzi_sha256(hash, p.image.pixels, p.image.stride * p.image.height);
    if (memcmp(hash, original->pixel_hash, sizeof hash) != 0)
        bench_die(
            "%s, picture %d: the pixels that vqz decodes with %d threads are not the library's",
            set->name, index, threads);
    picture_clear(&p);
}

static double bits_per_pixel(const codec *c, const picture_set *set) {
    double bytes = 0;
    char path[640];
    for (int i = 0; i < set->count; i++) {
        coded_path(path, c, set, i);
        bytes += (double)bench_file_size(path);
    }
    return 8e-6 * bytes / set->megapixels;
}

static double rate_at(const bench *b, codec *c, const picture_set *set, int step) {
    c->setting(c->chosen, step);
    for (int i = 0; i < set->count; i++)
        operate(b, c, set, i, ENCODE, b->threads);
    return bits_per_pixel(c, set);
}

void codecs_choose_settings(const bench *b, codec *codecs, const picture_set *set) {
    double wanted = 0;
    for (codec *c = codecs; c < codecs + CODEC_COUNT; c++) {
        if (!c->present)
            continue;
        if (c->setting == NULL) {
            for (int i = 0; i < set->count; i++)
                operate(b, c, set, i, ENCODE, b->threads);
            wanted = bits_per_pixel(c, set);
            continue;
        }
        int below = 0, above = c->steps - 1; /* rates around the one wanted */
        double below_rate = rate_at(b, c, set, below), above_rate = rate_at(b, c, set, above);
        while (above - below > 1 && below_rate < wanted) {
            int middle = (below + above) / 2;
            double rate = rate_at(b, c, set, middle);
            *(rate < wanted ? &below : &above) = middle;
            *(rate < wanted ? &below_rate : &above_rate) = rate;
        }
        c->setting(c->chosen,
                   fabs(below_rate - wanted) <= fabs(above_rate - wanted) ? below : above);
    }
}

/* ---- tables ---- */

typedef struct cell {
    int runs;
    double seconds[MAX_REPEATS], total, median;
    long peak_kib;
} cell;
typedef cell codec_cells[OPERATIONS][MAX_COUNTS];

static void measure(const bench *b, const codec *c, const picture_set *set, int operation,
                    int threads, cell *m) {
    double seconds = 0;
    if (m->total > PATIENCE)
        return;
    for (int i = 0; i < set->count; i++) {
        bench_cost cost = operate(b, c, set, i, operation, threads);
        seconds += cost.seconds;
        m->peak_kib = VQZI_MAX(m->peak_kib, cost.peak_kib);
        if (c->setting == NULL && m->runs == 0)
            check_vqz(c, set, i, operation, threads);
    }
    m->seconds[m->runs++] = seconds;
    m->total += seconds;
}

static void write_cell(const bench *b, const char *table, const codec *c, const picture_set *set,
                       int operation, int threads, const cell *m, const cell *vqz) {
    bench_row row = {.table = table,
                     .pictures = set->name,
                     .codec = c->name,
                     .operation = OPERATION_NAMES[operation],
                     .setting = operation == ENCODE ? c->chosen : NULL,
                     .threads = threads,
                     .runs = m->runs,
                     .seconds = m->median,
                     .least_seconds = bench_minimum(m->seconds, m->runs),
                     .megapixels = set->megapixels,
                     .times_vqz = vqz->median / m->median,
                     .bits_per_pixel = bits_per_pixel(c, set),
                     .peak_kib = m->peak_kib};
    bench_write_row(b, &row);
}

static void report_programs(const bench *b, const codec *codecs, const picture_set *set,
                            codec_cells *cells) {
    int counts = b->threads > 1 ? 2 : 1;
    bench_say(b, "\n### Programs, %s (%d, %.2f megapixels)\n\n", set->name, set->count,
              set->megapixels);
    bench_say(b, "| operation | program | setting | bpp |");
    for (int t = 0; t < counts; t++)
        bench_say(b, " MP/s, %d thread%s | to vqz | peak MiB |", t ? b->threads : 1, t ? "s" : "");
    bench_say(b, "\n| --- | --- | --- | ---: |%s\n",
              counts == 2 ? " ---: | ---: | ---: | ---: | ---: | ---: |" : " ---: | ---: | ---: |");
    for (int operation = 0; operation < OPERATIONS; operation++)
        for (int i = 0; i < CODEC_COUNT; i++) {
            const codec *c = &codecs[i];
            if (!c->present || c->patterns[operation] == NULL)
                continue;
            bench_say(b, "| %s | %s |", OPERATION_NAMES[operation],
                      c->programs[operation != ENCODE]);
            if (operation == ENCODE)
                bench_say(b, " %s %s", c->switches, c->chosen);
            bench_say(b, " | %.3f |", bits_per_pixel(c, set));
            for (int t = 0; t < counts; t++) {
                const cell *m = &cells[i][operation][t], *vqz = &cells[0][operation][t];
                bench_say(b, " %.2f | %.2f | %.1f |", set->megapixels / m->median,
                          vqz->median / m->median, (double)m->peak_kib / 1024);
                write_cell(b, "program", c, set, operation, t ? b->threads : 1, m, vqz);
            }
            bench_say(b, "\n");
        }
}

void bench_programs(const bench *b, const codec *codecs, const picture_set *set) {
    codec_cells *cells = bench_alloc(CODEC_COUNT * sizeof *cells);
    int counts = b->threads > 1 ? 2 : 1;
    for (int repeat = 0; repeat < b->repeats; repeat++)
        for (int operation = 0; operation < OPERATIONS; operation++)
            for (int t = 0; t < counts; t++)
                for (int i = 0; i < CODEC_COUNT; i++)
                    if (codecs[i].present && codecs[i].patterns[operation] != NULL)
                        measure(b, &codecs[i], set, operation, t ? b->threads : 1,
                                &cells[i][operation][t]);
    for (int i = 0; i < CODEC_COUNT; i++)
        for (int operation = 0; operation < OPERATIONS; operation++)
            for (int t = 0; t < counts; t++) {
                cell *m = &cells[i][operation][t];
                m->median = bench_median(m->seconds, m->runs);
            }
    report_programs(b, codecs, set, cells);
    free(cells);
}

void bench_start_up(const bench *b, const codec *codecs, const picture_set *set) {
    codec_cells *cells = bench_alloc(CODEC_COUNT * sizeof *cells);
    for (int repeat = 0; repeat < START_UPS; repeat++)
        for (int operation = ENCODE; operation <= DECODE_PNG; operation++)
            for (int i = 0; i < CODEC_COUNT; i++)
                if (codecs[i].present)
                    measure(b, &codecs[i], set, operation, b->threads, &cells[i][operation][0]);
    bench_say(b,
              "\n### Start-up: a picture of 8 x 8, %d threads, %d runs\n\n| program | encode ms, "
              "least | median | peak MiB | decode ms, least | median | peak MiB |\n"
              "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
              b->threads, START_UPS);
    for (int i = 0; i < CODEC_COUNT; i++) {
        if (!codecs[i].present)
            continue;
        bench_say(b, "| %s |", codecs[i].name);
        for (int operation = ENCODE; operation <= DECODE_PNG; operation++) {
            cell *m = &cells[i][operation][0];
            m->median = bench_median(m->seconds, m->runs);
            bench_say(b, " %.2f | %.2f | %.1f |", 1e3 * bench_minimum(m->seconds, m->runs),
                      1e3 * m->median, (double)m->peak_kib / 1024);
            write_cell(b, "start-up", &codecs[i], set, operation, b->threads, m,
                       &cells[0][operation][0]);
        }
        bench_say(b, "\n");
    }
    free(cells);
}
