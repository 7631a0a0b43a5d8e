/*
 * trainer.h - the state of a training run, shared by its set-up (setup.c), the loop (train.c),
 * measuring (measure.c), checkpoints (checkpoint.c) and the exporter (export.c).
 */
#ifndef TRAINER_TRAINER_H
#define TRAINER_TRAINER_H

#include "trainer/cluster.h"
#include "trainer/optimiser.h"
#include "trainer/preset.h"
#include "trainer/prior.h"
#include "trainer/similarity.h"
#include "trainer/train.h"

/* What a run knows about itself beside its parameters; plain data, saved in checkpoints. */
typedef struct run_state {
    uint64_t step, skipped, restarted;
    uint64_t phase_step; /* first step of the current phase */
    uint64_t pixels;  /* trained on so far */
    double seconds;   /* spent training, without loading, measuring and export */
    uint64_t log_size; /* of the CSV file */
    random_state random;
    uint32_t hard;    /* codebooks are in use */
    double level_error[VQZI_MAX_LEVELS]; /* running MSE a level */
    double level_dissimilarity[VQZI_MAX_LEVELS]; /* the same of 1 - MS-SSIM, where the loss looks at it */
    double epoch_usage, epoch_perplexity; /* of the last whole epoch */
    uint64_t epoch_pixels;
} run_state;

enum { MAX_BATCH = 1024 }; /* of one process */

/* What a step tells beside its gradients; floats that are added up over the processes. */
enum {
    SHARED_FAILED, /* processes that could not compute their share */
    SHARED_STOP,   /* processes that got a signal */
    SHARED_SAVE,   /* the leader finds that a checkpoint is due */
    SHARED_SECONDS, /* since the last step, by the leader's clock */
    SHARED_RECONSTRUCTION,
    SHARED_COMMITMENT,
    SHARED_CODEBOOK,
    SHARED_RATE,
    SHARED_RATE_LOSS,
    SHARED_COUNT
};

/* Loss parts of a step or averaged over steps; errors are of pixels in [-1, 1]. */
typedef struct loss_parts {
    double total, reconstruction, commitment, codebook, rate_bpp, norm;
} loss_parts;

typedef struct trainer {
    train_options options;
    cluster cluster;
    model_spec spec;
    train_settings settings;
    double variance; /* of the training pixels: the classic loss is divided by it */
    char fingerprint[512]; /* what must agree for a checkpoint to be resumed */
    corpus *corpus;
    corpus_stats corpus_stats;
    backend *backend;
    network *analysis, *synthesis;
    prior *prior;
    similarity *similarity; /* NULL when the loss is squares alone */
    quantiser *quantiser;
    optimiser optimiser;
    run_state run;

    /* Flat parameters: analysis, synthesis, prior, quantiser. */
    float *parameters, *gradients;
    /* One array with the gradients, which the processes add up: what a step tells (SHARED_COUNT),
       squared errors and dissimilarities of the samples of the whole batch, statistics of the codes. */
    float *shared, *errors, *dissimilarities, *statistics;
    size_t parameter_count, synthesis_offset, prior_offset, quantiser_offset;

    /* One batch: of the whole batch of all processes, this one has samples rank, rank + size, ... */
    int batch, crop, latent_side;
    int whole_batch;
    int *whole_levels; /* (whole_batch) */
    size_t positions, per_sample; /* latent positions of the batch and of one sample */
    size_t values;                /* pixels x channels of the batch */
    uint8_t *pixels;              /* (batch, crop, crop, channels) */
    float *input, *output, *grad_output;                  /* same shape */
    float *latent, *quantised, *grad_latent, *grad_quantised; /* (positions, D) */
    uint16_t *indices;                                    /* (planes, positions) */
    int *levels;                                          /* (batch) */
    float *weights;                                       /* (batch) */
    double *bits;                                         /* (batch), of the last assignment */
    uint64_t *epoch_counts; /* codes chosen in this epoch, planes x levels x codes */
    size_t epoch_count_size;
} trainer;

/* Held-out figures of one level. */
typedef struct level_measure {
    double psnr;       /* of the mean squared error over all crops, 8-bit pixels */
    double bpp;        /* under the prior */
    double usage;      /* share of the codes in use, mean over planes */
    double perplexity; /* 2^entropy of the codes, mean over planes */
} level_measure;

/* setup.c */
enum { INIT_CROPS = 64 }; /* that codebooks are initialised from */
struct progress;
VQZ_MUST_CHECK vqz_status trainer_set_up(trainer *t, struct progress *report, vqz_diag *diag);
void trainer_clear(trainer *t);
/* A batch of random crops, as bytes and as network input: crops first, first + step, ... of a draw. */
void take_crops(trainer *t, uint64_t draw, int first, int step);

/* measure.c */
enum { MEASURE_CROPS = 48 };
/* Runs the float network on fixed held-out crops (training pictures when none are held out) at every
   level.  Touches only the batch buffers. */
VQZ_MUST_CHECK vqz_status measure_holdout(trainer *t, level_measure *measures);
/* Squared error of `count` 8-bit samples of whole pixels; colours of pixels that are transparent in the
   original may be any. */
double squared_error(const uint8_t *original, const uint8_t *decoded, size_t count, int channels);
/* PSNR of such a sum over so many samples; 0 counts as a billionth. */
double psnr_of(double squared_error, double samples);
/* The i-th measuring crop as bytes (crop, crop, channels). */
void measure_crop(const trainer *t, int index, uint8_t *pixels);
/* bytes -> network input in [-1, 1). */
void pixels_to_input(const uint8_t *pixels, size_t count, float *input);
/* Analysis, hard assignment and synthesis of the batch in t->pixels at t->levels. */
VQZ_MUST_CHECK vqz_status run_hard(trainer *t);
/* Adds the codes of the first `positions` of the batch to counts (epoch_count_size). */
void count_codes(const trainer *t, size_t positions, uint64_t *counts);
/* Share of codes in use and perplexity of a level, means over the planes. */
void measure_usage(const model_spec *spec, const uint64_t *counts, int level, double *usage,
                   double *perplexity);
/* Quality setting of the public interface that stands for a level. */
int level_quality(const model_spec *spec, int level);

/* checkpoint.c */
/* Replaces a file by these bytes, through the writer of the options. */
VQZ_MUST_CHECK vqz_status save_file(const trainer *t, const char *path, const byte_span *spans,
                                    size_t count, vqz_diag *diag);
VQZ_MUST_CHECK vqz_status checkpoint_save(trainer *t, const char *path, vqz_diag *diag);
VQZ_MUST_CHECK vqz_status checkpoint_load(trainer *t, const char *path, vqz_diag *diag);
/* Gives the leader's state, all that a checkpoint holds, to all processes. */
void checkpoint_copy(trainer *t);
/* CRC-32 of that state. */
uint32_t checkpoint_hash(trainer *t);

/* export.c: builds the integer model from the parameters; calibrates ranges on training crops. */
VQZ_MUST_CHECK vqz_status export_model(trainer *t, vqzi_model *model, vqz_diag *diag);
/* dictionaries.c: zstd dictionaries for every level and stream, from codes of training crops. */
VQZ_MUST_CHECK vqz_status train_dictionaries(trainer *t, vqzi_model *model, vqz_diag *diag);
/* import.c: parameters from an integer model of the same networks.  When its planes are others, they and
   the prior start anew, from its steps, with the noise phase. */
VQZ_MUST_CHECK vqz_status import_model(trainer *t, const void *data, size_t size, bool *prior_known,
                                       vqz_diag *diag);

#endif
