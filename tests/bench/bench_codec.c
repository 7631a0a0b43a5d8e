/*
 * bench_codec.c - the speed, memory and start-up time of vqz beside WebP, AVIF and JPEG XL.
 *
 *   VQZ=build/vqz bench_codec [-n REPEATS] [-q QUALITY] [-l PICTURE | -s MEGAPIXELS] [-o FOLDER]
 *                             MODEL.vqm PICTURES
 *
 * Quality 80 unless told: at less, no setting of some peers makes files as small as vqz's.
 *
 * Measures the library in process and the whole programs on every picture of a folder, on one large
 * picture (-l; else one made of mirrored copies of the folder's first, -s 13.4 megapixels; -s 0:
 * none) and on one of 8 x 8.  All of one table is measured in the same run, interleaved, so that
 * what else the machine does falls on everything alike; the table shows medians.  Ends with an
 * error when two instruction sets or numbers of threads disagree on a byte of a file or of a
 * picture.
 *
 * Writes Markdown to standard output and FOLDER/bench.md, and FOLDER/bench.csv with a line a figure
 * (FOLDER: build/bench).  A peer that is not installed is named and left out: Debian packages webp,
 * libavif-bin, libjxl-tools.  `make bench` runs this and the benchmarks of kernels and training.
 */
#include "tests/bench/bench_codec.h"
#include "cli/file.h"

#include <errno.h>
#include <math.h>
#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

const char BENCH_CSV_HEAD[] =
    "table,pictures,codec,operation,setting,cpu,threads,runs,seconds,least_seconds,"
    "megapixels_per_second,times_vqz,bits_per_pixel,peak_kib\n";

/* ---- results ---- */

void bench_say(const bench *b, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    vprintf(format, arguments);
    vfprintf(b->markdown, format, again);
    va_end(again);
    va_end(arguments);
    fflush(stdout);
}

static void write_number(FILE *out, const char *format, double value) {
    fputc(',', out);
    if (value > 0)
        fprintf(out, format, value);
}

void bench_write_row(const bench *b, const bench_row *row) {
    const char *texts[] = {row->table,     row->pictures, row->codec,
                           row->operation, row->setting,  row->cpu};
    for (int i = 0; i < 6; i++)
        fprintf(b->csv, "%s%s", i ? "," : "", texts[i] == NULL ? "" : texts[i]);
    write_number(b->csv, "%.0f", row->threads);
    write_number(b->csv, "%.0f", row->runs);
    write_number(b->csv, "%.6f", row->seconds);
    write_number(b->csv, "%.6f", row->least_seconds);
    write_number(b->csv, "%.4f", row->seconds > 0 ? row->megapixels / row->seconds : 0);
    write_number(b->csv, "%.4f", row->times_vqz);
    write_number(b->csv, "%.5f", row->bits_per_pixel);
    write_number(b->csv, "%.0f", (double)row->peak_kib);
    fputc('\n', b->csv);
}

static FILE *open_result(const char *folder, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    if (file == NULL)
        bench_die("%s: cannot be written: %s", path, strerror(errno));
    return file;
}

/* Not a disk full of nothing: what was not written is a failure. */
static void close_result(FILE *file, const char *name) {
    bool bad = ferror(file) != 0;
    if (fclose(file) != 0 || bad)
        bench_die("%s: cannot be written: %s", name, strerror(errno));
}

static void cpu_name(char *name, size_t size) {
    char line[256];
    snprintf(name, size, "unknown processor");
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':') != NULL) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(name, size, "%s", strchr(line, ':') + 2);
            break;
        }
    if (file != NULL)
        fclose(file);
}

/* Whether the program need not read the model: it has it built in. */
static bool is_built_in(const vqz_model *model) {
    size_t size;
    const void *data = vqz_default_model(&size);
    vqz_model_info info, built_in;
    vqz_model *own;
    if (vqz_model_load(&own, data, size, NULL, NULL) != VQZ_OK)
        return false;
    vqz_model_get_info(model, &info);
    vqz_model_get_info(own, &built_in);
    vqz_model_free(own);
    return memcmp(info.hash, built_in.hash, sizeof info.hash) == 0;
}

static void say_head(const bench *b) {
    char name[256], date[64];
    struct utsname system;
    time_t now = time(NULL);
    struct tm calendar;
    vqz_model_info info;
    const char *policy = getenv("OMP_WAIT_POLICY");
    double load = 0;
    getloadavg(&load, 1);
    cpu_name(name, sizeof name);
    uname(&system);
    strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", gmtime_r(&now, &calendar));
    vqz_model_get_info(b->model, &info);
    bench_say(
        b,
        "## Codec\n\n%s, %d processors, %s %s; %s; compiler %s%s; OMP_WAIT_POLICY %s; load %.1f at "
        "the start.\n",
        name, b->threads, system.sysname, system.machine, date,
#ifdef __clang__
        "",
#else
        "gcc ",
#endif
        __VERSION__, policy == NULL ? "not set" : policy, load);
    bench_say(b,
              "Model %02x%02x%02x%02x: encoder %.1f, decoder %.1f kMAC/pixel.  Programs read and "
              "write files in %s, at the setting whose files are nearest to those of vqz -q %d in "
              "size.  'to vqz' is speed over vqz's: 2 is twice as fast.  vqz alone syncs what it "
              "writes to the disk.  -T, -j and --num_threads give the threads; cwebp and dwebp "
              "take -mt where there are several.  Each decoder writes PNG with its own zlib "
              "settings.\n\n",
              info.hash[0], info.hash[1], info.hash[2], info.hash[3],
              (double)info.analysis_macs / 1e3, (double)info.synthesis_macs / 1e3, bench_folder(),
              b->quality);
}

