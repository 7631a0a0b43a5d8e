/*
 * rd_peers.c - the other codecs of bench_rd: their programs, their settings, and a cache of
 * results.
 *
 * What a peer makes of a picture depends on the pixels, the program's version and the setting
 * alone.  The cache has a file for each picture and peer, named by the hash of the pixels, the
 * version and the commands, with a line "setting bytes psnr ms_ssim" for each setting.  Files are
 * replaced whole, so a run that is stopped loses one picture at most.
 */
#include "cli/metrics.h"
#include "format/container.h"
#include "tests/bench/bench_rd.h"
#include "tests/support/picture_file.h"

#include <errno.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_ENCODERS = 2, MAX_PATH = 1024 };
/* Changed when the measures do, so that older results are not taken for theirs. */
static const char MEASURES[] = "rd 1: rgb or gray psnr, ms-ssim";

typedef enum pictures_kind { ANY, GRAY, COLOUR } pictures_kind;

struct rd_peer {
    const char *id, *label;
    const char *encoder, *decoder, *version; /* version: the option that prints it */
    const char *shown;                       /* the options that matter, for the report */
    const char *encode[MAX_ENCODERS];        /* patterns of bench_run; the smaller file counts */
    const char *decode;
    /* Where pictures have alpha: patterns that lose as much of it as of the colours, and decode to PNG
       or to the format of alpha_extension.  NULL: as above. */
    const char *alpha_encode, *alpha_decode, *alpha_extension;
    const char *settings; /* from the smallest files to about 45 dB */
    pictures_kind kind;
    bool reads_pnm, writes_pnm; /* else PNG */
    bool no_alpha;
};

/* One thread each: pictures are worked on side by side. */
static const char WEBP_SETTINGS[] = "0 2 5 10 18 30 45 60 75 87 95 100";
static const char AVIF_SETTINGS[] = "63 61 58 54 49 43 37 31 25 19 13 5";
static const char AVIF_DECODE[] = "%p -j 1 --png-compress 0 %i %o";
static const rd_peer PEERS[] = {
    {.id = "jpeg",
     .label = "JPEG",
     .encoder = "cjpeg",
     .decoder = "djpeg",
     .version = "-version",
     .shown = "-optimize, with or without -progressive, whichever is smaller, -quality",
     .encode = {"%p -quality %q -optimize -outfile %o %i",
                "%p -quality %q -optimize -progressive -outfile %o %i"},
     .decode = "%p -outfile %o %i",
     .settings = "1 3 6 10 18 30 45 60 75 86 93 98",
     .reads_pnm = true,
     .writes_pnm = true,
     .no_alpha = true},
    {.id = "webp",
     .label = "WebP",
     .encoder = "cwebp",
     .decoder = "dwebp",
     .version = "-version",
     .shown = "-m 6 -q",
     .encode = {"%p -quiet -m 6 -q %q %i -o %o"},
     .decode = "%p -quiet -ppm %i -o %o",
     .alpha_encode = "%p -quiet -m 6 -q %q -alpha_q %q %i -o %o",
     .alpha_decode = "%p -quiet -pam %i -o %o",
     .alpha_extension = "pam",
     .settings = WEBP_SETTINGS,
     .writes_pnm = true},
    {.id = "avif400",
     .label = "AVIF 4:0:0",
     .encoder = "avifenc",
     .decoder = "avifdec",
     .version = "--version",
     .shown = "-s 6 -y 400 --min and --max",
     .encode = {"%p -s 6 -j 1 -y 400 --min %q --max %q %i %o"},
     .decode = AVIF_DECODE,
     .settings = AVIF_SETTINGS,
     .kind = GRAY},
    {.id = "avif420",
     .label = "AVIF 4:2:0",
     .encoder = "avifenc",
     .decoder = "avifdec",
     .version = "--version",
     .shown = "-s 6 -y 420 --min and --max",
     .encode = {"%p -s 6 -j 1 -y 420 --min %q --max %q %i %o"},
     .decode = AVIF_DECODE,
     .alpha_encode = "%p -s 6 -j 1 -y 420 --min %q --max %q --minalpha %q --maxalpha %q %i %o",
     .settings = AVIF_SETTINGS,
     .kind = COLOUR},
    {.id = "avif444",
     .label = "AVIF 4:4:4",
     .encoder = "avifenc",
     .decoder = "avifdec",
     .version = "--version",
     .shown = "-s 6 -y 444 --min and --max",
     .encode = {"%p -s 6 -j 1 -y 444 --min %q --max %q %i %o"},
     .decode = AVIF_DECODE,
     .alpha_encode = "%p -s 6 -j 1 -y 444 --min %q --max %q --minalpha %q --maxalpha %q %i %o",
     .settings = AVIF_SETTINGS,
     .kind = COLOUR},
    {.id = "jxl",
     .label = "JPEG XL",
     .encoder = "cjxl",
     .decoder = "djxl",
     .version = "--version",
     .shown = "-e 7 -d",
     .encode = {"%p -e 7 --num_threads=0 -d %q %i %o"},
     .decode = "%p --num_threads=0 %i %o",
     .settings = "25 18 13 9.5 6.5 4.5 3 2 1.3 0.8 0.5 0.3",
     .writes_pnm = true},
};
enum { PEER_COUNT = sizeof PEERS / sizeof *PEERS };

