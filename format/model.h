/*
 * model.h - a model in memory, and its .vqm file (spec/vqm-format.md).
 *
 * A model is data: two integer networks (op lists with their tensors), index planes with their
 * codebooks, per-level steps, and what the encoder needs (rates, lambdas, zstd dictionaries).
 * vqzi_model_parse accepts hostile bytes: whatever it returns obeys every rule stated here, so the
 * code that runs a model never has to check again.
 *
 * Integer networks.  Registers hold (height, width, channels) int16 pictures.  Register 0 is the
 * input; op i writes register i + 1; the output is the register of the last op.  An op reads
 * register `src` <= i.  Spatial positions outside the picture read as zero, on every layer.
 *
 *   CONV  kernel k in 1..5, stride s in 1..2 (k >= s), padding (k - 1) / 2 before:
 *           acc = bias[level][oc] + sum w[oc][ky][kx][ic] * src[y*s + ky - pad][x*s + kx - pad][ic]
 *           t   = (acc + (1 << (shift[oc] - 1))) >> shift[oc]    (shift 0: t = acc)
 *           t  += add[y][x][oc]                                  (when the op has an add register)
 *           t   = activation(t);  dst = clamp(t, -2^(bits-1), 2^(bits-1) - 1)
 *         >> is the arithmetic shift (rounds to minus infinity).  The output has
 *         ceil(height / s) x ceil(width / s) positions; the codec pads pictures so that this is exact.
 *   ACT   dst = activation(src)
 *   S2D   space to depth, block b: dst[y][x][(dy*b + dx)*C + c] = src[y*b + dy][x*b + dx][c]
 *   D2S   depth to space, the inverse of S2D
 *   activation(t) for t < 0: NONE t; RELU 0; LEAKY t >> slope.  For t >= 0: t.
 *
 * Overflow proof, per output channel of a CONV, for every bias set:
 *   sum|w| * A + |bias| + 2^(shift-1) + 2^15 <= 2^31 - 1, where A = 2^(bits-1) bounds the source.
 */
#ifndef VQZI_MODEL_H
#define VQZI_MODEL_H

#include "format/common.h"

#include <stdatomic.h>

enum {
    VQZI_MAX_OPS = 64,
    VQZI_MAX_CHANNELS = 1024,      /* of a register but the last of a stage */
    VQZI_MAX_LATENT_CHANNELS = 256,
    VQZI_MAX_PLANE_DIMS = 64,
    VQZI_MAX_PLANES = 64,
    VQZI_MAX_CODES = 4096,
    VQZI_MAX_LEVELS = 16,
    VQZI_MAX_STRIDE = 32,
    VQZI_MAX_LATENT_BITS = 13,     /* so that |e|^2 of 64 dimensions fits int32 */
    VQZI_MAX_DICTIONARY = 65536,   /* bytes of one */
    VQZI_HASH_SIZE = 32,
    VQZI_NO_REGISTER = 255,
    VQZI_MAX_STAGES = 32,     /* of a prior */
    VQZI_STAGE_OPS = 3,       /* convolutions of a stage's net */
    VQZI_STAGE_OUTPUTS = 4096, /* most channels of its last register */
    VQZI_CONTEXT_BITS = 13,   /* of what a stage's net reads */
    VQZI_CLASSES = 40,        /* spreads a scalar plane's distribution may have, a quarter octave apart */
    VQZI_PHASES = 5,          /* distances of its mean from the nearest code, in eighths */
    VQZI_SYMBOLS = 16,        /* of a table: both ends are escapes */
    VQZI_PROBABILITY_BITS = 16
};

typedef enum vqzi_op_kind { VQZI_CONV = 1, VQZI_ACT = 2, VQZI_S2D = 3, VQZI_D2S = 4 } vqzi_op_kind;
typedef enum vqzi_activation { VQZI_NONE = 0, VQZI_RELU = 1, VQZI_LEAKY = 2 } vqzi_activation;

