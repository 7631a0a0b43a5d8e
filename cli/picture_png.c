/*
 * picture_png.c - PNG in and out through libpng.
 *
 * libpng reports errors by longjmp, so each direction keeps its state in a struct that outlives the
 * jump, and one function does everything between setjmp and the end.  Damage is an error: a bad CRC
 * in any chunk, a damaged or short zlib stream, a missing IEND.  What is merely odd (an ancillary
 * chunk in the wrong place, a malformed ICC profile) costs that chunk and nothing else.
 *
 * Colour chunks other than iCCP are ignored: samples are kept as they are stored.
 */
#include "cli/picture_parts.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_CHUNK_MEMORY = 64 << 20, /* of one ancillary chunk, decompressed: ICC profiles */
    SIGNATURE_SIZE = 8,
    CHUNK_OVERHEAD = 12 /* length, type, CRC */
};

/* Chunks that libpng would otherwise parse, and complain about, for nothing; eXIf is found by
   scan_chunks, since libpng 1.6.39 leaks the first of two. */
static const png_byte ignored_chunks[] = "bKGD\0cHRM\0eXIf\0gAMA\0hIST\0iTXt\0oFFs\0pCAL\0pHYs\0"
                                         "sBIT\0sCAL\0sPLT\0sRGB\0tEXt\0tIME\0zTXt";

typedef struct png_reader {
    picture *p;
    png_structp png;
    png_infop info;
    const uint8_t *data;
    size_t size, position;
    bool truncated;
    vqz_status status; /* of a failure that did not come from libpng */
    vqz_diag *diag;
    char message[200];
} png_reader;

static uint32_t read_u32_be(const uint8_t *bytes) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void reader_error(png_structp png, png_const_charp message) {
    png_reader *r = png_get_error_ptr(png);
    snprintf(r->message, sizeof r->message, "%s", message);
    png_longjmp(png, 1);
}

static void ignore_warning(png_structp png, png_const_charp message) {
    (void)png;
    (void)message;
}

static void read_bytes(png_structp png, png_bytep dst, size_t size) {
    png_reader *r = png_get_io_ptr(png);
    if (size > r->size - r->position) {
        r->truncated = true;
        png_error(png, "the data ends too early");
    }
    memcpy(dst, r->data + r->position, size);
    r->position += size;
}

/* Finds the EXIF block and the mark of an animation.  Their CRC is checked when libpng passes by.
 */
static vqz_status scan_chunks(png_reader *r) {
    bool before_image = true;
    for (size_t at = SIGNATURE_SIZE; r->size - at >= CHUNK_OVERHEAD;) {
        size_t length = read_u32_be(r->data + at);
        const uint8_t *type = r->data + at + 4;
        if (length > r->size - at - CHUNK_OVERHEAD || memcmp(type, "IEND", 4) == 0)
            break;
        if (memcmp(type, "IDAT", 4) == 0)
            before_image = false;
        if (memcmp(type, "acTL", 4) == 0 && before_image)
            r->p->animated = true;
        if (memcmp(type, "eXIf", 4) == 0 && r->p->exif == NULL && length <= MAX_CHUNK_MEMORY)
            VQZ_TRY(picture_copy_block(&r->p->exif, &r->p->exif_size, type + 4, length, r->diag));
        at += CHUNK_OVERHEAD + length;
    }
    return VQZ_OK;
}

/* Asks libpng for 8-bit samples without palette; gray stays gray. */
static void set_transforms(png_reader *r, int depth, int color) {
    bool transparent = png_get_valid(r->png, r->info, PNG_INFO_tRNS) != 0;
    r->p->sixteen_bit = depth == 16;
    if (depth == 16)
        png_set_scale_16(r->png);
    if (color == PNG_COLOR_TYPE_PALETTE)
        png_set_palette_to_rgb(r->png);
    else if (depth < 8)
        png_set_expand_gray_1_2_4_to_8(r->png);
    if (transparent)
        png_set_tRNS_to_alpha(r->png);
}

static void keep_profile(png_reader *r) {
    png_charp name;
    png_bytep profile;
    png_uint_32 length;
    int method;
    if (png_get_iCCP(r->png, r->info, &name, &method, &profile, &length) == 0)
        return;
    r->status = picture_copy_block(&r->p->icc, &r->p->icc_size, profile, length, r->diag);
    if (r->status != VQZ_OK)
        png_error(r->png, "out of memory");
}

