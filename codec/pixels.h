/*
 * pixels.h - between interleaved 8-bit pictures and what the networks read and write.
 */
#ifndef VQZI_PIXELS_H
#define VQZI_PIXELS_H

#include "codec/net.h"
#include "format/container.h"

/* Fills one row of an analysis input (pixel - 128) from the picture, repeating its last row and
   column.  Gray is replicated under colour models; a missing alpha is opaque. */
void vqzi_pixels_load_row(const vqzi_view *view, int64_t y, const vqz_image *image);

/* Writes one row of a synthesis output into the picture, from x_begin to x_end.
   pixel = clamp(128 + ((v + (1 << (shift - 1))) >> shift), 0, 255).  The alpha of the picture is
   written only by a 4-channel network. */
void vqzi_pixels_store_row(const vqzi_view *view, int64_t y, int64_t x_begin, int64_t x_end,
                           uint32_t shift, const vqz_image *image);

/* The alpha of a picture as a chunk payload: residuals of the MED predictor modulo 256, packed. */
VQZ_MUST_CHECK vqz_status vqzi_alpha_pack(vqzi_buffer *payload, const vqz_image *image);
/* The inverse, into the picture's alpha. */
VQZ_MUST_CHECK vqz_status vqzi_alpha_unpack(const uint8_t *payload, size_t size,
                                            const vqz_image *image);

#endif