/* ---- pictures ---- */

static picture_set make_set(const char *name, int count) {
    return (picture_set){.name = name,
                         .count = count,
                         .pictures = bench_alloc((size_t)count * sizeof(bench_picture))};
}

static void add_picture(picture_set *set, int index, const vqz_image *image) {
    bench_picture *p = &set->pictures[index];
    p->image = *image;
    snprintf(p->png, sizeof p->png, "%s/%s-%d.png", bench_folder(), set->name, index);
    bench_write_png(p->png, image);
    set->megapixels += 1e-6 * image->width * image->height;
}

static picture_set load_set(const char *name, const char *path, corpus **pictures) {
    size_t count;
    *pictures = bench_load_pictures(path, 3, 0xffffff, &count);
    picture_set set = make_set(name, (int)count);
    for (size_t i = 0; i < count; i++)
        add_picture(&set, (int)i, corpus_picture(*pictures, i));
    return set;
}

static void free_set(picture_set *set) {
    for (int i = 0; i < set->count; i++)
        free(set->pictures[i].file);
    free(set->pictures);
}

/* Position in a picture that is repeated with every second copy mirrored, so that there are no
 * seams. */
static uint32_t mirrored(uint32_t position, uint32_t side) {
    uint32_t offset = position % side;
    return position / side % 2 ? side - 1 - offset : offset;
}

static vqz_image tile(const vqz_image *from, uint32_t width, uint32_t height) {
    vqz_image to = {width, height, from->channels, (size_t)width * from->channels, NULL};
    to.pixels = bench_alloc(to.stride * to.height);
    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < width; x++)
            memcpy(to.pixels + y * to.stride + (size_t)x * to.channels,
                   from->pixels + mirrored(y, from->height) * from->stride +
                       (size_t)mirrored(x, from->width) * from->channels,
                   to.channels);
    return to;
}

/* The picture as large as wanted, its aspect ratio kept. */
static vqz_image enlarge(const vqz_image *from, double pixels) {
    double scale = sqrt(pixels / ((double)from->width * from->height));
    double width = fmin(65535, fmax(1, round(from->width * scale)));
    double height = fmin(65535, fmax(1, round(from->height * scale)));
    return tile(from, (uint32_t)width, (uint32_t)height);
}

/* ---- */

static void measure_large(bench *b, const codec *codecs, picture_set *set) {
    b->repeats = (b->repeats + 1) / 2;
    bench_library(b, set, false);
    bench_programs(b, codecs, set);
}

static int usage(void) {
    fputs("usage: bench_codec [-n REPEATS] [-q QUALITY] [-l PICTURE | -s MEGAPIXELS] [-o FOLDER] "
          "MODEL.vqm PICTURES\n",
          stderr);
    return 2;
}

int main(int argc, char **argv) {
    bench b = {.quality = 80, .repeats = 3, .threads = omp_get_num_procs()};
    const char *out = "build/bench", *large_path = NULL;
    double large_megapixels = 13.4;
    for (int option; (option = getopt(argc, argv, "n:q:l:s:o:")) != -1;) {
        if (option == 'n')
            b.repeats = atoi(optarg);
        else if (option == 'q')
            b.quality = atoi(optarg);
        else if (option == 'l')
            large_path = optarg;
        else if (option == 's')
            large_megapixels = atof(optarg);
        else if (option == 'o')
            out = optarg;
        else
            return usage();
    }
    if (argc - optind != 2 || b.repeats < 1 || b.repeats > MAX_REPEATS || b.quality < 1 ||
        b.quality > 100 || !(large_megapixels >= 0 && large_megapixels <= 256))
        return usage();
    vqz_diag diag = {""};
    if (file_make_folder(out, &diag) != VQZ_OK)
        bench_die("%s", diag.message);
    b.vqz = getenv("VQZ") != NULL ? getenv("VQZ") : "./vqz";
    b.model_path = argv[optind];
    vqz_model *model = bench_load_model(b.model_path);
    b.model = model;
    if (is_built_in(model))
        b.model_path = "default";
    b.markdown = open_result(out, "bench.md");
    b.csv = open_result(out, "bench.csv");
    fputs(BENCH_CSV_HEAD, b.csv);

    corpus *pictures, *large_pictures = NULL;
    picture_set set = load_set("pictures", argv[optind + 1], &pictures), tiny, large = {0};
    vqz_image small = tile(&set.pictures[0].image, 8, 8), tiled = {0};
    tiny = make_set("8x8", 1);
    add_picture(&tiny, 0, &small);

    say_head(&b);
    codec *codecs = codecs_find(&b);
    codecs_choose_settings(&b, codecs, &set);
    bench_library(&b, &set, true);
    bench_programs(&b, codecs, &set);
    bench_start_up(&b, codecs, &tiny);
    if (large_path != NULL) {
        large = load_set("large", large_path, &large_pictures);
    } else if (large_megapixels > 0) {
        tiled = enlarge(&set.pictures[0].image, 1e6 * large_megapixels);
        large = make_set("large", 1);
        add_picture(&large, 0, &tiled);
    }
    if (large.count > 0)
        measure_large(&b, codecs, &large);

    close_result(b.markdown, "bench.md");
    close_result(b.csv, "bench.csv");
    free_set(&set);
    free_set(&tiny);
    free_set(&large);
    free(tiled.pixels);
    free(small.pixels);
    free(codecs);
    corpus_free(pictures);
    corpus_free(large_pictures);
    vqz_model_free(model);
    return 0;
}
