/*
 * bench_rd.c - rate and distortion of a vqz model beside JPEG, WebP, AVIF and JPEG XL, on real
 * files.
 *
 *   bench_rd [-m MODEL.vqm] [-o OUTPUT] [-c CACHE] [-q QUALITIES] [-r LEAST:MOST] [-n PICTURES]
 *            [-p PEERS] [-j JOBS] [-b BACKGROUND] [-t TITLE]
 *            [-e EFFORT] FOLDER
 *
 * Without a model the peers are measured alone.  Pictures are flattened over the background
 * (ffffff); when all of the folder are gray, or the model is, gray is what is coded and compared.
 * -q: a list, else one quality for each level of the model.  -r: of bpp, for BD-rate, the table
 * beside the best, and the plot.  -n: so many pictures, spread evenly over the folder.  -p: a list
 * of jpeg webp avif400 avif420 avif444 jxl; or none.  -j: pictures side by side.  Prints Markdown
 * and writes OUTPUT.md, OUTPUT.csv (every picture at every setting) and OUTPUT.svg.
 */
#include "tests/bench/bench_rd.h"
#include "cli/picture.h"
#include "trainer/corpus_walk.h"

#include <errno.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct settings {
    const char *output, *qualities, *peers;
    size_t limit; /* 0: all pictures */
    int jobs;
} settings;

/* ---- pictures ---- */

typedef struct skipped_paths {
    const corpus_files *files;
    bool *skipped;
} skipped_paths;

static void note_skipped(void *user, const char *path, const char *reason) {
    skipped_paths *s = user;
    fprintf(stderr, "bench_rd: %s: left out: %s\n", path, reason);
    for (size_t i = 0; i < s->files->count; i++)
        s->skipped[i] |= strcmp(s->files->paths[i], path) == 0;
}

/* Keeps `limit` of the pictures, evenly spread; names are those of the files that were not skipped.
 */
static void choose_pictures(rd_bench *b, const skipped_paths *s, size_t available, size_t limit) {
    size_t count = limit == 0 || limit > available ? available : limit, place = 0, chosen = 0;
    b->pictures = bench_alloc(count * sizeof *b->pictures);
    b->names = bench_alloc(count * sizeof *b->names);
    for (size_t i = 0; i < s->files->count && chosen < count; i++) {
        if (s->skipped[i])
            continue;
        if (place == chosen * available / count) {
            const char *name = s->files->paths[i];
            size_t folder = strlen(b->folder);
            if (strncmp(name, b->folder, folder) == 0 && name[folder] != '\0')
                name += folder + strspn(name + folder, "/");
            b->names[chosen] = strcpy(bench_alloc(strlen(name) + 1), name);
            b->pictures[chosen] = corpus_picture(b->corpus, place);
            b->pixels += (double)b->pictures[chosen]->width * b->pictures[chosen]->height;
            chosen++;
        }
        place++;
    }
    b->picture_count = chosen;
    b->pixels /= (double)chosen;
}

static void load_pictures(rd_bench *b, const settings *s, int channels) {
    corpus_options options = {.paths = &b->folder,
                              .path_count = 1,
                              .channels = channels,
                              .background = {(uint8_t)(b->background >> 16),
                                             (uint8_t)(b->background >> 8), (uint8_t)b->background},
                              .memory_budget = (size_t)8 << 30,
                              .min_side = 1,
                              .threads = s->jobs,
                              .read = picture_read_pixels,
                              .skipped = note_skipped};
    corpus_files files;
    corpus_stats stats;
    vqz_diag diag = {""};
    if (corpus_walk(&files, &options, &diag) != VQZ_OK)
        bench_die("%s", diag.message);
    skipped_paths skipped = {&files, bench_alloc(files.count * sizeof(bool))};
    options.user = &skipped;
    if (corpus_load(&b->corpus, &options, &diag) != VQZ_OK)
        bench_die("%s", diag.message);
    corpus_get_stats(b->corpus, &stats);
    choose_pictures(b, &skipped, stats.pictures, s->limit);
    free(skipped.skipped);
    corpus_files_free(&files);
}

/* ---- vqz ---- */

