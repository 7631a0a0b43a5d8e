/*
 * winograd.h - 3x3 convolutions of stride 1 in float32 with a quarter of the multiplications, by
 * F(4x4, 3x3), and 4x4 ones of stride 2 with 25/64: forward and both gradients.  conv_create() takes it
 * where it is known to be faster than the convolutions of oneDNN; the calls mean what those of tensor.h
 * mean.
 *
 * Tensors may be bfloat16.  Sums are float32, and so are the products of the forward pass.  Those of
 * gradients that are bfloat16 themselves are of bfloat16, twice as fast: the transforms make 2 to 3 % of
 * a gradient's size of what is rounded there, many times less than it varies from one batch to another;
 * the forward pass, which is what the codec does, would lose quality by it.
 */
#ifndef TRAINER_WINOGRAD_H
#define TRAINER_WINOGRAD_H

#include "trainer/tensor.h"

typedef struct winograd winograd;

/* Whether it can compute the convolution, and whether it is the faster way: forward, or of both
   gradients. */
bool winograd_possible(const conv_options *options);
bool winograd_pays(const backend *b, const conv_options *options, bool gradients);

VQZ_MUST_CHECK vqz_status winograd_create(winograd **w, backend *b, const conv_options *options,
                                          vqz_diag *diag);
void winograd_free(winograd *w);
/* For tests: "portable", "avx2", "avx512" or "avx512bf16" instead of the best; false where the processor
   or the build lacks them. */
bool winograd_use_kernels(winograd *w, const char *name);
/* With bias, addition and activation where options->fuse_bias; else conv(src) alone. */
void winograd_forward(const winograd *w, const float *weights, const float *bias, const void *src,
                      const void *add, void *dst);
void winograd_backward_data(const winograd *w, const float *weights, const void *grad_dst,
                            void *grad_src);
void winograd_backward_weights(const winograd *w, const void *src, const void *grad_dst,
                               float *grad_weights);

#endif
