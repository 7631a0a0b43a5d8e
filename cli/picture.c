/*
 * picture.c - recognises a picture file, hands it to the reader of its kind, and makes it upright.
 *
 * The EXIF block is TIFF: byte order, 42, offset of the first directory, a list of 12-byte entries.
 * Only the orientation of that directory matters here; it is applied to the pixels and set to 1 in
 * place, so that a viewer does not turn the picture twice.  A block that is not TIFF is dropped.
 */
#include "cli/picture.h"
#include "cli/file.h"
#include "cli/picture_parts.h"

#include <stdlib.h>
#include <string.h>

#define MAX_FILE_SIZE ((size_t)1 << 31)

vqz_status picture_check_size(const char *kind, uint64_t width, uint64_t height,
                              uint64_t max_pixels, vqz_diag *diag) {
    if (width == 0 || height == 0)
        return vqzi_fail(diag, VQZ_ERROR_CORRUPT, "%s: the picture is empty (%llu x %llu pixels)",
                         kind, (unsigned long long)width, (unsigned long long)height);
    if (width > 65535 || height > 65535)
        return vqzi_fail(diag, VQZ_ERROR_LIMIT,
                         "%s: %llu x %llu pixels; at most 65535 to a side are supported", kind,
                         (unsigned long long)width, (unsigned long long)height);
    if (width * height > max_pixels)
        return vqzi_fail(diag, VQZ_ERROR_LIMIT,
                         "%s: %llu x %llu pixels are over the limit of %llu; raise it with "
                         "--max-pixels %llu",
                         kind, (unsigned long long)width, (unsigned long long)height,
                         (unsigned long long)max_pixels, (unsigned long long)(width * height));
    return VQZ_OK;
}

vqz_status picture_allocate(picture *p, uint32_t width, uint32_t height, uint32_t channels,
                            vqz_diag *diag) {
    size_t stride, total;
    if (!vqzi_mul(width, channels, &stride) || !vqzi_mul(stride, height, &total))
        return vqzi_fail(diag, VQZ_ERROR_LIMIT, "a picture of %u x %u pixels is too large", width,
                         height);
    uint8_t *pixels = calloc(total, 1);
    if (pixels == NULL)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for a picture of %u x %u pixels",
                         width, height);
    p->image = (vqz_image){
        .width = width, .height = height, .channels = channels, .stride = stride, .pixels = pixels};
    return VQZ_OK;
}

vqz_status picture_copy_block(uint8_t **copy, size_t *copy_size, const void *data, size_t size,
                              vqz_diag *diag) {
    *copy = NULL;
    *copy_size = 0;
    if (size == 0)
        return VQZ_OK;
    *copy = malloc(size);
    if (*copy == NULL)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for %zu bytes of metadata", size);
    memcpy(*copy, data, size);
    *copy_size = size;
    return VQZ_OK;
}

/* ---- EXIF ---- */

static uint32_t tiff_get(const uint8_t *bytes, int count, bool little_endian) {
    uint32_t value = 0;
    for (int i = 0; i < count; i++)
        value = value << 8 | bytes[little_endian ? count - 1 - i : i];
    return value;
}

static bool is_tiff(const uint8_t *exif, size_t size) {
    return size >= 8 && (memcmp(exif, "II*\0", 4) == 0 || memcmp(exif, "MM\0*", 4) == 0);
}

/* Returns the orientation, 1 to 8, and resets it to 1; 1 when there is none. */
static int take_orientation(uint8_t *exif, size_t size) {
    enum { TAG_ORIENTATION = 0x0112, TYPE_SHORT = 3, ENTRY_SIZE = 12 };
    bool little_endian = exif[0] == 'I';
    size_t at = tiff_get(exif + 4, 4, little_endian);
    if (at > size - 2)
        return 1;
    uint32_t entries = tiff_get(exif + at, 2, little_endian);
    at += 2;
    for (; entries > 0 && size - at >= ENTRY_SIZE; entries--, at += ENTRY_SIZE) {
        if (tiff_get(exif + at, 2, little_endian) != TAG_ORIENTATION ||
            tiff_get(exif + at + 2, 2, little_endian) != TYPE_SHORT ||
            tiff_get(exif + at + 4, 4, little_endian) == 0)
            continue;
        uint32_t orientation = tiff_get(exif + at + 8, 2, little_endian);
        exif[at + 8] = little_endian ? 1 : 0;
        exif[at + 9] = little_endian ? 0 : 1;
        return orientation >= 1 && orientation <= 8 ? (int)orientation : 1;
    }
    return 1;
}