/* ---- which take part ---- */

static bool is_listed(const char *list, const char *id) {
    size_t length = strlen(id);
    for (const char *at = list; at != NULL && *at != '\0'; at += strcspn(at, ", ")) {
        at += strspn(at, ", ");
        if (strcspn(at, ", ") == length && strncmp(at, id, length) == 0)
            return true;
    }
    return false;
}

static void check_ids(const char *wanted) {
    char copy[256];
    snprintf(copy, sizeof copy, "%s", wanted);
    for (char *rest = copy, *word; (word = strtok_r(rest, ", ", &rest)) != NULL;) {
        bool known = strcmp(word, "none") == 0;
        for (const rd_peer *p = PEERS; p < PEERS + PEER_COUNT; p++)
            known |= strcmp(word, p->id) == 0;
        if (!known)
            bench_die("no peer is called %s; there are jpeg webp avif400 (gray pictures) avif420 "
                      "avif444 jxl, or none",
                      word);
    }
}

void rd_add_peers(rd_bench *b, const char *wanted) {
    bool gray = b->pictures[0]->channels == 1;
    if (wanted != NULL)
        check_ids(wanted);
    for (const rd_peer *p = PEERS; p < PEERS + PEER_COUNT; p++) {
        if ((wanted != NULL && !is_listed(wanted, p->id)) ||
            p->kind == (gray ? COLOUR : GRAY))
            continue;
        if (b->alpha && p->no_alpha) {
            size_t length = strlen(b->left_out);
            snprintf(b->left_out + length, sizeof b->left_out - length,
                     "- %s is left out: it has no alpha\n", p->label);
            continue;
        }
        if (!bench_has_program(p->encoder) || !bench_has_program(p->decoder)) {
            size_t length = strlen(b->left_out);
            snprintf(b->left_out + length, sizeof b->left_out - length,
                     "- %s is left out: %s is not installed\n", p->label,
                     bench_has_program(p->encoder) ? p->decoder : p->encoder);
            continue;
        }
        rd_codec *c = &b->codecs[b->codec_count++];
        *c = (rd_codec){.peer = p, .id = p->id, .label = p->label};
        bench_version(c->version, sizeof c->version, p->encoder, p->version);
        /* behind it: the codecs that it was built with, the processor's features */
        size_t end = strcspn(c->version, "([");
        while (end > 0 && c->version[end - 1] == ' ')
            end--;
        c->version[end] = '\0';
        char copy[128];
        snprintf(copy, sizeof copy, "%s", p->settings);
        for (char *rest = copy, *word; (word = strtok_r(rest, " ", &rest)) != NULL;)
            snprintf(c->settings[c->count++], sizeof *c->settings, "%s", word);
    }
}

