/*
 * bench_rd.c - rate and distortion of a vqz model beside cwebp and avifenc, on real files.
 *
 *   bench_rd MODEL.vqm FOLDER [MAX_PICTURES] [BACKGROUND]
 *
 * Every picture is flattened over the background (default ffffff) and written as PNG for the peers;
 * sizes are those of the files on disk, PSNR is of their decoded pixels (RGB, or gray when the model
 * and the picture are gray).  Prints a CSV row per picture to stdout, and a Markdown table of means
 * with the peers' bytes at vqz's PSNR, interpolated linearly in PSNR and log bytes on the mean curve.
 * Needs the peers' programs: Debian packages webp and libavif-bin.
 */
#include "cli/file.h"
#include "cli/metrics.h"
#include "tests/support/picture_file.h"
#include "trainer/corpus.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_POINTS = 16, VQZ, WEBP, AVIF, AVIF444, CODECS };
static const char *const NAMES[CODECS] = {[VQZ] = "vqz", [WEBP] = "webp", [AVIF] = "avif420",
                                          [AVIF444] = "avif444"};
typedef struct curve {
    int count;
    int quality[MAX_POINTS];
    double bytes[MAX_POINTS], bpp[MAX_POINTS], psnr[MAX_POINTS], ssim[MAX_POINTS]; /* sums, then means */
} curve;

typedef struct bench {
    vqz_model *model;
    vqz_context *context;
    vqz_model_info info;
    char folder[64];
    curve curves[CODECS];
} bench;

static void die(const char *what, const vqz_diag *diag) {
    fprintf(stderr, "bench_rd: %s%s%s\n", what, diag ? ": " : "", diag ? diag->message : "");
    exit(1);
}

static double capped_psnr(const vqz_image *a, const vqz_image *b) {
    return fmin(metrics_psnr(a, b), 100);
}

/* A decoded picture with the channels of the original, for comparison. */
static void match_channels(picture *p, uint32_t channels) {
    const vqz_image *from = &p->image;
    if (from->channels == channels)
        return;
    size_t pixels = (size_t)from->width * from->height;
    uint8_t *converted = malloc(pixels * channels);
    if (!converted)
        die("out of memory", NULL);
    for (size_t i = 0; i < pixels; i++)
        for (uint32_t c = 0; c < channels; c++)
            converted[i * channels + c] = from->pixels[i * from->channels + (from->channels < 3 ? 0 : c)];
    free(p->image.pixels);
    p->image.pixels = converted;
    p->image.channels = channels;
    p->image.stride = (size_t)from->width * channels;
}

static void add(bench *b, int codec, int point, int quality, const char *name, double bytes,
                const vqz_image *original, const vqz_image *decoded) {
    curve *c = &b->curves[codec];
    double pixels = (double)original->width * original->height, ssim;
    double psnr = capped_psnr(original, decoded);
    if (metrics_ms_ssim(original, decoded, 0, &ssim) != VQZ_OK)
        die("out of memory", NULL);
    c->quality[point] = quality;
    c->bytes[point] += bytes;
    c->bpp[point] += 8 * bytes / pixels;
    c->psnr[point] += psnr;
    c->ssim[point] += ssim;
    c->count = VQZI_MAX(c->count, point + 1);
    printf("%s,%d,%s,%.0f,%.5f,%.4f,%.5f\n", NAMES[codec], quality, name, bytes, 8 * bytes / pixels,
           psnr, ssim);
}

/* Runs "encode && decode" with the folder's original.png, coded and decoded.png. */
static void run_peer(bench *b, int codec, int point, int quality, const char *name,
                     const vqz_image *original) {
    char command[1024], coded[128], decoded[128];
    snprintf(coded, sizeof coded, "%s/coded", b->folder);
    snprintf(decoded, sizeof decoded, "%s/decoded.png", b->folder);
    if (codec == WEBP)
        snprintf(command, sizeof command,
                 "(cwebp -m 6 -q %d %s/original.png -o %s && dwebp %s -o %s) >/dev/null 2>&1",
                 quality, b->folder, coded, coded, decoded);
    else
        snprintf(command, sizeof command,
                 "(avifenc -s 6 -j 2 -y %s --min %d --max %d %s/original.png %s && "
                 "avifdec --png-compress 0 %s %s) >/dev/null 2>&1",
                 original->channels == 1 ? "400" : codec == AVIF ? "420" : "444", quality, quality,
                 b->folder, coded, coded, decoded);
    struct stat info;
    picture p = {0};
    vqz_diag diag = {""};
    if (system(command) != 0 || stat(coded, &info) != 0)
        die(command, NULL);
    if (picture_file_read(&p, decoded, (uint64_t)1 << 30, &diag) != VQZ_OK)
        die("decoded picture", &diag);
    match_channels(&p, original->channels);
    add(b, codec, point, quality, name, (double)info.st_size, original, &p.image);
    picture_clear(&p);
}

static void run_vqz(bench *b, int point, int quality, const char *name, const vqz_image *original) {
    vqz_encode_options options;
    vqz_diag diag = {""};
    void *file;
    size_t size;
    vqz_encode_options_init(&options);
    options.quality = quality;
    if (vqz_encode(b->context, b->model, original, &options, &file, &size, &diag) != VQZ_OK)
        die("encode", &diag);
    vqz_image decoded = *original;
    decoded.pixels = malloc(decoded.stride * decoded.height);
    if (!decoded.pixels ||
        vqz_decode(b->context, b->model, file, size, &decoded, &diag) != VQZ_OK)
        die("decode", &diag);
    add(b, VQZ, point, quality, name, (double)size, original, &decoded);
    free(decoded.pixels);
    vqz_free(file);
}

