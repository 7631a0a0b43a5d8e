/*
 * picture.h - picture files in and out, a band of rows at a time: PNG (libpng), JPEG
 * (libjpeg-turbo), PNM/PAM (here).
 *
 * Everything arrives as 8-bit gray, gray + alpha, RGB or RGBA, upright: the EXIF orientation is
 * applied to the pixels and set to 1 in the EXIF block that is handed on.  Palettes are expanded,
 * tRNS becomes alpha, 1/2/4-bit samples are scaled, 16-bit samples are rounded to 8 (and
 * `sixteen_bit` says so), CMYK and YCCK JPEG become RGB.  Files are hostile until checked: limits
 * hold before allocation, damaged files give an error that names the fault.
 *
 * Interlaced PNG and pictures that have to be turned are held whole, and libjpeg holds the
 * coefficients of a progressive JPEG (2 bytes a sample); everything else is read and written in a
 * few rows.
 */
#ifndef CLI_PICTURE_H
#define CLI_PICTURE_H

#include "cli/file.h"
#include "cli/source.h"

typedef struct picture {
    vqz_image image; /* pixels malloc'ed, rows dense */
    uint8_t *icc;    /* malloc'ed, NULL when absent */
    size_t icc_size;
    uint8_t *exif; /* TIFF structure without prefix, orientation reset to 1 */
    size_t exif_size;
    bool sixteen_bit; /* had 16-bit samples */
    bool animated;    /* APNG: only the first (default) picture was read */
    char damaged[64]; /* names of damaged chunks that were left out, "" when all was well; they can
                         come behind the pixels */
} picture;

/* ---- reading ---- */

typedef struct picture_reader picture_reader;

/* Reads up to the pixels; the kind is recognised by its first bytes.  The source is borrowed. */
VQZ_MUST_CHECK vqz_status picture_reader_open(picture_reader **reader, source *s,
                                              const vqz_limits *limits, vqz_diag *diag);
void picture_reader_close(picture_reader *reader);
/* What is known about the picture: everything but the pixels (and their stride). */
const picture *picture_reader_facts(const picture_reader *reader);
/* The next `count` rows, `stride` bytes apart.  The file is good once its last row has been read:
   that call also looks at what comes behind.  After a failure only picture_reader_close is allowed.
 */
VQZ_MUST_CHECK vqz_status picture_reader_rows(picture_reader *reader, uint8_t *rows, size_t stride,
                                              uint32_t count, vqz_diag *diag);

/* A whole picture, from where the reader is: its start. */
VQZ_MUST_CHECK vqz_status picture_read(picture *p, source *s, const vqz_limits *limits,
                                       vqz_diag *diag);
/* Pixels only, with default limits: the corpus_read of the trainer. */
VQZ_MUST_CHECK vqz_status picture_read_pixels(const char *path, vqz_image *image, vqz_diag *diag);
void picture_clear(picture *p);

/* ---- writing ---- */

typedef enum picture_format { PICTURE_PNG = 1, PICTURE_PNM = 2 } picture_format;

typedef struct picture_writer picture_writer;

/* PNG (with ICC and EXIF when present) or PNM (PGM, PPM; PAM with alpha), as p says but for its
   pixels. The output is borrowed; it is complete, not committed, after picture_writer_finish. */
VQZ_MUST_CHECK vqz_status picture_writer_open(picture_writer **writer, const picture *p,
                                              picture_format format, file_output *output,
                                              vqz_diag *diag);
VQZ_MUST_CHECK vqz_status picture_writer_rows(picture_writer *writer, const uint8_t *rows,
                                              size_t stride, uint32_t count, vqz_diag *diag);
/* After the last row. */
VQZ_MUST_CHECK vqz_status picture_writer_finish(picture_writer *writer, vqz_diag *diag);
void picture_writer_close(picture_writer *writer);

#endif
