/*
 * kernels.h - the inner loops of the codec, one signature each for the reference and its variants.
 *
 * Every variant computes exactly what the reference does (tests/kernels proves it).  A table is
 * filled with the reference and then overridden in ascending order of instruction set; each context
 * holds its own, so nothing here is global.  A new instruction set adds one file that gives
 * template.h its vocabulary, with a vqzi_kernels_init_*(), and one line in table.c.
 */
#ifndef VQZI_KERNELS_H
#define VQZI_KERNELS_H

#include "format/common.h"

enum {
    VQZI_CONV_BLOCK = 16,   /* output channels that are packed together */
    VQZI_SEARCH_BLOCK = 16, /* codes that are packed together */
    VQZI_KERNEL_SLACK = 16  /* int16 elements a kernel may read after the last one of its source */
};

/* A convolution, packed for the kernels; its window is `rows` x `kernel` taps.
   Pictures are dense: position x of a row starts at element x * channels.  So the taps (kx, ic) of
   one kernel row are one run of kernel * in_channels neighbouring elements, and the kernels walk it
   in pairs whatever the number of channels is; an odd run ends with a pair whose second weight is
   zero. */
typedef struct vqzi_conv {
    uint32_t in_channels, out_channels, rows, kernel, stride;
    uint32_t pairs;   /* (kernel * in_channels + 1) / 2 */
    int16_t *weights; /* (ceil(out_channels / 16), rows, pairs, 16, 2), zero-filled */
    int32_t *shifts;  /* (out_channels rounded up to 16) */
    int32_t slope;    /* t < 0 becomes t >> slope; 0 for no activation and for ReLU */
    int32_t minimum, maximum; /* of the output; minimum 0 makes a ReLU */
} vqzi_conv;

typedef struct vqzi_conv_job {
    const vqzi_conv *conv;
    const int32_t *offsets; /* (out_channels rounded up to 16): bias + rounding of the shift */
    const int16_t *src;     /* first tap of the first output position */
    size_t src_pitch;       /* elements from one source row to the next */
    const int16_t *add;     /* (width, out_channels), or NULL */
    int16_t *dst;           /* (width, out_channels) */
    uint32_t width;
} vqzi_conv_job;

/* One output row of a convolution. */
#define VQZI_CONV_KERNEL(name) void name(const vqzi_conv_job *job)
/* Its sums alone, before the shift: sums (width, out_channels rounded up to 16), of which those beyond
   out_channels are unspecified.  They start from the offsets, or without these from what `sums` holds.
   add and dst are not looked at. */
#define VQZI_SUMS_KERNEL(name) void name(const vqzi_conv_job *job, int32_t *sums)
/* A convolution of one position and one row: what remains to be done from the sums `start` on, with
   `src` as its run of kernel * in_channels elements.  start and dst have out_channels rounded up to 16;
   what is written beyond out_channels is unspecified. */
#define VQZI_MATVEC_KERNEL(name)                                                                   \
    void name(const vqzi_conv *conv, const int32_t *start, const int16_t *src, int16_t *dst)
/* dst[i] = clamp(max(src[i], src[i] >> slope)) from below at minimum. */
#define VQZI_ACT_KERNEL(name)                                                                      \
    void name(int16_t *dst, const int16_t *src, size_t count, int slope, int minimum)

/* The codes of a plane, packed for the search: cost_k(r) = base_k + sum_i r_i * (-2 e_ki), that is
   |e_k - r|^2 - |r|^2 + penalty_k.  Every cost is proven to lie strictly inside int32. */
typedef struct vqzi_codes {
    uint32_t codes;  /* K */
    uint32_t pairs;  /* (dims + 1) / 2 */
    uint32_t blocks; /* ceil(K / 16) */
    int16_t *packed; /* (blocks, pairs, 16, 2): -2 e, zero-filled */
    int32_t *base;   /* (blocks * 16): |e|^2 + penalty, INT32_MAX after the last code */
} vqzi_codes;

/* found[i] = argmin_k cost_k(residuals[i]), the lowest k on ties; residuals: (count, 2 pairs). */
#define VQZI_SEARCH_KERNEL(name)                                                                   \
    void name(const vqzi_codes *codes, const int16_t *residuals, size_t count, uint16_t *found)

typedef struct vqzi_kernels {
    VQZI_CONV_KERNEL((*conv));
    VQZI_SUMS_KERNEL((*sums));
    VQZI_MATVEC_KERNEL((*matvec));
    VQZI_ACT_KERNEL((*act));
    VQZI_SEARCH_KERNEL((*search));
} vqzi_kernels;

/* The best kernels of this processor up to an instruction set. */
void vqzi_kernels_init(vqzi_kernels *kernels, vqz_cpu cpu);

void vqzi_kernels_init_ref(vqzi_kernels *kernels);
/* For convolutions of at most 8 output channels on processors with wider vectors. */
VQZI_CONV_KERNEL(vqzi_conv_avx2);

/* Each leaves the table alone where the processor has not the instruction set. */
void vqzi_kernels_init_avx2(vqzi_kernels *kernels);
void vqzi_kernels_init_avxvnni(vqzi_kernels *kernels);
void vqzi_kernels_init_avx512(vqzi_kernels *kernels);
void vqzi_kernels_init_avx512vnni(vqzi_kernels *kernels);
void vqzi_kernels_init_neon(vqzi_kernels *kernels);

#endif