static void run_picture(bench *b, const char *name, const vqz_image *image) {
    static const int webp[] = {0, 5, 10, 20, 35, 50, 65, 80, 90, 96};
    static const int avif[] = {63, 58, 53, 48, 43, 38, 33, 26, 20, 12};
    picture p = {.image = *image};
    char path[128];
    vqz_diag diag = {""};
    snprintf(path, sizeof path, "%s/original.png", b->folder);
    if (picture_file_write(path, &p, PICTURE_PNG, &diag) != VQZ_OK)
        die(path, &diag);
    int levels = (int)b->info.levels;
    for (int i = 0; i < levels; i++)
        run_vqz(b, i, levels == 1 ? 50 : 1 + (99 * i + (levels - 1) / 2) / (levels - 1), name, image);
    for (int i = 0; i < 10; i++) {
        run_peer(b, WEBP, i, webp[i], name, image);
        run_peer(b, AVIF, i, avif[i], name, image);
        if (image->channels != 1)
            run_peer(b, AVIF444, i, avif[i], name, image);
    }
}

/* Bytes of a curve at a PSNR, by interpolation; 0 outside of it. */
static double bytes_at(const curve *c, double psnr) {
    for (int i = 0; i + 1 < c->count; i++)
        if (c->psnr[i] <= psnr && psnr <= c->psnr[i + 1]) {
            double part = (psnr - c->psnr[i]) / (c->psnr[i + 1] - c->psnr[i]);
            return exp(log(c->bytes[i]) * (1 - part) + log(c->bytes[i + 1]) * part);
        }
    return 0;
}

static void print_tables(bench *b, double pictures) {
    for (int codec = VQZ; codec < CODECS; codec++)
        for (int i = 0; i < b->curves[codec].count; i++) {
            curve *c = &b->curves[codec];
            c->bytes[i] /= pictures;
            c->bpp[i] /= pictures;
            c->psnr[i] /= pictures;
            c->ssim[i] /= pictures;
        }
    const curve *v = &b->curves[VQZ];
    printf("\n| -q | bytes | bpp | PSNR dB | MS-SSIM | WebP bytes at this PSNR | AVIF 4:2:0 (gray: 4:0:0) | "
           "AVIF 4:4:4 |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for (int i = 0; i < v->count; i++) {
        printf("| %d | %.0f | %.4f | %.2f | %.4f |", v->quality[i], v->bytes[i], v->bpp[i],
               v->psnr[i], v->ssim[i]);
        for (int codec = WEBP; codec < CODECS; codec++) {
            const curve *peer = &b->curves[codec];
            double bytes = bytes_at(peer, v->psnr[i]);
            if (bytes > 0)
                printf(" %.0f |", bytes);
            else if (peer->count == 0)
                printf(" – |");
            else if (v->psnr[i] < peer->psnr[0])
                printf(" its least: %.0f at %.2f dB |", peer->bytes[0], peer->psnr[0]);
            else
                printf(" out of its range |");
        }
        printf("\n");
    }
}

int main(int argc, char **argv) {
    bench b = {0};
    vqz_diag diag = {""};
    void *data;
    size_t size;
    if (argc < 3 || argc > 5) {
        fprintf(stderr, "usage: bench_rd MODEL.vqm FOLDER [MAX_PICTURES] [BACKGROUND]\n");
        return 2;
    }
    if (file_read(argv[1], (size_t)1 << 28, &data, &size, &diag) != VQZ_OK ||
        vqz_model_load(&b.model, data, size, NULL, &diag) != VQZ_OK ||
        vqz_context_create(&b.context, NULL, &diag) != VQZ_OK)
        die(argv[1], &diag);
    free(data);
    vqz_model_get_info(b.model, &b.info);
    unsigned background = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 16) : 0xffffff;
    const char *paths[] = {argv[2]};
    corpus_options options = {.paths = paths,
                              .path_count = 1,
                              .channels = (int)b.info.channels,
                              .background = {(uint8_t)(background >> 16), (uint8_t)(background >> 8),
                                             (uint8_t)background},
                              .memory_budget = (size_t)8 << 30,
                              .min_side = 1,
                              .threads = 2,
                              .read = picture_read_pixels};
    corpus *pictures;
    if (corpus_load(&pictures, &options, &diag) != VQZ_OK)
        die(argv[2], &diag);
    corpus_stats stats;
    corpus_get_stats(pictures, &stats);
    size_t limit = argc > 3 ? strtoul(argv[3], NULL, 10) : stats.pictures;
    size_t count = VQZI_MIN(limit, stats.pictures);
    snprintf(b.folder, sizeof b.folder, "/tmp/bench-rd-XXXXXX");
    if (count == 0 || !mkdtemp(b.folder))
        die("no pictures, or no temporary folder", NULL);
    printf("codec,quality,picture,bytes,bpp,psnr,ms_ssim\n");
    for (size_t i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "%zu", i * stats.pictures / count);
        run_picture(&b, name, corpus_picture(pictures, i * stats.pictures / count));
        fprintf(stderr, "\r%zu of %zu", i + 1, count);
    }
    fputc('\n', stderr);
    print_tables(&b, (double)count);
    static const char *const left[] = {"original.png", "coded", "decoded.png"};
    for (int i = 0; i < 3; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", b.folder, left[i]);
        unlink(path);
    }
    rmdir(b.folder);
    corpus_free(pictures);
    vqz_context_free(b.context);
    vqz_model_free(b.model);
    return 0;
}
