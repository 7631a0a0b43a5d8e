/*
 * picture.c - recognises a picture file, hands it to the reader of its kind, and makes it upright;
 * hands pictures to the writer of their kind.
 *
 * A picture whose rows cannot be had in the order in which they are wanted (interlaced, or turned
 * by more than a mirror) is read whole, as stored; the wanted rows are then picked from that.
 *
 * The EXIF block is TIFF: byte order, 42, offset of the first directory, a list of 12-byte entries.
 * Only the orientation of that directory matters here; it is applied to the pixels and set to 1 in
 * place, so that a viewer does not turn the picture twice.  A block that is not TIFF is dropped.
 */
#include "cli/picture.h"
#include "cli/picture_parts.h"

#include <stdlib.h>
#include <string.h>

enum { MIRROR_X = 1, MIRROR_Y = 2, TRANSPOSE = 4 }; /* how the stored picture is turned */

struct picture_reader {
    const picture_kind *kind;
    void *state;
    uint32_t passes;
    picture facts;          /* of the upright picture; no pixels */
    uint32_t width, height; /* as stored */
    int turn;
    uint64_t max_memory;    /* of the limits */
    uint8_t *whole; /* as stored, dense; NULL when rows pass straight through */
    uint32_t done;  /* rows handed out */
};

struct picture_writer {
    const picture_target *target;
    void *state;
    vqz_image image; /* its size; no pixels */
    uint32_t done;
};

