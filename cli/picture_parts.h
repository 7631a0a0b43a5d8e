/*
 * picture_parts.h - what picture.c and the readers and writers of each file kind share.
 */
#ifndef CLI_PICTURE_PARTS_H
#define CLI_PICTURE_PARTS_H

#include "cli/picture.h"

/* Refuses dimensions that are zero, above 65535, or beyond max_pixels.  kind starts the message. */
VQZ_MUST_CHECK vqz_status picture_check_size(const char *kind, uint64_t width, uint64_t height,
                                             uint64_t max_pixels, vqz_diag *diag);
/* Sets up p->image with zeroed pixels in dense rows; the size has been checked. */
VQZ_MUST_CHECK vqz_status picture_allocate(picture *p, uint32_t width, uint32_t height,
                                           uint32_t channels, vqz_diag *diag);
/* malloc'ed copy of a metadata block; an empty block is NULL and 0. */
VQZ_MUST_CHECK vqz_status picture_copy_block(uint8_t **copy, size_t *copy_size, const void *data,
                                             size_t size, vqz_diag *diag);

/* Each fills *p, which is all zero, from a file that starts with the signature of its kind.  After
   a failure *p may hold blocks that picture_clear releases.  Pixels are not yet upright. */
VQZ_MUST_CHECK vqz_status picture_parse_png(picture *p, const uint8_t *data, size_t size,
                                            uint64_t max_pixels, vqz_diag *diag);
VQZ_MUST_CHECK vqz_status picture_parse_jpeg(picture *p, const uint8_t *data, size_t size,
                                             uint64_t max_pixels, vqz_diag *diag);
VQZ_MUST_CHECK vqz_status picture_parse_pnm(picture *p, const uint8_t *data, size_t size,
                                            uint64_t max_pixels, vqz_diag *diag);

VQZ_MUST_CHECK vqz_status picture_serialise_png(const picture *p, void **data, size_t *size,
                                                vqz_diag *diag);
VQZ_MUST_CHECK vqz_status picture_serialise_pnm(const picture *p, void **data, size_t *size,
                                                vqz_diag *diag);

#endif
