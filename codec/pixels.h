/*
 * pixels.h - between interleaved 8-bit rows and what the networks read and write.
 */
#ifndef VQZI_PIXELS_H
#define VQZI_PIXELS_H

#include "codec/net.h"

/* Fills one row of an analysis input (pixel - 128), repeating the picture's last column.  Gray is
   replicated under colour models; a missing alpha is opaque.  row: (width, channels). */
void vqzi_pixels_load_row(const vqzi_view *view, int64_t y, const uint8_t *row, uint32_t width,
                          uint32_t channels);

/* Writes one row of a synthesis output from x_begin to x_end into row (width, channels), which starts
   with column `first` of the picture.
   pixel = clamp(128 + ((v + (1 << (shift - 1))) >> shift), 0, 255).  The alpha of the picture is
   written only by a 4-channel network. */
void vqzi_pixels_store_row(const vqzi_view *view, int64_t y, int64_t x_begin, int64_t x_end,
                           uint32_t shift, int64_t first, uint8_t *row, uint32_t channels);

#endif