/* Everything that may jump.  False after a failure. */
static bool read_picture(png_reader *r) {
    if (setjmp(png_jmpbuf(r->png)) != 0)
        return false;
    png_set_read_fn(r->png, r, read_bytes);
    png_set_user_limits(r->png, 65535, 65535);
    png_set_chunk_malloc_max(r->png, MAX_CHUNK_MEMORY);
    png_set_chunk_cache_max(r->png, 64);
    png_set_benign_errors(r->png, 1);
    png_set_crc_action(r->png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_set_keep_unknown_chunks(r->png, PNG_HANDLE_CHUNK_NEVER, ignored_chunks,
                                (int)(sizeof ignored_chunks / 5));

    png_read_info(r->png, r->info);
    set_transforms(r, png_get_bit_depth(r->png, r->info), png_get_color_type(r->png, r->info));
    int passes = png_set_interlace_handling(r->png);
    png_read_update_info(r->png, r->info);
    keep_profile(r);

    vqz_image *image = &r->p->image;
    r->status = picture_allocate(r->p, png_get_image_width(r->png, r->info),
                                 png_get_image_height(r->png, r->info),
                                 png_get_channels(r->png, r->info), r->diag);
    if (r->status != VQZ_OK)
        return false;
    if (png_get_rowbytes(r->png, r->info) != image->stride)
        png_error(r->png, "unexpected row size");
    for (int pass = 0; pass < passes; pass++)
        for (size_t y = 0; y < image->height; y++)
            png_read_row(r->png, image->pixels + y * image->stride, NULL);
    png_read_end(r->png, NULL);
    return true;
}

vqz_status picture_parse_png(picture *p, const uint8_t *data, size_t size, uint64_t max_pixels,
                             vqz_diag *diag) {
    if (size < SIGNATURE_SIZE + 8 + 8)
        return vqzi_fail(diag, VQZ_ERROR_TRUNCATED,
                         "PNG: the data ends too early (truncated file)");
    if (memcmp(data + 12, "IHDR", 4) != 0)
        return vqzi_fail(diag, VQZ_ERROR_CORRUPT,
                         "PNG: the first chunk is not IHDR (damaged file)");
    VQZ_TRY(picture_check_size("PNG", read_u32_be(data + 16), read_u32_be(data + 20), max_pixels,
                               diag));
    png_reader r = {.p = p, .data = data, .size = size, .diag = diag, .status = VQZ_OK};
    VQZ_TRY(scan_chunks(&r));
    r.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &r, reader_error, ignore_warning);
    if (r.png != NULL)
        r.info = png_create_info_struct(r.png);
    if (r.info == NULL) {
        png_destroy_read_struct(&r.png, NULL, NULL);
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "PNG: out of memory");
    }
    bool done = read_picture(&r);
    png_destroy_read_struct(&r.png, &r.info, NULL);
    if (done)
        return VQZ_OK;
    if (r.status != VQZ_OK)
        return r.status;
    if (r.truncated)
        return vqzi_fail(diag, VQZ_ERROR_TRUNCATED,
                         "PNG: the data ends too early (truncated file)");
    return vqzi_fail(diag, VQZ_ERROR_CORRUPT, "PNG: %s (damaged file)", r.message);
}

typedef struct png_writer {
    const picture *p;
    png_structp png;
    png_infop info;
    uint8_t *data;
    size_t size, capacity;
    char message[200];
} png_writer;

static void writer_error(png_structp png, png_const_charp message) {
    png_writer *w = png_get_error_ptr(png);
    snprintf(w->message, sizeof w->message, "%s", message);
    png_longjmp(png, 1);
}

static void write_bytes(png_structp png, png_bytep src, size_t size) {
    png_writer *w = png_get_io_ptr(png);
    if (size > w->capacity - w->size) {
        size_t wanted;
        if (__builtin_add_overflow(w->size, size, &wanted) || wanted > SIZE_MAX / 2)
            png_error(png, "out of memory");
        wanted = VQZI_MAX(2 * wanted, (size_t)65536);
        uint8_t *grown = realloc(w->data, wanted);
        if (grown == NULL)
            png_error(png, "out of memory");
        w->data = grown;
        w->capacity = wanted;
    }
    memcpy(w->data + w->size, src, size);
    w->size += size;
}

static void flush_nothing(png_structp png) {
    (void)png;
}

static bool write_picture(png_writer *w) {
    static const int color_types[5] = {0, PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA,
                                       PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_RGB_ALPHA};
    const vqz_image *image = &w->p->image;
    if (setjmp(png_jmpbuf(w->png)) != 0)
        return false;
    png_set_write_fn(w->png, w, write_bytes, flush_nothing);
    /* A profile that libpng finds malformed is left out: readers would refuse it as well. */
    png_set_benign_errors(w->png, 1);
    png_set_compression_level(w->png, 6);
    png_set_filter(w->png, PNG_FILTER_TYPE_BASE, PNG_ALL_FILTERS);
    png_set_IHDR(w->png, w->info, image->width, image->height, 8, color_types[image->channels],
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (w->p->icc != NULL)
        png_set_iCCP(w->png, w->info, "ICC profile", PNG_COMPRESSION_TYPE_BASE, w->p->icc,
                     (png_uint_32)w->p->icc_size);
    if (w->p->exif != NULL)
        png_set_eXIf_1(w->png, w->info, (png_uint_32)w->p->exif_size, w->p->exif);
    png_write_info(w->png, w->info);
    for (size_t y = 0; y < image->height; y++)
        png_write_row(w->png, image->pixels + y * image->stride);
    png_write_end(w->png, w->info);
    return true;
}

vqz_status picture_serialise_png(const picture *p, void **data, size_t *size, vqz_diag *diag) {
    if (p->icc_size > INT32_MAX || p->exif_size > INT32_MAX)
        return vqzi_fail(diag, VQZ_ERROR_UNSUPPORTED,
                         "PNG: metadata above 2 GiB cannot be stored; strip it");
    png_writer w = {.p = p};
    w.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &w, writer_error, ignore_warning);
    if (w.png != NULL)
        w.info = png_create_info_struct(w.png);
    if (w.info == NULL) {
        png_destroy_write_struct(&w.png, NULL);
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "PNG: out of memory");
    }
    bool done = write_picture(&w);
    png_destroy_write_struct(&w.png, &w.info);
    if (!done) {
        free(w.data);
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "PNG: writing failed: %s", w.message);
    }
    *data = w.data;
    *size = w.size;
    return VQZ_OK;
}