vqz_status picture_check_size(const char *kind, uint64_t width, uint64_t height,
                              const vqz_limits *limits, vqz_diag *diag) {
    if (width == 0 || height == 0)
        return vqzi_fail(diag, VQZ_ERROR_CORRUPT, "%s: the picture is empty (%llu x %llu pixels)",
                         kind, (unsigned long long)width, (unsigned long long)height);
    if (width > 65535 || height > 65535)
        return vqzi_fail(diag, VQZ_ERROR_LIMIT,
                         "%s: %llu x %llu pixels; at most 65535 to a side are supported", kind,
                         (unsigned long long)width, (unsigned long long)height);
    if (width * height > limits->max_pixels)
        return vqzi_fail(diag, VQZ_ERROR_LIMIT,
                         "%s: %llu x %llu pixels are over the limit of %llu; raise it with "
                         "--max-pixels %llu",
                         kind, (unsigned long long)width, (unsigned long long)height,
                         (unsigned long long)limits->max_pixels,
                         (unsigned long long)(width * height));
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

/* How to turn the stored picture: mirror its columns, mirror its rows, then exchange the two. */
static int turn_of(int orientation) {
    static const uint8_t turns[9] = {0,
                                     0,
                                     MIRROR_X,
                                     MIRROR_X | MIRROR_Y,
                                     MIRROR_Y,
                                     TRANSPOSE,
                                     TRANSPOSE | MIRROR_Y,
                                     TRANSPOSE | MIRROR_X | MIRROR_Y,
                                     TRANSPOSE | MIRROR_X};
    return turns[orientation];
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

static vqz_status find_kind(const picture_kind **kind, const uint8_t *data, size_t size,
                            vqz_diag *diag) {
    if (size >= 8 && memcmp(data, "\x89PNG\r\n\x1a\n", 8) == 0)
        *kind = &picture_kind_png;
    else if (size >= 3 && memcmp(data, "\xff\xd8\xff", 3) == 0)
        *kind = &picture_kind_jpeg;
    else if (size >= 2 && data[0] == 'P' && data[1] >= '1' && data[1] <= '7')
        *kind = &picture_kind_pnm;
    if (*kind != NULL)
        return VQZ_OK;
    if (size == 0)
        return vqzi_fail(diag, VQZ_ERROR_FORMAT, "the file is empty");
    if (size >= 4 && memcmp(data + 1, "PNG", 3) == 0)
        return vqzi_fail(diag, VQZ_ERROR_CORRUPT,
                         "PNG: the signature is damaged (cut, or sent as text?)");
    const char *foreign = foreign_kind(data, size);
    if (foreign != NULL)
        return vqzi_fail(diag, VQZ_ERROR_FORMAT, "%s; convert it to PNG, JPEG or PNM first",
                         foreign);
    return vqzi_fail(diag, VQZ_ERROR_FORMAT, "not a PNG, JPEG or PNM picture");
}

static void drop_exif(picture *p) {
    free(p->exif);
    p->exif = NULL;
    p->exif_size = 0;
}

static vqz_status open_kind(picture_reader *r, source *s, const vqz_limits *limits,
                            vqz_diag *diag) {
    const uint8_t *start;
    size_t size;
    picture *facts = &r->facts;
    VQZ_TRY(source_at(s, 0, &start, &size, diag));
    VQZ_TRY(find_kind(&r->kind, start, size, diag));
    VQZ_TRY(r->kind->open(&r->state, facts, &r->passes, s, limits, diag));
    r->width = facts->image.width;
    r->height = facts->image.height;
    if (facts->exif != NULL && is_tiff(facts->exif, facts->exif_size))
        r->turn = turn_of(take_orientation(facts->exif, facts->exif_size));
    else
        drop_exif(facts);
    if (r->turn & TRANSPOSE) {
        facts->image.width = r->height;
        facts->image.height = r->width;
    }
    drop_foreign_profile(facts);
    return VQZ_OK;
}

vqz_status picture_reader_open(picture_reader **reader, source *s, const vqz_limits *limits,
                               vqz_diag *diag) {
    picture_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory");
    r->passes = 1;
    r->max_memory = limits->max_memory;
    vqz_status status = open_kind(r, s, limits, diag);
    if (status == VQZ_OK)
        *reader = r;
    else
        picture_reader_close(r);
    return status;
}

void picture_reader_close(picture_reader *r) {
    if (r == NULL)
        return;
    if (r->state != NULL)
        r->kind->close(r->state);
    picture_clear(&r->facts);
    free(r->whole);
    free(r);
}

const picture *picture_reader_facts(const picture_reader *r) {
    return &r->facts;
}

static vqz_status read_whole(picture_reader *r, vqz_diag *diag) {
    size_t stride = (size_t)r->width * r->facts.image.channels, size;
    if (vqzi_mul_sizes(stride, r->height) > r->max_memory)
        return vqzi_fail(diag, VQZ_ERROR_LIMIT,
                         "an interlaced or turned picture of %u x %u pixels takes more memory than "
                         "the limit of %llu; raise --max-memory",
                         r->width, r->height, (unsigned long long)r->max_memory);
    /* zeroed: what a damaged interlaced file leaves out must not be what memory held before */
    r->whole = vqzi_mul(stride, r->height, &size) ? calloc(size, 1) : NULL;
    if (r->whole == NULL)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for a picture of %u x %u pixels",
                         r->width, r->height);
    for (uint32_t pass = 0; pass < r->passes; pass++)
        VQZ_TRY(r->kind->rows(r->state, r->whole, stride, r->height, diag));
    return r->kind->finish(r->state, diag);
}

/* A row of the upright picture from the whole one as stored. */
static void pick_row(const picture_reader *r, uint8_t *dst, uint32_t y) {
    size_t channels = r->facts.image.channels;
    ptrdiff_t column = (ptrdiff_t)channels, row = (ptrdiff_t)(r->width * channels);
    const uint8_t *from = r->whole;
    if (r->turn & MIRROR_X) {
        from += column * (ptrdiff_t)(r->width - 1);
        column = -column;
    }
    if (r->turn & MIRROR_Y) {
        from += row * (ptrdiff_t)(r->height - 1);
        row = -row;
    }
    ptrdiff_t step = r->turn & TRANSPOSE ? row : column;
    from += (r->turn & TRANSPOSE ? column : row) * (ptrdiff_t)y;
    for (uint32_t x = 0; x < r->facts.image.width; x++, from += step, dst += channels)
        memcpy(dst, from, channels);
}

static void mirror_row(uint8_t *row, uint32_t width, size_t channels) {
    uint8_t *left = row, *right = row + (width - 1) * channels, kept[4];
    for (; left < right; left += channels, right -= channels) {
        memcpy(kept, left, channels);
        memcpy(left, right, channels);
        memcpy(right, kept, channels);
    }
}

vqz_status picture_reader_rows(picture_reader *r, uint8_t *rows, size_t stride, uint32_t count,
                               vqz_diag *diag) {
    const vqz_image *image = &r->facts.image;
    if (count > image->height - r->done)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "%u rows after %u of %u", count, r->done,
                         image->height);
    if (r->passes > 1 || (r->turn & (MIRROR_Y | TRANSPOSE)) != 0) {
        if (r->whole == NULL)
            VQZ_TRY(read_whole(r, diag));
        for (; count > 0; count--, rows += stride)
            pick_row(r, rows, r->done++);
        return VQZ_OK;
    }
    VQZ_TRY(r->kind->rows(r->state, rows, stride, count, diag));
    if (r->turn & MIRROR_X)
        for (uint32_t y = 0; y < count; y++)
            mirror_row(rows + y * stride, image->width, image->channels);
    r->done += count;
    return r->done < image->height || count == 0 ? VQZ_OK : r->kind->finish(r->state, diag);
}