typedef struct vqzi_op {
    uint8_t kind;       /* vqzi_op_kind */
    uint8_t src;        /* register read */
    uint8_t add;        /* CONV: register added after the shift, or VQZI_NO_REGISTER; same shape as dst */
    uint8_t activation; /* CONV, ACT */
    uint8_t slope;      /* LEAKY: 1..8 */
    uint8_t block;      /* S2D, D2S: 2..8 */
    uint8_t kernel, stride; /* CONV */
    uint8_t bits;       /* CONV: output saturates to this many bits, 2..16 */
    uint16_t channels;  /* of the output; the input's follow from src */
    uint8_t bias_sets;  /* CONV: 1, or the number of levels */
    uint8_t *shift;     /* CONV: (channels), 0..30 */
    int16_t *weights;   /* CONV: (channels, kernel, kernel, input channels) */
    int32_t *biases;    /* CONV: (bias_sets, channels) */
} vqzi_op;

typedef struct vqzi_net {
    uint8_t input_bits;      /* input values lie in [-2^(bits-1), 2^(bits-1) - 1] */
    uint16_t input_channels;
    uint32_t op_count;
    vqzi_op *ops;
} vqzi_net;

/* One index plane.  It contributes entry[k][i] to latent channel channels[i].  Planes whose channel
   lists overlap add up (residual VQ); a channel that no plane lists is zero. */
typedef struct vqzi_plane {
    uint16_t codes;    /* K, 2..4096 */
    uint8_t dims;      /* d, 1..64 */
    uint8_t books;     /* codebooks: 1, or the number of levels */
    uint8_t ordered;   /* 1: neighbouring codes are neighbouring values (d = 1): prediction pays */
    uint8_t *channels; /* (d), strictly increasing */
    int16_t *codebook; /* (books, K, d), in units of the step */
    uint8_t *rates;    /* (levels, K), estimated cost of a code in 1/8 bit, for the encoder */
} vqzi_plane;

/* The digested forms are a cache, NULL until the first use (format/dictionary.h): the one thing of a
   model that changes after loading, each in one atomic step. */
typedef struct vqzi_dictionary {
    uint8_t *data; /* zstd dictionary, NULL and 0 when absent */
    size_t size;
    _Atomic(struct ZSTD_CDict_s *) compressor;
    _Atomic(struct ZSTD_DDict_s *) decompressor;
} vqzi_dictionary;
/* Frees the data and the digested forms, and zeroes it. */
void vqzi_dictionary_clear(vqzi_dictionary *dictionary);

/* The conditional prior: how likely each code is, given those before it.  It is what rANS codes with.
 *
 * With a prior the planes' channel lists, one after the other, are 0, 1, ... D-1: every channel belongs to
 * one plane.  The planes are coded in stages of consecutive planes; within a tile stage after stage, in
 * each stage the positions in raster order, at each position its planes in order.
 *
 * Stage i covers channels [begin, end).  Its net reads `end` channels of context at 1:1, zero outside the
 * tile:
 *   context[c] = clamp((latent[c] * gains[c] + (1 << (gain_shift - 1))) >> gain_shift) to CONTEXT_BITS
 * (gain_shift 0: no rounding), where latent is what the codes decode to.  The net is three CONV ops in a
 * row, kernels k, 1, 1 with k = 3 or 5 and stride 1.  In the first op the weights of the stage's own
 * channels are zero at the centre tap and all taps after it in raster order: so every output depends on
 * codes before it alone.
 *
 * The last register holds, plane after plane of the stage:
 *   ordered planes (d = 1), two values: mean m, spread s.  With K codes, code k stands for v = k - K / 2:
 *       mean8 = (m * floor(mean_gains[c] / step[c]) + 2^17) >> 18, then clamped to the codes, -8 (K / 2) to
 *               8 (K - 1 - K / 2): mean of v, in eighths (the product needs int64)
 *       class = clamp((s + 32) >> 6, 0, CLASSES - 1)
 *       near  = (mean8 + 4) >> 3,  phase = mean8 - 8 near  in -4..3;    r = v - near
 *       a negative phase mirrors: r = -r, phase = -phase
 *     r is coded with the table frequencies[class][phase] and b = class_bits[class]:
 *       symbol = clamp((r >> b) + 7, 0, 15); a symbol 1..14 is followed by the low b bits of r
 *       (nothing when b is 0); symbol 15 by the excess r - (8 << b), symbol 0 by the excess (-6 << b) - 1 - r,
 *       either as an Exp-Golomb code of order b: n zeros and a one, each a symbol of one bit, then n + b bits as
 *       one symbol: excess = ((1 << n) - 1) << b, plus these bits.  The excess of a code is at most K - 1, so that
 *       n + b is at most 12; more, or a v outside -(K / 2)..K - 1 - K / 2, is VQZ_ERROR_CORRUPT.
 *   other planes, K logits in 1/256 of log2, turned into frequencies by vqzi_prior_logits.
 * Intervals of rANS (format/rans.h) follow each other in the order of symbols and codes.
 */
