/*
 * metrics.h - how far a decoded picture is from the original: PSNR and MS-SSIM.
 *
 * Both compare the gray or the RGB samples; pictures with alpha are compared on white, so that what
 * cannot be seen does not count.  The pictures have the same size and number of channels.
 */
#ifndef CLI_METRICS_H
#define CLI_METRICS_H

#include "format/common.h"

/* 10 log10(255^2 / mean squared error over all samples); HUGE_VAL for equal pictures. */
double metrics_psnr(const vqz_image *a, const vqz_image *b);

/* The same in pieces: the squared errors of some pixels of so many channels, and what their sum over a
   picture amounts to. */
uint64_t metrics_squares(const uint8_t *a, const uint8_t *b, size_t pixels, uint32_t channels);
double metrics_psnr_of(uint64_t squares, const vqz_image *image);

/* Multi-scale structural similarity (Wang, Simoncelli, Bovik 2003): five scales, Gaussian window of
   11 taps with sigma 1.5, K1 = 0.01, K2 = 0.03, halved by 2x2 averages, mean of the channels.
   A scale whose shorter side is under 11 pixels does not exist: smaller pictures (under 176) use
   fewer scales, with the weights of those divided by their sum; under 11 pixels the window shrinks
   to the picture.  Such values do not compare with those of five scales.
   threads 0: all processors; the result does not depend on it. */
VQZ_MUST_CHECK vqz_status metrics_ms_ssim(const vqz_image *a, const vqz_image *b, int threads,
                                          double *similarity);

#endif
