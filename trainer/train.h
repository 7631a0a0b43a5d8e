/*
 * train.h - the training run: what `vqz train` calls.
 */
#ifndef TRAINER_TRAIN_H
#define TRAINER_TRAIN_H

#include "format/common.h"
#include "trainer/corpus.h"
#include <signal.h>

typedef struct byte_span {
    const void *data;
    size_t size;
} byte_span;

/* Writes a file of these bytes, one after the other: all of it is in place, and on the disk, or what was
   there before still is. */
typedef vqz_status (*train_write)(const char *path, const byte_span *spans, size_t count,
                                  vqz_diag *diag);

typedef struct train_options {
    const char *const *paths; /* corpus files and folders */
    size_t path_count;
    const char *output;       /* .vqm to write; the log is output.csv, the checkpoint output.ckpt */
    const char *preset;       /* a name that preset.h lists */
    const char *name;         /* corpus name for the card; NULL: derived from the first path */
    const char *license;      /* licence note for the card, or NULL */
    double seconds;           /* time to train, 0: by steps */
    uint64_t steps;           /* 0: by time */
    int batch, crop;          /* 0: the preset's */
    double learning_rate;     /* 0: the preset's */
    double min_scale;         /* 0: the preset's */
    bool no_flip;
    double beta;              /* commitment weight; < 0: the preset's (0.25) */
    double warm;              /* part of the run with noise in place of codes; < 0: the preset's, and none
                                 for a model to fine-tune */
    double lambda;            /* scale of the rate weight, 1: the preset's */
    int codes, latent_channels; /* classic: K and D; 0: 512 and 64 */
    int channels;             /* 1, 3, 4; 0: from the corpus (1 when every picture is gray, else 3) */
    uint8_t background[3];
    const char *loss;         /* of the pixels: "mse", "msssim" (1 - MS-SSIM) or "mix", half of each */
    const char *codebook;     /* "ema" or "loss"; NULL: the preset's */
    const char *precision;    /* "auto", "float32" or "bfloat16" */
    uint64_t seed;
    int threads;              /* 0: all processors */
    double holdout;           /* fraction; < 0: 0.05 */
    size_t memory_budget;     /* bytes of pictures in RAM; 0: 4 GiB */
    double checkpoint_seconds; /* 0: 120 */
    double log_seconds;       /* between lines of the log; 0: 10, 1 on a terminal */
    bool resume;              /* continue from output.ckpt */
    const char *init;         /* path of a model to fine-tune (only for messages), or NULL */
    const void *init_data;    /* its bytes */
    size_t init_size;
    bool force;               /* overwrite output */
    bool quiet, verbose;
    corpus_read read;
    train_write write; /* of checkpoints and the model */
    const struct cluster *cluster; /* processes that train together, or NULL: this one alone */
} train_options;

void train_options_init(train_options *options);

/* Trains and writes the model; in a cluster all processes call it with the same options and get the same
   status and message, and the leader alone reports and writes.  Progress and report go to stderr.  A SIGINT or SIGTERM noticed
   through *stop (set to 1 by a handler; may be NULL) writes a checkpoint and returns
   VQZ_ERROR_IO with a message that says how to resume. */
VQZ_MUST_CHECK vqz_status train_run(const train_options *options, const volatile sig_atomic_t *stop,
                                    vqz_diag *diag);

#endif