typedef struct vqzi_stage {
    uint8_t planes; /* consecutive ones, after those of the stages before */
    vqzi_net net;
} vqzi_stage;

typedef struct vqzi_prior {
    uint32_t stage_count; /* 0: the model has no prior, and all else here is absent */
    vqzi_stage *stages;
    uint8_t gain_shift;   /* 0..15 */
    uint16_t *gains;      /* (D) */
    uint32_t *mean_gains; /* (D), below 2^31; 0 for channels of planes that are not ordered */
    uint8_t class_bits[VQZI_CLASSES]; /* 0..8 */
    uint16_t *frequencies; /* (CLASSES, PHASES, SYMBOLS): each at least 1, a table sums to 2^16 */
} vqzi_prior;

/* Frequencies of K <= 4096 codes from their logits, each at least 1, sum 2^16 (normative):
     w_k = EXP2[(max - l_k) & 255] >> ((max - l_k) >> 8), 0 when that shift is 16 or more, where
     EXP2[i] = floor(2^(15 - i / 256) + 1/2), a table;  f_k = 1 + floor(w_k * (2^16 - K) / sum w);  what is
   missing to 2^16 goes to the first code with the largest logit. */
void vqzi_prior_logits(const int16_t *logits, uint32_t codes, uint16_t *frequencies);

/* Byte streams of a tile: one a plane with K <= 256; two (low bytes, then high bytes) above. */
typedef struct vqzi_model {
    uint8_t channels;        /* picture channels: 1, 3 or 4 */
    uint8_t stride;          /* pixels per latent position, a power of two, 2..32 */
    uint8_t levels;          /* L, 1..16 */
    uint8_t latent_bits;     /* latents saturate to this, 2..13; bits of the analysis output */
    uint8_t pixel_shift;     /* fractional bits of the synthesis output, 0..8 */
    uint8_t step_shift;      /* 0..15 */
    uint16_t latent_channels; /* D */
    vqzi_net analysis;       /* pixels - 128 (8 bits) -> latents */
    vqzi_net synthesis;      /* latents -> (pixels - 128) << pixel_shift */
    uint16_t *steps;         /* (L, D), 1..32767 */
    uint32_t *lambdas;       /* (L): squared latent units per bit, for the encoder, < 2^28 */
    uint32_t plane_count;
    vqzi_plane *planes;
    uint32_t stream_count;   /* derived from the planes */
    vqzi_dictionary *dictionaries; /* (L, stream_count), or NULL: none */
    vqzi_prior prior;
    uint8_t hash[VQZI_HASH_SIZE];  /* SHA-256 of the canonical body, set by parse and serialise */
    char *card;              /* JSON text, NUL-terminated, not part of the hash */
} vqzi_model;