vqz_status picture_read(picture *p, source *s, const vqz_limits *limits, vqz_diag *diag) {
    picture_reader *r;
    size_t size;
    VQZ_TRY(picture_reader_open(&r, s, limits, diag));
    vqz_image *image = &r->facts.image;
    image->stride = (size_t)image->width * image->channels;
    image->pixels = vqzi_mul(image->stride, image->height, &size) ? malloc(size) : NULL;
    vqz_status status;
    if (image->pixels == NULL)
        status = vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for a picture of %u x %u pixels",
                           image->width, image->height);
    else
        status = picture_reader_rows(r, image->pixels, image->stride, image->height, diag);
    if (status == VQZ_OK) {
        *p = r->facts;
        r->facts = (picture){0};
    }
    picture_reader_close(r);
    return status;
}

vqz_status picture_read_pixels(const char *path, vqz_image *image, vqz_diag *diag) {
    vqz_limits limits;
    source *s;
    picture p;
    vqz_limits_init(&limits);
    VQZ_TRY(source_open(&s, path, (size_t)1 << 31, diag));
    vqz_status status = picture_read(&p, s, &limits, diag);
    source_close(s);
    if (status != VQZ_OK)
        return status;
    *image = p.image;
    p.image.pixels = NULL;
    picture_clear(&p);
    return VQZ_OK;
}

void picture_clear(picture *p) {
    free(p->image.pixels);
    free(p->icc);
    free(p->exif);
    *p = (picture){0};
}

/* ---- writing ---- */

vqz_status picture_writer_open(picture_writer **writer, const picture *p, picture_format format,
                               file_output *output, vqz_diag *diag) {
    const vqz_image *image = &p->image;
    if (image->width < 1 || image->width > 65535 || image->height < 1 || image->height > 65535 ||
        image->channels < 1 || image->channels > 4 ||
        (format != PICTURE_PNG && format != PICTURE_PNM))
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "the picture to write is malformed");
    picture_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory");
    w->target = format == PICTURE_PNG ? &picture_target_png : &picture_target_pnm;
    w->image = *image;
    vqz_status status = w->target->open(&w->state, p, output, diag);
    if (status == VQZ_OK)
        *writer = w;
    else
        picture_writer_close(w);
    return status;
}

vqz_status picture_writer_rows(picture_writer *w, const uint8_t *rows, size_t stride,
                               uint32_t count, vqz_diag *diag) {
    if (count > w->image.height - w->done)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "%u rows after %u of %u", count, w->done,
                         w->image.height);
    w->done += count;
    return w->target->rows(w->state, rows, stride, count, diag);
}

vqz_status picture_writer_finish(picture_writer *w, vqz_diag *diag) {
    if (w->done < w->image.height)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "the picture ends after %u of %u rows", w->done,
                         w->image.height);
    return w->target->finish(w->state, diag);
}

void picture_writer_close(picture_writer *w) {
    if (w == NULL)
        return;
    if (w->state != NULL)
        w->target->close(w->state);
    free(w);
}
