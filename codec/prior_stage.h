/*
 * prior_stage.h - what the encoder and the decoder of a prior share: its packed stages, the tables
 * of a quality, and the walk through the stages of a tile.
 *
 * The first layer of a stage is split by what its taps read:
 *   known   all taps on the channels of earlier stages     } sums of a row
 *   above   the taps on the stage's own channels, rows above }
 *   left    the taps on its own channels, same row: the products of one position, which finish the
 *           layer; the other two layers follow in the same way
 * The context of a tile lies in two dense arrays with a margin of zeros, one of the channels that
 * are known, one of the stage's own.
 */
#ifndef VQZI_PRIOR_STAGE_H
#define VQZI_PRIOR_STAGE_H

#include "codec/prior.h"

enum {
    VQZI_PRIOR_MARGIN = 2, /* positions around a tile */
    VQZI_STARTS = 24,      /* of a table: 16, their end, and room that aligns it */
    VQZI_COST_BITS = 8     /* fraction of a cost in bits */
};

typedef struct vqzi_prepared_stage {
    const vqzi_op *ops; /* (3) */
    uint32_t first_plane, planes;
    uint32_t begin, own;    /* channels of earlier stages; its own */
    uint32_t reach;         /* taps to each side */
    vqzi_conv known, above; /* known: not packed when begin is 0 */
    vqzi_conv left, middle, last;
} vqzi_prepared_stage;

/* Distribution of a scalar: a table of frequencies[][], by its index class * PHASES + phase. */
struct vqzi_prepared_prior {
    const vqzi_model *model;
    uint32_t stage_count;
    vqzi_prepared_stage stages[VQZI_MAX_STAGES];
    /* first slot of each symbol, and 0 for the end, 2^16 */
    uint16_t starts[VQZI_CLASSES * VQZI_PHASES][VQZI_STARTS];
    /* of a symbol and the bits that follow it, but 2 n of an escape; in 1 / 2^COST_BITS bit */
    uint16_t costs[VQZI_CLASSES * VQZI_PHASES][VQZI_SYMBOLS];
    uint16_t logarithms[256]; /* 2^COST_BITS log2(1 + i / 256) */
};

/* Bits of a symbol of this frequency, 1..65535, of 2^16. */
static inline uint32_t vqzi_prior_cost(const vqzi_prepared_prior *prepared, uint32_t frequency) {
    uint32_t exponent = 31 - (uint32_t)__builtin_clz(frequency);
    uint32_t mantissa = frequency << 16 >> exponent; /* 2^16 to 2^17 - 1 */
    return ((16 - exponent) << VQZI_COST_BITS) - prepared->logarithms[mantissa >> 8 & 255];
}

/* What a code stands for in one dimension. */
typedef struct vqzi_prior_value {
    int16_t latent, context; /* context: what the nets read */
} vqzi_prior_value;

/* A plane at the coder's quality. */
typedef struct vqzi_prior_plane {
    vqzi_prior_value *values; /* (K, d) */
    int32_t mean_gain;        /* floor(mean_gains / step) */
    int16_t lowest, highest;  /* of a mean, in eighths */
    uint16_t codes, half;     /* half: K / 2, the code of v = 0 */
    uint8_t dims;
    bool ordered, sorted; /* sorted: the latents of a scalar do not fall */
} vqzi_prior_plane;

struct vqzi_prior_coder {
    const vqzi_prepared_prior *prepared;
    vqzi_kernels kernels;
    uint64_t lambda; /* squared latent units per bit */
    uint32_t max_rows, max_columns;
    vqzi_prior_plane *planes;                          /* (plane_count) */
    int32_t *offsets[VQZI_MAX_STAGES][VQZI_STAGE_OPS]; /* of the layers, padded to 16 */
    /* the tile and the stage at work */
    uint32_t rows, columns;
    const vqzi_prepared_stage *stage;
    int16_t *known, *next; /* (rows + 4, columns + 4, begin); next: of the stage that follows */
    int16_t *own;          /* (rows + 4, columns + 4, own) */
    int32_t *sums;         /* (columns, hidden) */
    int16_t *hidden[2], *outputs;
    uint16_t *frequencies;                      /* (most codes of a plane) */
    int16_t unwanted[VQZI_MAX_LATENT_CHANNELS]; /* where latents go that nobody asked for */
    vqzi_rans_encoder rans;
    /* of an encoder with more than one pass, else NULL */
    int16_t *row_hidden[2], *row_outputs; /* (columns, hidden), (columns, outputs) */
    int32_t *known_sums;                  /* (rows, columns, hidden) */
    bool known_is_summed;                 /* they are those of this stage */
    uint16_t *nearest;                    /* (rows, columns, own): codes */
};