/* Frees everything a model owns, and zeroes it. */
void vqzi_model_clear(vqzi_model *model);

/* Checks every rule of this file, and the limits (NULL: defaults).  Used by the parser and by the
   trainer before it writes. */
VQZ_MUST_CHECK vqz_status vqzi_model_check(const vqzi_model *model, const vqz_limits *limits,
                                           vqz_diag *diag);

/* .vqm bytes -> model (checked).  *model is overwritten on success, untouched on failure. */
VQZ_MUST_CHECK vqz_status vqzi_model_parse(vqzi_model *model, const void *data, size_t size,
                                           const vqz_limits *limits, vqz_diag *diag);
/* The same of bytes that vqzi_model_parse has accepted before (the model that is built in), with
   what their frame holds: nothing is inflated, and the hash and the dictionaries, by far the
   longest checks, are taken on trust.  Never for bytes of a user. */
VQZ_MUST_CHECK vqz_status vqzi_model_parse_known(vqzi_model *model, const void *data, size_t size,
                                                 const uint8_t *body, const vqz_limits *limits,
                                                 vqz_diag *diag);

/* Model -> .vqm bytes (malloc); sets model->hash. */
VQZ_MUST_CHECK vqz_status vqzi_model_serialise(vqzi_model *model, void **data, size_t *size,
                                               vqz_diag *diag);

/* Multiply-accumulates of a net per position of its input times 1000 (so that strides stay exact
   enough); input channels of register r through vqzi_net_channels. */
uint64_t vqzi_net_macs_per_input_position_x1000(const vqzi_net *net);
/* The same of all stages of the prior per latent position; 0 without a prior. */
uint64_t vqzi_prior_macs_per_position(const vqzi_model *model);
uint32_t vqzi_net_channels(const vqzi_net *net, uint32_t reg);
/* Shape of register r of a checked net.  A value lies in [-2^(bits-1), 2^(bits-1) - 1].  scale is
   log2 of the reduction against the net's input: a register has input positions >> scale of them in
   each direction.  0..log2(stride) in an analysis net, -log2(stride)..0 in a synthesis net. */
typedef struct vqzi_register {
    uint32_t channels, bits;
    int32_t scale;
} vqzi_register;
vqzi_register vqzi_net_register(const vqzi_net *net, uint32_t reg);
/* log2 of a power of two: blocks and strides. */
uint32_t vqzi_log2(uint32_t power_of_two);
/* Byte streams a tile has for this plane: 1, or 2 when K > 256. */
static inline uint32_t vqzi_plane_streams(const vqzi_plane *plane) {
    return plane->codes > 256 ? 2 : 1;
}

/* Codebook and step values that apply at quality 1..100 (integer interpolation, normative).
   Level position p = (quality - 1) * (levels - 1) / 99, exact: t = (quality - 1) * (levels - 1),
   lower = t / 99, fraction = t % 99 (lower level kept when levels == 1).
   Interpolated value = (a[lower] * (99 - fraction) + a[lower + 1] * fraction + 49) / 99 for steps
   (unsigned); for biases the same in int64 with floor division.
   The encoder interpolates lambdas likewise.  Codebooks, rates and dictionaries come from the
   nearest level:
   lower + (fraction >= 50). */
typedef struct vqzi_level {
    uint32_t lower, fraction, nearest;
} vqzi_level;
vqzi_level vqzi_model_level(const vqzi_model *model, int quality);
uint16_t vqzi_model_step(const vqzi_model *model, vqzi_level level, uint32_t channel);
/* Entry value e = clamp((codebook * step + (1 << (step_shift - 1))) >> step_shift) to latent_bits
   (shift 0: no rounding); entries: (K, d) int16. */
void vqzi_model_entries(const vqzi_model *model, vqzi_level level, uint32_t plane, int16_t *entries);
/* biases: (channels) int32 of a CONV at this level. */
void vqzi_op_biases(const vqzi_op *op, vqzi_level level, int32_t *biases);

#endif
