/*
 * winograd_kernels.h - the inner loops of winograd.c, one table for each instruction set.
 *
 * Tensors in the transformed domain are cut into panels of PANEL channels, so that every loop runs
 * over whole vectors and reads memory in order: of a tile, value i of the POINTS x POINTS grid lies
 * at [i][panel][tile][PANEL].  Channels that fill up the last panel are zero.  Pictures may be
 * bfloat16, to which results are rounded to nearest even.
 *
 * A factor of a product is float32 or bfloat16, the sum always float32.  The instruction for bfloat16
 * adds two products to a sum at once, so the two factors lie side by side in one word of four bytes:
 * two channels of a tile where the sum is over channels, two tiles [i][panel][tile / 2][PANEL][2]
 * where it is over tiles.  Strides of factors count words.
 */
#ifndef TRAINER_WINOGRAD_KERNELS_H
#define TRAINER_WINOGRAD_KERNELS_H

#include "trainer/tensor.h"

enum {
    WINOGRAD_PANEL = 16,
    WINOGRAD_TILE = 4,  /* outputs a side */
    WINOGRAD_SIDE = 6,  /* inputs a side, and products a side */
    WINOGRAD_POINTS = WINOGRAD_SIDE * WINOGRAD_SIDE,
    WINOGRAD_ROWS = 12, /* tiles of a block are a multiple of this */
    WINOGRAD_GROUP = 2  /* panels of outputs in one product at most */
};

/* How a transform writes factors: EVEN and ODD are the two of a word, written in this order. */
typedef enum winograd_format {
    WINOGRAD_FLOAT,
    WINOGRAD_HALF,
    WINOGRAD_EVEN,
    WINOGRAD_ODD
} winograd_format;

/* Where a transform reads a tile: one pointer for each position, at channel 0.  Positions outside the
   picture point at zeros. */
typedef struct winograd_tile {
    const void *at[WINOGRAD_POINTS];
    tensor_type type;
} winograd_tile;

/* What happens to a tile of outputs on its way to the picture. */
typedef struct winograd_output {
    void *dst;         /* first value of the tile and the panel */
    const void *add;   /* likewise, or NULL */
    const float *bias; /* PANEL values, or NULL */
    tensor_type dst_type, add_type;
    size_t row, pixel; /* distances in values */
    int rows, columns, channels; /* what of the tile and the panel exists */
    bool activate;
    float slope;
} winograd_output;

/* Panels that take part in a product: those of the others would be multiplied with zeros. */
typedef struct winograd_list {
    size_t count;
    uint16_t panels[4 * TENSOR_MAX_CHANNELS / WINOGRAD_PANEL];
} winograd_list;

typedef struct winograd_kernels {
    /* Panels of outputs that multiply() is best given at once: of floats, of pairs. */
    size_t group, pair_group;
    /* A tile of SIDE x SIDE inputs; dst: value 0, panel 0. */
    void (*transform_src)(const winograd_tile *tile, size_t channels, winograd_format format,
                          void *dst, size_t panel_stride, size_t point_stride);
    /* A tile of TILE x TILE gradients (pointers 0 to 15), for the gradient of the weights. */
    void (*transform_grad)(const winograd_tile *tile, size_t channels, winograd_format format,
                           void *dst, size_t panel_stride, size_t point_stride);
    /* dst (tiles, PANEL) = src (panels, tiles, PANEL) * weights (panels * PANEL, PANEL) for `outputs`
       panels, whose weights and results are strides apart.  pairs: of bfloat16. */
    void (*multiply)(const void *src, size_t panel_stride, const void *weights,
                     size_t weights_stride, const winograd_list *list, size_t tiles, bool pairs,
                     size_t outputs, float *dst, size_t dst_stride);
    /* src: value 0 of one tile, [i][PANEL]. */
    void (*transform_dst)(const float *src, size_t point_stride, const winograd_output *output);
    /* dst (PANEL, panels * PANEL) (+)= grad (tiles, PANEL)^T * src (panels, tiles, PANEL), for listed
       panels; rows of dst are row_stride floats apart.  pairs: of bfloat16. */
    void (*multiply_grad)(const void *grad, const void *src, size_t panel_stride,
                          const winograd_list *list, size_t tiles, bool pairs, bool accumulate,
                          float *dst, size_t row_stride);
    /* weights: nine taps, tap_stride apart, of PANEL channels each; dst: [i][PANEL]. */
    void (*transform_weights)(const float *weights, size_t tap_stride, winograd_format format,
                              void *dst, size_t point_stride);
    /* Its transpose: nine taps of PANEL gradients. */
    void (*transform_grad_weights)(const float *src, size_t point_stride, float *taps);
} winograd_kernels;

extern const winograd_kernels winograd_kernels_portable;
#if defined(__x86_64__)
extern const winograd_kernels winograd_kernels_avx2, winograd_kernels_avx512,
    winograd_kernels_avx512bf16;
#endif

#endif