void rd_peer_command(char text[96], const rd_peer *peer) {
    snprintf(text, 96, "%s %s", peer->encoder, peer->shown);
}

const char *rd_peer_alpha(const rd_bench *b, const rd_peer *peer) {
    return b->alpha && peer->alpha_encode ? ", and the same for alpha" : "";
}

/* ---- one result ---- */

rd_value rd_compare(const vqz_image *original, const vqz_image *decoded, double bytes) {
    rd_value v = {.bytes = bytes, .psnr = fmin(metrics_psnr(original, decoded), 100)};
    if (metrics_ms_ssim(original, decoded, 1, &v.ssim) != VQZ_OK)
        bench_die("out of memory");
    return v;
}

/* Decoders may add or drop channels: gray as RGB, RGB whose samples are equal as gray, alpha that is
   opaque. */
static void match_channels(picture *p, uint32_t channels) {
    const vqz_image *from = &p->image;
    if (from->channels == channels)
        return;
    size_t pixels = (size_t)from->width * from->height;
    uint8_t *converted = bench_alloc(pixels * channels);
    for (size_t i = 0; i < pixels; i++)
        for (uint32_t c = 0; c < channels; c++) {
            const uint8_t *pixel = from->pixels + i * from->channels;
            bool has_alpha = from->channels % 2 == 0;
            converted[i * channels + c] = c == 3 ? (has_alpha ? pixel[from->channels - 1] : 255)
                                                 : pixel[from->channels < 3 ? 0 : c];
        }
    free(p->image.pixels);
    p->image.pixels = converted;
    p->image.channels = channels;
    p->image.stride = (size_t)from->width * channels;
}

static const char *encode_pattern(const rd_peer *peer, const vqz_image *image) {
    return image->channels == 4 && peer->alpha_encode ? peer->alpha_encode : peer->encode[0];
}

static const char *decode_pattern(const rd_peer *peer, const vqz_image *image) {
    return image->channels == 4 && peer->alpha_decode ? peer->alpha_decode : peer->decode;
}

static const char *decoded_extension(const rd_peer *peer, const vqz_image *image) {
    if (image->channels == 4)
        return peer->alpha_extension ? peer->alpha_extension : "png";
    return !peer->writes_pnm ? "png" : image->channels == 1 ? "pgm" : "ppm";
}

static rd_value measure(const rd_peer *peer, const char *setting, const vqz_image *original) {
    char input[MAX_PATH], coded[MAX_PATH], decoded[MAX_PATH], other[MAX_PATH];
    const char *folder = bench_folder();
    int thread = omp_get_thread_num();
    snprintf(input, sizeof input, "%s/original-%d.%s", folder, thread,
             peer->reads_pnm ? "pnm" : "png");
    snprintf(coded, sizeof coded, "%s/coded-%d", folder, thread);
    snprintf(other, sizeof other, "%s/other-%d", folder, thread);
    snprintf(decoded, sizeof decoded, "%s/decoded-%d.%s", folder, thread,
             decoded_extension(peer, original));
    bench_words words = {
        .program = peer->encoder, .input = input, .output = coded, .setting = setting};
    bench_run(encode_pattern(peer, original), &words);
    uint64_t bytes = bench_file_size(coded);
    if (peer->encode[1] != NULL) {
        words.output = other;
        bench_run(peer->encode[1], &words);
        if (bench_file_size(other) < bytes) {
            bytes = bench_file_size(other);
            if (rename(other, coded) != 0)
                bench_die("%s: %s", coded, strerror(errno));
        }
    }
    words = (bench_words){.program = peer->decoder, .input = coded, .output = decoded};
    bench_run(decode_pattern(peer, original), &words);
    picture p = {0};
    vqz_diag diag = {""};
    if (picture_file_read(&p, decoded, (uint64_t)1 << 30, &diag) != VQZ_OK)
        bench_die("%s: %s", decoded, diag.message);
    if (p.image.width != original->width || p.image.height != original->height)
        bench_die("%s: not the size of the original", decoded);
    match_channels(&p, original->channels);
    rd_value v = rd_compare(original, &p.image, (double)bytes);
    picture_clear(&p);
    if (unlink(decoded) != 0) /* or a decoder that writes nothing would be given this one */
        bench_die("%s: %s", decoded, strerror(errno));
    return v;
}