static void add_quality(rd_codec *c, long quality) {
    if (quality < 1 || quality > 100 || c->count == RD_MAX_POINTS)
        bench_die("qualities are at most %d numbers from 1 to 100, with commas", RD_MAX_POINTS);
    snprintf(c->settings[c->count++], sizeof *c->settings, "%ld", quality);
}

static void add_vqz(rd_bench *b, const char *qualities) {
    vqz_model_info info;
    vqz_model_get_info(b->model, &info);
    rd_codec *c = &b->codecs[b->codec_count++];
    *c = (rd_codec){.id = "vqz", .label = "vqz"};
    for (int i = 0; i < 4; i++)
        snprintf(b->model_hash + 2 * i, 3, "%02x", info.hash[i]);
    if (qualities == NULL || info.levels == 1) {
        long last = (long)info.levels - 1;
        for (long i = 0; i <= last; i++)
            add_quality(c, last == 0 ? 50 : 1 + (99 * i + last / 2) / last);
        return;
    }
    for (const char *at = qualities; *at != '\0'; at += strspn(at, ", ")) {
        char *end;
        add_quality(c, strtol(at, &end, 10));
        if (*end != '\0' && *end != ',' && *end != ' ')
            bench_die("%s: not a list of qualities", qualities);
        at = end;
    }
}

static void measure_vqz(const rd_bench *b, vqz_context *context, const rd_codec *c, size_t index) {
    const vqz_image *original = b->pictures[index];
    vqz_image decoded = *original;
    decoded.pixels = bench_alloc(decoded.stride * decoded.height);
    for (int i = 0; i < c->count; i++) {
        vqz_encode_options options;
        vqz_diag diag = {""};
        void *file;
        size_t size;
        vqz_encode_options_init(&options);
        options.quality = atoi(c->settings[i]);
        if (b->effort > 0)
            options.effort = b->effort;
        if (vqz_encode(context, b->model, original, &options, &file, &size, &diag) != VQZ_OK ||
            vqz_decode(context, b->model, file, size, &decoded, &diag) != VQZ_OK)
            bench_die("%s: %s", b->names[index], diag.message);
        c->values[index * (size_t)c->count + (size_t)i] =
            rd_compare(original, &decoded, (double)size);
        vqz_free(file);
    }
    free(decoded.pixels);
}

static void measure_all(rd_bench *b, int jobs) {
    size_t done = 0;
    bool terminal = isatty(STDERR_FILENO);
    for (rd_codec *c = b->codecs; c < b->codecs + b->codec_count; c++)
        c->values = bench_alloc(b->picture_count * (size_t)c->count * sizeof *c->values);
    bench_folder(); /* before there are threads */
#pragma omp parallel num_threads(jobs)
    {
        vqz_context_options options;
        vqz_context *context;
        vqz_diag diag = {""};
        vqz_context_options_init(&options);
        options.threads = 1;
        if (vqz_context_create(&context, &options, &diag) != VQZ_OK)
            bench_die("%s", diag.message);
#pragma omp for schedule(dynamic, 1)
        for (size_t i = 0; i < b->picture_count; i++) {
            bench_check_stop();
            for (rd_codec *c = b->codecs; c < b->codecs + b->codec_count; c++)
                if (c->peer == NULL)
                    measure_vqz(b, context, c, i);
                else
                    rd_measure_peer(b, c, i);
#pragma omp critical(progress)
            if (++done, terminal)
                fprintf(stderr, "\r%zu of %zu", done, b->picture_count);
        }
        vqz_context_free(context);
    }
    if (terminal)
        fputc('\n', stderr);
}

/* ---- the program ---- */

static void write_report(const rd_bench *b, const char *output, const char *extension,
                         void write(const rd_bench *b, FILE *file)) {
    char path[1024];
    if (snprintf(path, sizeof path, "%s.%s", output, extension) >= (int)sizeof path)
        bench_die("%s: the name is too long", output);
    FILE *file = fopen(path, "w");
    if (file == NULL)
        bench_die("%s: %s", path, strerror(errno));
    write(b, file);
    if (fclose(file) != 0)
        bench_die("%s: %s", path, strerror(errno));
}

