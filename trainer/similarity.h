/*
 * similarity.h - 1 - MS-SSIM of training crops and its gradient: the loss of --loss msssim and mix.
 *
 * Z. Wang, E. P. Simoncelli, A. C. Bovik: Multi-scale structural similarity for image quality
 * assessment, Asilomar 2003.  As in cli/metrics.h: windows of 11 Gaussian taps inside the picture, as
 * many of the five scales as have room for one, channel by channel.
 */
#ifndef TRAINER_SIMILARITY_H
#define TRAINER_SIMILARITY_H

#include "format/common.h"

/* Work memory of `threads` threads for crops of side x side pixels; nothing is allocated later. */
typedef struct similarity similarity;
/* side: at least SIMILARITY_LEAST_SIDE. */
enum { SIMILARITY_LEAST_SIDE = 11 };
VQZ_MUST_CHECK vqz_status similarity_create(similarity **s, int side, int channels, int threads);
void similarity_free(similarity *s);

/* 1 - MS-SSIM of two crops (side, side, channels) of values in [-1, 1], the mean over channels;
   gradient (same shape) += scale * its gradient over `output`.  thread: 0 to threads - 1. */
double similarity_loss(const similarity *s, int thread, const float *output, const float *input,
                       float scale, float *gradient);

#endif