/* Turns the picture as EXIF orientation says: bit 0 of the table mirrors the stored columns, bit 1
   the stored rows, bit 2 exchanges rows and columns. */
static vqz_status make_upright(picture *p, int orientation, vqz_diag *diag) {
    enum { MIRROR_X = 1, MIRROR_Y = 2, TRANSPOSE = 4 };
    static const uint8_t turns[9] = {0,
                                     0,
                                     MIRROR_X,
                                     MIRROR_X | MIRROR_Y,
                                     MIRROR_Y,
                                     TRANSPOSE,
                                     TRANSPOSE | MIRROR_Y,
                                     TRANSPOSE | MIRROR_X | MIRROR_Y,
                                     TRANSPOSE | MIRROR_X};
    int turn = turns[orientation];
    if (turn == 0)
        return VQZ_OK;
    const vqz_image src = p->image;
    picture turned = {0};
    VQZ_TRY(picture_allocate(&turned, turn & TRANSPOSE ? src.height : src.width,
                             turn & TRANSPOSE ? src.width : src.height, src.channels, diag));
    ptrdiff_t column = (ptrdiff_t)src.channels, row = (ptrdiff_t)src.stride;
    const uint8_t *origin = src.pixels;
    if (turn & MIRROR_X) {
        origin += column * (ptrdiff_t)(src.width - 1);
        column = -column;
    }
    if (turn & MIRROR_Y) {
        origin += row * (ptrdiff_t)(src.height - 1);
        row = -row;
    }
    ptrdiff_t step_x = turn & TRANSPOSE ? row : column, step_y = turn & TRANSPOSE ? column : row;
    uint8_t *dst = turned.image.pixels;
    for (ptrdiff_t y = 0; y < (ptrdiff_t)turned.image.height; y++)
        for (ptrdiff_t x = 0; x < (ptrdiff_t)turned.image.width; x++, dst += src.channels)
            memcpy(dst, origin + y * step_y + x * step_x, src.channels);
    free(src.pixels);
    p->image = turned.image;
    return VQZ_OK;
}

/* A profile for another colour space than the pixels have (that of a CMYK JPEG) says nothing about
   them any more. */
static void drop_foreign_profile(picture *p) {
    const char *space = p->image.channels <= 2 ? "GRAY" : "RGB ";
    if (p->icc == NULL || (p->icc_size >= 128 && memcmp(p->icc + 16, space, 4) == 0))
        return;
    free(p->icc);
    p->icc = NULL;
    p->icc_size = 0;
}

/* ---- reading ---- */

