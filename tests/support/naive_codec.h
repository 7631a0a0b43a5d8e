/*
 * naive_codec.h - the codec a second time, slow and plain, to check the real one against: whole
 * pictures, one loop a sum, int64 everywhere, no packing, no tiles, no threads.  Written from the
 * comments of format/model.h; shares only the parser of the container with the library.
 */
#ifndef TESTS_NAIVE_CODEC_H
#define TESTS_NAIVE_CODEC_H

#include "codec/vqz.h"
#include "format/container.h"

/* Latent size of a picture side. */
uint32_t naive_latent_side(const vqzi_model *model, uint32_t pixels);

/* Indices of every plane, (planes, latent rows, latent columns), to be released with free(). */
uint16_t *naive_encode(const vqzi_model *model, int quality, const vqz_image *image);

/* Pixels from such indices; alpha is written only by a 4-channel model. */
void naive_decode(const vqzi_model *model, int quality, const uint16_t *indices,
                  const vqz_image *image);

/* Appends a file of version 2 with these indices of a model with a prior; rANS streams, with or without
   scans.  The picture has no alpha. */
void naive_write_file(const vqzi_model *model, int quality, uint32_t width, uint32_t height,
                      const uint16_t *indices, bool scans, vqzi_buffer *file);

/* The indices that a .vqz file of either version holds, or NULL when it cannot be read. */
uint16_t *naive_read_indices(const vqzi_model *model, const void *file, size_t size);

#endif
