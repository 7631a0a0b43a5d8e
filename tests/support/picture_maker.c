/* picture_maker.c - see picture_maker.h. */
#include "tests/support/picture_maker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

static void die(const char *what) {
    fprintf(stderr, "picture_maker: %s\n", what);
    exit(99);
}

static void *get(size_t size) {
    void *memory = calloc(size, 1);
    if (memory == NULL)
        die("out of memory");
    return memory;
}

static uint32_t draw(uint32_t *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* ---- PNG ---- */

static void append(png_structp png, png_bytep src, size_t size) {
    made_file *file = png_get_io_ptr(png);
    file->data = realloc(file->data, file->size + size);
    if (file->data == NULL)
        die("out of memory");
    memcpy(file->data + file->size, src, size);
    file->size += size;
}

static void flush_nothing(png_structp png) {
    (void)png;
}

static int stored_channels(int color) {
    return color == PNG_COLOR_TYPE_RGB          ? 3
           : color == PNG_COLOR_TYPE_RGB_ALPHA  ? 4
           : color == PNG_COLOR_TYPE_GRAY_ALPHA ? 2
                                                : 1;
}

typedef struct png_tables {
    png_color palette[256];
    png_byte alpha[256];
    int entries;
    uint16_t key[3]; /* the transparent colour */
} png_tables;

/* The 8-bit pixel that samples at full depth stand for. */
static void expect_pixel(uint8_t *dst, const uint16_t *samples, const png_mode *mode,
                         const png_tables *tables) {
    if (mode->color == PNG_COLOR_TYPE_PALETTE) {
        const png_color *color = &tables->palette[samples[0]];
        dst[0] = color->red;
        dst[1] = color->green;
        dst[2] = color->blue;
        if (mode->transparent)
            dst[3] = tables->alpha[samples[0]];
        return;
    }
    int channels = stored_channels(mode->color);
    unsigned maximum = (1u << mode->depth) - 1;
    for (int c = 0; c < channels; c++)
        dst[c] = (uint8_t)((2 * 255 * samples[c] + maximum) / (2 * maximum)); /* nearest */
    if (mode->transparent)
        dst[channels] = memcmp(samples, tables->key, 2 * (size_t)channels) == 0 ? 0 : 255;
}

static void pack_sample(uint8_t *row, size_t index, int depth, uint16_t sample) {
    if (depth == 16) {
        row[2 * index] = (uint8_t)(sample >> 8);
        row[2 * index + 1] = (uint8_t)sample;
    } else if (depth == 8) {
        row[index] = (uint8_t)sample;
    } else {
        size_t bit = index * (size_t)depth;
        row[bit / 8] |= (uint8_t)(sample << (8 - depth - (int)(bit % 8)));
    }
}

static void fill_tables(png_tables *tables, const png_mode *mode, uint32_t *seed) {
    tables->entries = 1 << (mode->depth < 8 ? mode->depth : 8);
    for (int i = 0; i < tables->entries; i++) {
        tables->palette[i] =
            (png_color){(png_byte)draw(seed), (png_byte)draw(seed), (png_byte)draw(seed)};
        tables->alpha[i] = (png_byte)draw(seed);
    }
}

made_file make_png(const png_mode *mode) {
    uint32_t seed = mode->seed * 2654435761u + 1;
    made_file file = {0};
    png_tables tables = {0};
    fill_tables(&tables, mode, &seed);
    int stored = stored_channels(mode->color);
    file.channels = (mode->color == PNG_COLOR_TYPE_PALETTE ? 3 : (uint32_t)stored) +
                    (mode->transparent ? 1 : 0);
    size_t row_samples = (size_t)mode->width * (size_t)stored;
    size_t row_bytes = (row_samples * (size_t)mode->depth + 7) / 8;
    uint8_t *rows = get(row_bytes * mode->height);
    uint8_t **row_pointers = get(mode->height * sizeof *row_pointers);
    file.expected = get((size_t)mode->width * mode->height * file.channels);
    for (size_t y = 0; y < mode->height; y++) {
        row_pointers[y] = rows + y * row_bytes;
        for (size_t x = 0; x < mode->width; x++) {
            uint16_t samples[4];
            for (int c = 0; c < stored; c++)
                samples[c] = (uint16_t)(draw(&seed) & ((1u << mode->depth) - 1));
            if (x == 0 && y == 0)
                memcpy(tables.key, samples, sizeof tables.key);
            /* Near misses of the transparent colour: equal in the upper byte alone. */
            if (x == 1 && y == 0 && mode->depth == 16) {
                memcpy(samples, tables.key, sizeof tables.key);
                samples[0] ^= 1;
            }
            for (int c = 0; c < stored; c++)
                pack_sample(row_pointers[y], x * (size_t)stored + (size_t)c, mode->depth,
                            samples[c]);
            expect_pixel(file.expected + (y * mode->width + x) * file.channels, samples, mode,
                         &tables);
        }
    }

    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png == NULL ? NULL : png_create_info_struct(png);
    if (info == NULL || setjmp(png_jmpbuf(png)) != 0)
        die("libpng failed");
    png_set_write_fn(png, &file, append, flush_nothing);
    png_set_IHDR(png, info, mode->width, mode->height, mode->depth, mode->color,
                 mode->interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_gAMA(png, info, 0.7); /* must be ignored */
    if (mode->color == PNG_COLOR_TYPE_PALETTE)
        png_set_PLTE(png, info, tables.palette, tables.entries);
    if (mode->transparent) {
        png_color_16 key = {.gray = tables.key[0],
                            .red = tables.key[0],
                            .green = tables.key[1],
                            .blue = tables.key[2]};
        png_set_tRNS(png, info, tables.alpha, tables.entries, &key);
    }
    if (mode->icc != NULL)
        png_set_iCCP(png, info, "profile", 0, mode->icc, (png_uint_32)mode->icc_size);
    if (mode->exif != NULL) {
        uint8_t *copy = get(mode->exif_size);
        memcpy(copy, mode->exif, mode->exif_size);
        png_set_eXIf_1(png, info, (png_uint_32)mode->exif_size, copy);
        free(copy);
    }
    png_write_info(png, info);
    png_write_image(png, row_pointers);
    png_write_end(png, NULL); /* given info, it would write eXIf a second time */
    png_destroy_write_struct(&png, &info);
    free(row_pointers);
    free(rows);
    return file;
}

/* ---- JPEG ---- */

static void write_icc_segments(j_compress_ptr jpeg, const uint8_t *icc, size_t size) {
    size_t most = 65519, count = (size + most - 1) / most;
    for (size_t i = 0; i < count; i++) {
        size_t length = size - i * most < most ? size - i * most : most;
        uint8_t *segment = get(length + 14);
        memcpy(segment, "ICC_PROFILE", 12);
        segment[12] = (uint8_t)(i + 1);
        segment[13] = (uint8_t)count;
        memcpy(segment + 14, icc + i * most, length);
        jpeg_write_marker(jpeg, JPEG_APP0 + 2, segment, (unsigned)(length + 14));
        free(segment);
    }
}

/* One coefficient a scan: all without their last bit, then the last bits. */
static void script_scans(j_compress_ptr jpeg, jpeg_scan_info script[128], int count) {
    for (int i = 0; i < count; i++)
        script[i] = (jpeg_scan_info){
            .comps_in_scan = 1, .Ss = i % 64, .Se = i % 64, .Ah = i < 64 ? 0 : 1, .Al = i < 64};
    jpeg->scan_info = script;
    jpeg->num_scans = count;
}

/* Smooth, so that the codec's loss stays small: a ramp in each channel. */
static uint8_t ramp(uint32_t x, uint32_t y, uint32_t width, uint32_t height, uint32_t c) {
    uint32_t across = 255 * x / (width > 1 ? width - 1 : 1);
    uint32_t down = 255 * y / (height > 1 ? height - 1 : 1);
    switch (c) {
    case 0:
        return (uint8_t)across;
    case 1:
        return (uint8_t)down;
    case 2:
        return (uint8_t)(255 - (across + down) / 2);
    default:
        return (uint8_t)(64 + (across + 2 * down) / 8);
    }
}

made_file make_jpeg(const jpeg_mode *mode) {
    static const J_COLOR_SPACE in_space[] = {JCS_GRAYSCALE, JCS_RGB, JCS_RGB, JCS_CMYK, JCS_CMYK};
    static const J_COLOR_SPACE out_space[] = {JCS_GRAYSCALE, JCS_RGB, JCS_YCbCr, JCS_CMYK,
                                              JCS_YCCK};
    made_file file = {0};
    bool cmyk = mode->color >= MADE_CMYK;
    uint32_t components = mode->color == MADE_GRAY ? 1 : cmyk ? 4 : 3;
    file.channels = mode->color == MADE_GRAY ? 1 : 3;
    size_t row_bytes = (size_t)mode->width * components;
    uint8_t *row = get(row_bytes);
    file.expected = get((size_t)mode->width * mode->height * file.channels);

    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr error;
    unsigned long size = 0;
    jpeg.err = jpeg_std_error(&error);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &file.data, &size);
    jpeg.image_width = mode->width;
    jpeg.image_height = mode->height;
    jpeg.input_components = (int)components;
    jpeg.in_color_space = in_space[mode->color];
    jpeg_set_defaults(&jpeg);
    jpeg_set_colorspace(&jpeg, out_space[mode->color]);
    jpeg_set_quality(&jpeg, 95, TRUE);
    for (int c = 0; c < jpeg.num_components; c++)
        jpeg.comp_info[c].h_samp_factor = jpeg.comp_info[c].v_samp_factor = 1;
    if (mode->progressive)
        jpeg_simple_progression(&jpeg);
    jpeg_scan_info script[128];
    if (mode->scans > 0)
        script_scans(&jpeg, script, mode->scans);
    if (cmyk)
        jpeg.write_Adobe_marker = mode->adobe ? TRUE : FALSE;
    jpeg_start_compress(&jpeg, TRUE);
    if (mode->exif != NULL) {
        uint8_t *segment = get(mode->exif_size + 6);
        memcpy(segment, "Exif\0", 6);
        memcpy(segment + 6, mode->exif, mode->exif_size);
        jpeg_write_marker(&jpeg, JPEG_APP0 + 1, segment, (unsigned)mode->exif_size + 6);
        free(segment);
    }
    if (mode->icc != NULL)
        write_icc_segments(&jpeg, mode->icc, mode->icc_size);
    for (uint32_t y = 0; y < mode->height; y++) {
        for (uint32_t x = 0; x < mode->width; x++) {
            uint8_t *expected = file.expected + ((size_t)y * mode->width + x) * file.channels;
            unsigned ink[4] = {0};
            for (uint32_t c = 0; c < components; c++) {
                ink[c] = ramp(x, y, mode->width, mode->height, c);
                row[x * components + c] = (uint8_t)(mode->adobe && cmyk ? 255 - ink[c] : ink[c]);
            }
            for (uint32_t c = 0; c < file.channels; c++)
                expected[c] = (uint8_t)(cmyk ? (255 - ink[c]) * (255 - ink[3]) / 255 : ink[c]);
        }
        JSAMPROW rows[1] = {row};
        jpeg_write_scanlines(&jpeg, rows, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    free(row);
    file.size = size;
    return file;
}

void made_file_free(made_file *file) {
    free(file->data);
    free(file->expected);
    *file = (made_file){0};
}

/* ---- metadata ---- */

static void put(uint8_t *dst, uint32_t value, int count, bool little_endian) {
    for (int i = 0; i < count; i++)
        dst[little_endian ? i : count - 1 - i] = (uint8_t)(value >> 8 * i);
}

static void put_entry(uint8_t *dst, uint16_t tag, uint16_t value, bool little_endian) {
    put(dst, tag, 2, little_endian);
    put(dst + 2, 3, 2, little_endian); /* SHORT */
    put(dst + 4, 1, 4, little_endian);
    put(dst + 8, value, 2, little_endian);
}

size_t make_exif(uint8_t exif[64], int orientation, bool little_endian) {
    memset(exif, 0, 64);
    memcpy(exif, little_endian ? "II" : "MM", 2);
    put(exif + 2, 42, 2, little_endian);
    put(exif + 4, 8, 4, little_endian);
    put(exif + 8, 3, 2, little_endian);
    put_entry(exif + 10, 0x0103, 6, little_endian);
    put_entry(exif + 22, 0x0112, (uint16_t)orientation, little_endian);
    put_entry(exif + 34, 0x0128, 2, little_endian);
    return 50;
}

void make_icc(uint8_t *icc, size_t size, bool gray) {
    for (size_t i = 0; i < size; i++)
        icc[i] = (uint8_t)(i * 37 >> 3);
    memset(icc, 0, 132);
    put(icc, (uint32_t)size, 4, false);
    icc[8] = 2; /* version */
    memcpy(icc + 12, "mntr", 4);
    memcpy(icc + 16, gray ? "GRAY" : "RGB ", 4);
    memcpy(icc + 20, "XYZ ", 4);
    memcpy(icc + 36, "acsp", 4);
    put(icc + 68, 0xf6d6, 4, false); /* D50 */
    put(icc + 72, 0x10000, 4, false);
    put(icc + 76, 0xd32d, 4, false);
    put(icc + 128, 0, 4, false); /* no tags */
}
