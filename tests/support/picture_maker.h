/*
 * picture_maker.h - picture files of every mode for tests, made with libpng and libjpeg directly,
 * and the pixels that reading them must give.
 */
#ifndef TESTS_PICTURE_MAKER_H
#define TESTS_PICTURE_MAKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct made_file {
    uint8_t *data;
    size_t size;
    uint8_t
        *expected; /* 8-bit interleaved, as reading should give it before EXIF turning */
    uint32_t channels;
} made_file;

typedef struct png_mode {
    uint32_t width, height;
    int color; /* PNG_COLOR_TYPE_* */
    int depth; /* 1, 2, 4, 8, 16 */
    bool interlaced;
    bool transparent; /* adds a tRNS chunk (gray, RGB, palette) */
    const void *icc, *exif;
    size_t icc_size, exif_size;
    uint32_t seed;
} png_mode;

/* A random picture of the mode.  Exits the test program when something fails. */
made_file make_png(const png_mode *mode);

typedef enum jpeg_color { MADE_GRAY, MADE_RGB, MADE_YCC, MADE_CMYK, MADE_YCCK } jpeg_color;

typedef struct jpeg_mode {
    uint32_t width, height;
    jpeg_color color;
    bool progressive, adobe; /* adobe: CMYK with an Adobe marker, samples inverted */
    int scans;               /* > 0, gray alone: a progressive file of so many scans, at most 128 */
    const void *icc, *exif;  /* the profile goes out in segments of at most 65519 bytes */
    size_t icc_size, exif_size;
    uint32_t seed;
} jpeg_mode;

/* A smooth picture at quality 95 without subsampling; expected is within a few steps. */
made_file make_jpeg(const jpeg_mode *mode);

void made_file_free(made_file *file);

/* TIFF block with one orientation entry between two others. */
size_t make_exif(uint8_t exif[64], int orientation, bool little_endian);
/* Header of a profile that libpng accepts, for gray or RGB pixels, followed by filler. */
void make_icc(uint8_t *icc, size_t size, bool gray);

#endif