/* Starts a tile, then each stage in order; the codes of one must be placed before the next begins.
 */
void vqzi_prior_begin_tile(vqzi_prior_coder *coder, uint32_t rows, uint32_t columns);
void vqzi_prior_begin_stage(vqzi_prior_coder *coder, uint32_t index);
/* Rows from the first to the last, in each the positions from left to right: what the last layer
   says of position x of that row. */
void vqzi_prior_begin_row(vqzi_prior_coder *coder, uint32_t y);
const int16_t *vqzi_prior_outputs(vqzi_prior_coder *coder, uint32_t y, uint32_t x);

/* For more than one pass over a stage; needs memory from reserve_passes.  sum_known does once for
   all passes what they have in common.  row_outputs is for rows whose codes are there already:
   (columns, outputs of the last layer). */
void vqzi_prior_sum_known(vqzi_prior_coder *coder);
const int16_t *vqzi_prior_row_outputs(vqzi_prior_coder *coder, uint32_t y);
VQZ_MUST_CHECK vqz_status vqzi_prior_reserve_passes(vqzi_prior_coder *coder);

/* Elements of the sums of a position. */
static inline size_t vqzi_prior_hidden(const vqzi_prepared_stage *stage) {
    return (stage->left.out_channels + VQZI_CONV_BLOCK - 1u) / VQZI_CONV_BLOCK * VQZI_CONV_BLOCK;
}

/* The stage's own context of a position; positions outside the tile are in the margin. */
static inline int16_t *vqzi_prior_own(const vqzi_prior_coder *coder, int64_t y, int64_t x) {
    int64_t pitch = (int64_t)coder->columns + 2 * VQZI_PRIOR_MARGIN;
    return coder->own +
           ((y + VQZI_PRIOR_MARGIN) * pitch + x + VQZI_PRIOR_MARGIN) * (int64_t)coder->stage->own;
}

/* What the net says of a scalar. */
typedef struct vqzi_prior_guess {
    int32_t near;   /* the integer next to the mean */
    int32_t mirror; /* -1: r has the other sign; 0 */
    uint32_t table;
    uint32_t bits; /* low bits that the table leaves out */
} vqzi_prior_guess;

static inline vqzi_prior_guess vqzi_prior_guess_scalar(const vqzi_prior_plane *plane,
                                                       const vqzi_prior *prior, int32_t mean,
                                                       int32_t spread) {
    int64_t wide = ((int64_t)mean * plane->mean_gain + (1 << 17)) >> 18;
    int32_t mean8 = (int32_t)VQZI_MIN(VQZI_MAX(wide, plane->lowest), plane->highest);
    int32_t class = VQZI_MIN(VQZI_MAX((spread + 32) >> 6, 0), VQZI_CLASSES - 1);
    vqzi_prior_guess guess;
    guess.near = (mean8 + 4) >> 3;
    int32_t phase = mean8 - 8 * guess.near;
    guess.mirror = phase < 0 ? -1 : 0;
    phase = (phase ^ guess.mirror) - guess.mirror;
    guess.table = (uint32_t)(class * VQZI_PHASES + phase);
    guess.bits = prior->class_bits[class];
    return guess;
}

/* v to r and back. */
static inline int32_t vqzi_prior_mirror(const vqzi_prior_guess *guess, int32_t r) {
    return (r ^ guess->mirror) - guess->mirror;
}

#endif