/* Every folder of a path; with `whole`, the last name is one too. */
static void make_folders(const char *path, bool whole) {
    char part[1024];
    if (snprintf(part, sizeof part, "%s%s", path, whole ? "/" : "") >= (int)sizeof part)
        bench_die("%s: the name is too long", path);
    for (char *slash = part; (slash = strchr(slash + 1, '/')) != NULL; *slash = '/') {
        *slash = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            bench_die("%s: %s", part, strerror(errno));
    }
}

static _Noreturn void usage(void) {
    fputs("usage: bench_rd [-m MODEL.vqm] [-o OUTPUT] [-c CACHE] [-q QUALITIES] [-r LEAST:MOST]\n"
          "                [-n PICTURES] [-p PEERS] [-j JOBS] [-b BACKGROUND | -a] [-t TITLE] FOLDER\n",
          stderr);
    exit(2);
}

static void read_options(rd_bench *b, settings *s, int argc, char **argv) {
    for (int letter; (letter = getopt(argc, argv, "m:o:c:q:r:n:p:j:b:t:e:a")) != -1;) {
        char rest;
        switch (letter) {
        case 'm':
            b->model_path = optarg;
            break;
        case 'o':
            s->output = optarg;
            break;
        case 'c':
            b->cache = optarg;
            break;
        case 'q':
            s->qualities = optarg;
            break;
        case 'r':
            if (sscanf(optarg, "%lf:%lf%c", &b->least_bpp, &b->most_bpp, &rest) != 2 ||
                !(b->least_bpp >= 0) || !(b->least_bpp < b->most_bpp))
                bench_die("%s: a range is LEAST:MOST in bits per pixel, such as 0.1:0.9", optarg);
            break;
        case 'n':
            s->limit = strtoul(optarg, NULL, 10);
            break;
        case 'p':
            s->peers = optarg;
            break;
        case 'j':
            s->jobs = VQZI_MAX(atoi(optarg), 1);
            break;
        case 'b':
            b->background = (uint32_t)strtoul(optarg, NULL, 16) & 0xffffff;
            break;
        case 'a':
            b->alpha = true;
            break;
        case 't':
            b->title = optarg;
            break;
        case 'e':
            b->effort = atoi(optarg);
            break;
        default:
            usage();
        }
    }
    if (optind + 1 != argc)
        usage();
    b->folder = argv[optind];
    if (b->title == NULL)
        b->title = b->folder;
}

int main(int argc, char **argv) {
    rd_bench b = {.background = 0xffffff, .most_bpp = INFINITY, .cache = "build/bench/cache"};
    settings s = {.output = "build/bench/rd", .jobs = omp_get_num_procs()};
    read_options(&b, &s, argc, argv);
    make_folders(s.output, false);
    make_folders(b.cache, true);
    int channels = 0; /* gray when all pictures are */
    if (b.model_path != NULL) {
        vqz_model_info info;
        b.model = bench_load_model(b.model_path);
        vqz_model_get_info(b.model, &info);
        channels = info.channels == 1;
    }
    if (b.alpha)
        channels = 4;
    load_pictures(&b, &s, channels);
    if (b.model != NULL)
        add_vqz(&b, s.qualities);
    rd_add_peers(&b, s.peers);
    if (b.codec_count == 0)
        bench_die("nothing to measure: neither a model nor a peer");
    measure_all(&b, s.jobs);
    fprintf(stderr, "results of the other programs: %zu measured, %zu remembered in %s\n",
            b.measured, b.remembered, b.cache);
    rd_summarise(&b);
    rd_write_markdown(&b, stdout);
    write_report(&b, s.output, "md", rd_write_markdown);
    write_report(&b, s.output, "csv", rd_write_csv);
    write_report(&b, s.output, "svg", rd_write_plot);
    for (int i = 0; i < b.codec_count; i++)
        free(b.codecs[i].values);
    for (size_t i = 0; i < b.picture_count; i++)
        free(b.names[i]);
    free(b.names);
    free(b.pictures);
    corpus_free(b.corpus);
    vqz_model_free(b.model);
    return 0;
}