static void write_original(const vqz_image *image) {
    char path[MAX_PATH];
    picture p = {.image = *image};
    vqz_diag diag = {""};
    snprintf(path, sizeof path, "%s/original-%d.png", bench_folder(), omp_get_thread_num());
    bench_write_png(path, image);
    if (image->channels == 4)
        return; /* those that read PNM know no alpha */
    strcpy(strrchr(path, '.'), ".pnm");
    if (picture_file_write(path, &p, PICTURE_PNM, &diag) != VQZ_OK)
        bench_die("%s: %s", path, diag.message);
}

/* ---- the cache ---- */

static void cache_path(char path[MAX_PATH], const rd_bench *b, const rd_codec *c,
                       const vqz_image *image) {
    uint8_t hash[32];
    char key[1536];
    vqzi_sha256(hash, image->pixels, image->stride * image->height);
    int length =
        snprintf(key, sizeof key, "%s\n%u %u %u %llu\n%s\n%s\n%s\n%s\n", MEASURES, image->width,
                 image->height, image->channels, (unsigned long long)image->stride, c->version,
                 encode_pattern(c->peer, image), c->peer->encode[1] ? c->peer->encode[1] : "",
                 decode_pattern(c->peer, image));
    if (length < 0 || (size_t)length + sizeof hash > sizeof key)
        bench_die("%s: its version is too long", c->peer->encoder);
    memcpy(key + length, hash, sizeof hash);
    vqzi_sha256(hash, key, (size_t)length + sizeof hash);
    length = snprintf(path, MAX_PATH, "%s/%s-", b->cache, c->id);
    if (length > MAX_PATH - 48)
        bench_die("%s: the name is too long", b->cache);
    for (int i = 0; i < 16; i++)
        length += snprintf(path + length, 3, "%02x", hash[i]);
}

/* Fills in the settings that the file has; known[i] says which. */
static int read_cache(const char *path, const rd_codec *c, rd_value *values, bool *known) {
    char setting[32];
    rd_value v;
    int found = 0;
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    while (fscanf(file, "%31s %lf %lf %lf", setting, &v.bytes, &v.psnr, &v.ssim) == 4)
        for (int i = 0; i < c->count; i++)
            if (strcmp(setting, c->settings[i]) == 0 && !known[i]) {
                values[i] = v;
                known[i] = true;
                found++;
            }
    fclose(file);
    return found;
}

static void write_cache(const char *path, const rd_codec *c, const rd_value *values) {
    char temporary[MAX_PATH + 32];
    snprintf(temporary, sizeof temporary, "%s.%ld-%d", path, (long)getpid(), omp_get_thread_num());
    FILE *file = fopen(temporary, "w");
    if (file == NULL)
        bench_die("%s: %s", temporary, strerror(errno));
    for (int i = 0; i < c->count; i++)
        fprintf(file, "%s %.0f %.8f %.8f\n", c->settings[i], values[i].bytes, values[i].psnr,
                values[i].ssim);
    if (fclose(file) != 0 || rename(temporary, path) != 0)
        bench_die("%s: %s", path, strerror(errno));
}

void rd_measure_peer(rd_bench *b, rd_codec *c, size_t index) {
    const vqz_image *image = b->pictures[index];
    rd_value *values = c->values + index * (size_t)c->count;
    bool known[RD_MAX_POINTS] = {false};
    char path[MAX_PATH];
    cache_path(path, b, c, image);
    int found = read_cache(path, c, values, known);
    if (found < c->count) {
        write_original(image);
        for (int i = 0; i < c->count; i++)
            if (!known[i])
                values[i] = measure(c->peer, c->settings[i], image);
        write_cache(path, c, values);
    }
#pragma omp atomic
    b->remembered += (size_t)found;
#pragma omp atomic
    b->measured += (size_t)(c->count - found);
}
