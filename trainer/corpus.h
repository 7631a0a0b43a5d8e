/*
 * corpus.h - training pictures: found recursively, decoded once by several threads, kept as bytes in
 * RAM up to a budget, and handed out as random crops.
 *
 * How a picture file is read is the caller's business (a function pointer), so the trainer knows no
 * file format.  A given seed gives the same crops for every number of loader threads.
 */
#ifndef TRAINER_CORPUS_H
#define TRAINER_CORPUS_H

#include "format/common.h"
#include "trainer/random.h"

/* Reads a picture upright as 8-bit gray, gray + alpha, RGB or RGBA; pixels are malloc'ed. */
typedef vqz_status (*corpus_read)(const char *path, vqz_image *image, vqz_diag *diag);

typedef struct corpus_options {
    const char *const *paths; /* files or folders */
    size_t path_count;
    int channels;             /* 1, 3 or 4: what crops have; pictures are converted.  0: 1 when every
                                 picture is gray, else 3 */
    uint8_t background[3];    /* alpha is composited over this unless channels == 4 */
    double holdout;           /* fraction of the pictures kept for measurement, e.g. 0.05 */
    uint64_t seed;            /* of the holdout split */
    size_t memory_budget;     /* bytes of decoded pixels; further pictures are left out, and counted */
    int min_side;             /* smaller pictures are skipped, and counted */
    int threads;
    corpus_read read;
    void (*skipped)(void *user, const char *path, const char *reason); /* may be NULL */
    void *user;
} corpus_options;

typedef struct corpus_stats {
    int channels; /* of the crops, resolved */
    size_t pictures, holdout_pictures;
    size_t unreadable, too_small, over_budget; /* files left out, by reason */
    uint64_t pixels;                           /* of the training pictures */
} corpus_stats;

typedef struct corpus corpus;
/* An empty training set is VQZ_ERROR_ARGUMENT with a message that says what was found. */
VQZ_MUST_CHECK vqz_status corpus_load(corpus **c, const corpus_options *options, vqz_diag *diag);
void corpus_free(corpus *c);
void corpus_get_stats(const corpus *c, corpus_stats *stats);

typedef struct crop_options {
    int size;        /* crops are size x size; smaller pictures are extended by their edge pixels */
    float min_scale; /* pictures are shrunk by a random factor in [min_scale, 1] (area average / bilinear) */
    bool flip;       /* horizontal mirror with probability 1/2 */
} crop_options;

/* Fills (count, size, size, channels) bytes with random crops of training pictures, chosen with
   probability proportional to their area (at least one crop's).  Deterministic in *random: each crop
   gets its own generator seeded from it, so the work is split over threads. */
void corpus_crops(const corpus *c, random_state *random, const crop_options *options, int count,
                  int threads, uint8_t *pixels);
/* The same for crops first, first + step, ... of the endless sequence that `draw` stands for, so that
   several calls, or several processes, can share one. */
void corpus_crops_of(const corpus *c, uint64_t draw, int first, int step,
                     const crop_options *options, int count, int threads, uint8_t *pixels);

/* Held-out pictures, whole: index < holdout_pictures.  Borrowed. */
const vqz_image *corpus_holdout(const corpus *c, size_t index);
/* Training pictures, whole: index < pictures.  Borrowed. */
const vqz_image *corpus_picture(const corpus *c, size_t index);

#endif
