/*
 * file_maker.h - valid .vqz files that no encoder would write: any codes, every way to write a
 * stream, chunks in any order.  For tests of decoders.
 */
#ifndef TESTS_FILE_MAKER_H
#define TESTS_FILE_MAKER_H

#include "format/container.h"
#include "tests/support/random_model.h"

typedef enum made_codes {
    MADE_NOISE,    /* any code anywhere */
    MADE_SMOOTH,   /* slopes with a little noise: what the filter is for */
    MADE_RUNS,     /* long runs: what zstd is for */
    MADE_LOWEST,   /* code 0 */
    MADE_HIGHEST,  /* code K - 1 */
    MADE_EXTREMES, /* one of the two */
    MADE_STYLES
} made_codes;

enum { MADE_ANY = -1 };

typedef struct file_options {
    uint64_t seed;
    uint32_t width, height, quality;
    bool gray, alpha;
    bool rans, scans; /* a model with a prior */
    made_codes codes;
    int method, filter; /* of the streams: 0..3 and 0..1 where they can be had, or MADE_ANY */
    bool chunks;        /* a list of chunks even when it is empty */
    size_t icc, exif;   /* bytes of metadata; 0: none */
    int unknown;        /* chunks that a decoder skips */
} file_options;

/* 20 x 13 pixels of noise at quality 50, gray as the model is, nothing else. */
void file_options_init(file_options *options, const vqzi_model *model, uint64_t seed);
/* Anything that the model allows, of at most `most` pixels a side (about; now and then several
 * tiles). */
void file_options_draw(file_options *options, const vqzi_model *model, uint64_t seed,
                       uint32_t most);
/* Appends the file. */
void make_file(vqzi_buffer *file, const vqzi_model *model, const file_options *options);
/* Its parts, for files that break a rule in one of them: magic up to quality (with `chunks`, chunks
   follow; model->hash is set), and packed metadata as a chunk. */
void make_header(vqzi_buffer *file, const vqzi_model *model, const file_options *options);
void make_chunk(vqzi_buffer *file, uint8_t type, const void *data, size_t size);
/* Puts the right checksum over the last four bytes. */
void mend_checksum(void *file, size_t size);

/* The .vqm file of a model that may break any rule; sets model->hash. */
void make_model_file(vqzi_buffer *file, vqzi_model *model);
/* The same of any body. */
void wrap_body(vqzi_buffer *file, uint8_t version, const void *body, size_t size);
/* The body of a model file that can be read; to be released with free(). */
uint8_t *unwrap_body(const void *file, size_t file_size, size_t *size);

#endif