/* Names a kind that people may well try, so that the message can say what to do. */
static const char *foreign_kind(const uint8_t *data, size_t size) {
    static const struct {
        size_t offset, length;
        const char *bytes, *name;
    } kinds[] = {{0, 4, "GIF8", "a GIF picture"},         {8, 4, "WEBP", "a WebP picture"},
                 {4, 8, "ftypavif", "an AVIF picture"},   {4, 8, "ftypheic", "a HEIC picture"},
                 {4, 8, "ftypmif1", "a HEIF picture"},    {4, 4, "JXL ", "a JPEG XL picture"},
                 {0, 2, "\xff\x0a", "a JPEG XL picture"}, {4, 4, "jP  ", "a JPEG 2000 picture"},
                 {0, 4, "II*\0", "a TIFF picture"},       {0, 4, "MM\0*", "a TIFF picture"},
                 {0, 4, "qoif", "a QOI picture"},         {0, 2, "BM", "a BMP picture"},
                 {0, 2, "PF", "a PFM picture"},           {0, 2, "Pf", "a PFM picture"}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (size >= kinds[i].offset + kinds[i].length &&
            memcmp(data + kinds[i].offset, kinds[i].bytes, kinds[i].length) == 0)
            return kinds[i].name;
    return NULL;
}

static vqz_status parse_kind(picture *p, const uint8_t *data, size_t size, uint64_t max_pixels,
                             vqz_diag *diag) {
    if (size >= 8 && memcmp(data, "\x89PNG\r\n\x1a\n", 8) == 0)
        return picture_parse_png(p, data, size, max_pixels, diag);
    if (size >= 3 && memcmp(data, "\xff\xd8\xff", 3) == 0)
        return picture_parse_jpeg(p, data, size, max_pixels, diag);
    if (size >= 2 && data[0] == 'P' && data[1] >= '1' && data[1] <= '7')
        return picture_parse_pnm(p, data, size, max_pixels, diag);
    if (size == 0)
        return vqzi_fail(diag, VQZ_ERROR_FORMAT, "the file is empty");
    if (size >= 4 && memcmp(data + 1, "PNG", 3) == 0)
        return vqzi_fail(diag, VQZ_ERROR_CORRUPT,
                         "PNG: the signature is damaged (cut, or sent as text?)");
    const char *kind = foreign_kind(data, size);
    if (kind != NULL)
        return vqzi_fail(diag, VQZ_ERROR_FORMAT, "%s; convert it to PNG, JPEG or PNM first", kind);
    return vqzi_fail(diag, VQZ_ERROR_FORMAT, "not a PNG, JPEG or PNM picture");
}

vqz_status picture_parse(picture *p, const void *data, size_t size, uint64_t max_pixels,
                         vqz_diag *diag) {
    picture parsed = {0};
    int orientation = 1;
    vqz_status status = parse_kind(&parsed, data, size, max_pixels, diag);
    if (status != VQZ_OK)
        goto fail;
    if (parsed.exif != NULL && is_tiff(parsed.exif, parsed.exif_size)) {
        orientation = take_orientation(parsed.exif, parsed.exif_size);
    } else {
        free(parsed.exif);
        parsed.exif = NULL;
        parsed.exif_size = 0;
    }
    status = make_upright(&parsed, orientation, diag);
    if (status != VQZ_OK)
        goto fail;
    drop_foreign_profile(&parsed);
    *p = parsed;
    return VQZ_OK;
fail:
    picture_clear(&parsed);
    return status;
}

vqz_status picture_read(picture *p, const char *path, uint64_t max_pixels, vqz_diag *diag) {
    void *data;
    size_t size;
    VQZ_TRY(file_read(path, MAX_FILE_SIZE, &data, &size, diag));
    vqz_status status = picture_parse(p, data, size, max_pixels, diag);
    free(data);
    return status;
}

vqz_status picture_read_pixels(const char *path, vqz_image *image, vqz_diag *diag) {
    vqz_limits limits;
    vqz_limits_init(&limits);
    picture p;
    VQZ_TRY(picture_read(&p, path, limits.max_pixels, diag));
    *image = p.image;
    p.image.pixels = NULL;
    picture_clear(&p);
    return VQZ_OK;
}

/* ---- writing ---- */

vqz_status picture_serialise(const picture *p, picture_format format, void **data, size_t *size,
                             vqz_diag *diag) {
    const vqz_image *image = &p->image;
    if (image->width < 1 || image->width > 65535 || image->height < 1 || image->height > 65535 ||
        image->channels < 1 || image->channels > 4 || image->pixels == NULL ||
        image->stride / image->channels < image->width)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "the picture to write is malformed");
    if (format == PICTURE_PNG)
        return picture_serialise_png(p, data, size, diag);
    if (format == PICTURE_PNM)
        return picture_serialise_pnm(p, data, size, diag);
    return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "unknown picture format %d", (int)format);
}

void picture_clear(picture *p) {
    free(p->image.pixels);
    free(p->icc);
    free(p->exif);
    *p = (picture){0};
}
