/*
 * picture.h - picture files in and out: PNG (libpng), JPEG (libjpeg-turbo), PNM/PAM (here).
 *
 * Everything arrives as 8-bit gray, gray + alpha, RGB or RGBA, upright: the EXIF orientation is applied
 * to the pixels and set to 1 in the EXIF block that is handed on.  Palettes are expanded, tRNS becomes
 * alpha, 1/2/4-bit samples are scaled, 16-bit samples are rounded to 8 (and `sixteen_bit` says so),
 * CMYK and YCCK JPEG become RGB.  Files are hostile until checked: limits hold before allocation,
 * damaged files give an error that names the fault.
 */
#ifndef CLI_PICTURE_H
#define CLI_PICTURE_H

#include "format/common.h"

typedef struct picture {
    vqz_image image; /* pixels malloc'ed, rows dense */
    uint8_t *icc;    /* malloc'ed, NULL when absent */
    size_t icc_size;
    uint8_t *exif;   /* TIFF structure without prefix, orientation reset to 1 */
    size_t exif_size;
    bool sixteen_bit; /* had 16-bit samples */
    bool animated;    /* APNG: only the first (default) picture was read */
} picture;

typedef enum picture_format { PICTURE_PNG = 1, PICTURE_PNM = 2 } picture_format;

/* Parses a picture file held in memory; the kind is recognised by its first bytes. */
VQZ_MUST_CHECK vqz_status picture_parse(picture *p, const void *data, size_t size,
                                        uint64_t max_pixels, vqz_diag *diag);
/* Reads a picture file (path "-": standard input). */
VQZ_MUST_CHECK vqz_status picture_read(picture *p, const char *path, uint64_t max_pixels,
                                       vqz_diag *diag);
/* Pixels only, with default limits: the corpus_read of the trainer. */
VQZ_MUST_CHECK vqz_status picture_read_pixels(const char *path, vqz_image *image, vqz_diag *diag);
/* Serialises to PNG (with ICC and EXIF when present) or PNM (PGM, PPM; PAM with alpha).
   *data is malloc'ed. */
VQZ_MUST_CHECK vqz_status picture_serialise(const picture *p, picture_format format, void **data,
                                            size_t *size, vqz_diag *diag);
void picture_clear(picture *p);

#endif
