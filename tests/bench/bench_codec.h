/*
 * bench_codec.h - the parts of bench_codec: sets of pictures, the library, whole programs, results.
 */
#ifndef TESTS_BENCH_CODEC_H
#define TESTS_BENCH_CODEC_H

#include "tests/bench/common.h"

enum { MAX_REPEATS = 100 };

typedef struct bench_picture {
    vqz_image image;
    char png[640];          /* the file that programs are given */
    void *file;             /* what the library encodes it to, */
    size_t file_size;       /*   every path alike, */
    uint8_t pixel_hash[32]; /*   and what it decodes to */
} bench_picture;

typedef struct picture_set {
    const char *name;
    int count;
    bench_picture *pictures;
    double megapixels; /* of all of them */
} picture_set;

typedef struct bench {
    const vqz_model *model;
    const char *model_path, *vqz; /* the program */
    int quality, threads;         /* threads: all */
    int repeats;
    FILE *markdown, *csv; /* Markdown goes to standard output, too */
} bench;

/* One line of the CSV; NULL and 0 are written as nothing. */
typedef struct bench_row {
    const char *table, *pictures, *codec, *operation, *setting, *cpu;
    int threads, runs;
    double seconds, least_seconds; /* median and minimum, of all pictures of the set */
    double megapixels, times_vqz, bits_per_pixel;
    long peak_kib;
} bench_row;
extern const char BENCH_CSV_HEAD[];
void bench_write_row(const bench *b, const bench_row *row);
/* Markdown to both places. */
void bench_say(const bench *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Measures the library in process on every instruction set and number of threads, and ends the
   program when any of them gives another file or other pixels.  with_scalar: the reference kernels
   too, which take a minute for ten megapixels.  Fills in what the set's pictures become. */
void bench_library(const bench *b, picture_set *set, bool with_scalar);

/* The codecs of the comparison, vqz the first; the file-size settings of its peers are those whose
   files of the set come closest to vqz's. */
typedef struct codec codec;
codec *codecs_find(const bench *b);
void codecs_choose_settings(const bench *b, codec *codecs, const picture_set *set);
/* Whole programs, PNG in, PNG or PPM out; also checks that vqz's files and pixels are the
 * library's. */
void bench_programs(const bench *b, const codec *codecs, const picture_set *set);
/* The same on a picture of 8 x 8, many times. */
void bench_start_up(const bench *b, const codec *codecs, const picture_set *set);

#endif
