/*
 * picture_pnm.c - PBM, PGM, PPM (P1 to P6) and PAM (P7) in; PGM, PPM and PAM out.
 *
 * The size is compared with the bytes that are left before anything is allocated.  A file may hold
 * several pictures; the first is read, as everywhere else.  Samples up to 65535 are scaled to 8
 * bits with rounding.
 */
#include "cli/picture_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct pnm_reader {
    const uint8_t *data;
    size_t size, position;
} pnm_reader;

typedef struct pnm_header {
    uint32_t width, height, depth, maximum;
    bool text, bitmap; /* decimal samples; one bit a sample, 1 is black */
} pnm_header;

static vqz_status truncated(vqz_diag *diag) {
    return vqzi_fail(diag, VQZ_ERROR_TRUNCATED, "PNM: the data ends too early (truncated file)");
}

static bool is_space(int c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* White space and comments, which run from # to the end of the line. */
static void skip_space(pnm_reader *r) {
    while (r->position < r->size) {
        if (r->data[r->position] == '#') {
            while (r->position < r->size && r->data[r->position] != '\n' &&
                   r->data[r->position] != '\r')
                r->position++;
        } else if (is_space(r->data[r->position])) {
            r->position++;
        } else {
            return;
        }
    }
}

static vqz_status read_number(pnm_reader *r, const char *what, uint32_t *value, vqz_diag *diag) {
    skip_space(r);
    if (r->position == r->size)
        return truncated(diag);
    uint64_t number = 0;
    size_t start = r->position;
    for (; r->position < r->size; r->position++) {
        unsigned digit = (unsigned)r->data[r->position] - '0';
        if (digit > 9)
            break;
        number = number * 10 + digit;
        if (number > UINT32_MAX)
            return vqzi_fail(diag, VQZ_ERROR_CORRUPT, "PNM: the %s is too large", what);
    }
    if (r->position == start)
        return vqzi_fail(diag, VQZ_ERROR_CORRUPT, "PNM: the %s is not a number (damaged file)",
                         what);
    *value = (uint32_t)number;
    return VQZ_OK;
}

static vqz_status read_header(pnm_reader *r, pnm_header *h, vqz_diag *diag) {
    int kind = r->data[1];
    *h = (pnm_header){.depth = kind == '3' || kind == '6' ? 3 : 1,
                      .maximum = 1,
                      .text = kind <= '3',
                      .bitmap = kind == '1' || kind == '4'};
    r->position = 2;
    if (r->size > 2 && !is_space(r->data[2]) && r->data[2] != '#')
        return vqzi_fail(diag, VQZ_ERROR_FORMAT, "not a PNG, JPEG or PNM picture");
    VQZ_TRY(read_number(r, "width", &h->width, diag));
    VQZ_TRY(read_number(r, "height", &h->height, diag));
    if (!h->bitmap)
        VQZ_TRY(read_number(r, "largest sample value", &h->maximum, diag));
    if (r->position == r->size)
        return truncated(diag);
    if (!is_space(r->data[r->position]))
        return vqzi_fail(diag, VQZ_ERROR_CORRUPT, "PNM: no space after the header (damaged file)");
    r->position++;
    return VQZ_OK;
}

/* One header line of a PAM file without its end; false at the end of the data. */
static bool next_line(pnm_reader *r, const char **line, size_t *length) {
    const uint8_t *start = r->data + r->position;
    const uint8_t *end = memchr(start, '\n', r->size - r->position);
    if (end == NULL)
        return false;
    *line = (const char *)start;
    *length = (size_t)(end - start);
    r->position += *length + 1;
    return true;
}

static vqz_status read_pam_header(pnm_reader *r, pnm_header *h, vqz_diag *diag) {
    *h = (pnm_header){0};
    const struct {
        const char *name;
        uint32_t *value;
    } fields[] = {{"WIDTH", &h->width},
                  {"HEIGHT", &h->height},
                  {"DEPTH", &h->depth},
                  {"MAXVAL", &h->maximum}};
    const char *line;
    size_t length;
    r->position = 2;
    if (r->size > 2 && !is_space(r->data[2]))
        return vqzi_fail(diag, VQZ_ERROR_FORMAT, "not a PNG, JPEG or PNM picture");
    for (;;) {
        if (!next_line(r, &line, &length))
            return truncated(diag);
        while (length > 0 && is_space(line[length - 1]))
            length--;
        while (length > 0 && is_space(line[0]))
            line++, length--;
        if (length == 6 && memcmp(line, "ENDHDR", 6) == 0)
            break;
        for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
            size_t n = strlen(fields[i].name);
            if (length <= n || memcmp(line, fields[i].name, n) != 0 || !is_space(line[n]))
                continue;
            pnm_reader number = {.data = (const uint8_t *)line, .size = length, .position = n};
            VQZ_TRY(read_number(&number, fields[i].name, fields[i].value, diag));
        }
    }
    if (h->depth < 1 || h->depth > 4)
        return vqzi_fail(diag, h->depth == 0 ? VQZ_ERROR_CORRUPT : VQZ_ERROR_UNSUPPORTED,
                         "PAM: %u channels; 1 to 4 are supported", h->depth);
    return VQZ_OK;
}

static uint8_t to_8_bits(uint32_t sample, uint32_t maximum) {
    return (uint8_t)((sample * 255 + maximum / 2) / maximum);
}

static vqz_status above_maximum(vqz_diag *diag) {
    return vqzi_fail(diag, VQZ_ERROR_CORRUPT,
                     "PNM: a sample is above the largest value of the header (damaged file)");
}

static vqz_status read_text_row(pnm_reader *r, const pnm_header *h, uint8_t *row, size_t count,
                                vqz_diag *diag) {
    for (size_t i = 0; i < count; i++) {
        uint32_t sample;
        if (h->bitmap) { /* digits need no space between them */
            skip_space(r);
            if (r->position == r->size)
                return truncated(diag);
            sample = (uint32_t)'1' - r->data[r->position++];
        } else {
            VQZ_TRY(read_number(r, "sample", &sample, diag));
        }
        if (sample > h->maximum)
            return above_maximum(diag);
        row[i] = to_8_bits(sample, h->maximum);
    }
    return VQZ_OK;
}

/* src holds a whole row, checked by the caller. */
static vqz_status read_binary_row(const uint8_t *src, const pnm_header *h, uint8_t *row,
                                  size_t count, vqz_diag *diag) {
    if (h->bitmap) {
        for (size_t i = 0; i < count; i++)
            row[i] = src[i / 8] >> (7 - i % 8) & 1 ? 0 : 255;
        return VQZ_OK;
    }
    uint32_t largest = 0;
    if (h->maximum > 255) {
        for (size_t i = 0; i < count; i++) {
            uint32_t sample = (uint32_t)src[2 * i] << 8 | src[2 * i + 1];
            largest = VQZI_MAX(largest, sample);
            row[i] = to_8_bits(sample, h->maximum);
        }
    } else if (h->maximum == 255) {
        memcpy(row, src, count);
    } else {
        for (size_t i = 0; i < count; i++) {
            largest = VQZI_MAX(largest, src[i]);
            row[i] = to_8_bits(src[i], h->maximum);
        }
    }
    return largest > h->maximum ? above_maximum(diag) : VQZ_OK;
}

vqz_status picture_parse_pnm(picture *p, const uint8_t *data, size_t size, uint64_t max_pixels,
                             vqz_diag *diag) {
    pnm_reader r = {.data = data, .size = size};
    pnm_header h;
    VQZ_TRY(data[1] == '7' ? read_pam_header(&r, &h, diag) : read_header(&r, &h, diag));
    VQZ_TRY(picture_check_size("PNM", h.width, h.height, max_pixels, diag));
    if (h.maximum < 1 || h.maximum > 65535)
        return vqzi_fail(diag, VQZ_ERROR_CORRUPT,
                         "PNM: the largest sample value is %u; 1 to 65535 are possible", h.maximum);

    /* Sides are below 2^16 and depth is at most 4, so nothing here overflows 64 bits. */
    size_t samples = (size_t)h.width * h.depth; /* in a row */
    uint64_t row_bytes = h.bitmap ? (samples + 7) / 8 : samples * (h.maximum > 255 ? 2 : 1);
    if (h.text) /* a digit, and for all but bitmaps something between two numbers */
        row_bytes = h.bitmap ? samples : 2 * samples - 1;
    if (row_bytes * h.height > size - r.position)
        return truncated(diag);
    VQZ_TRY(picture_allocate(p, h.width, h.height, h.depth, diag));
    p->sixteen_bit = h.maximum > 255;
    for (size_t y = 0; y < h.height; y++) {
        uint8_t *row = p->image.pixels + y * p->image.stride;
        if (h.text)
            VQZ_TRY(read_text_row(&r, &h, row, samples, diag));
        else
            VQZ_TRY(read_binary_row(data + r.position + y * row_bytes, &h, row, samples, diag));
    }
    return VQZ_OK;
}

vqz_status picture_serialise_pnm(const picture *p, void **data, size_t *size, vqz_diag *diag) {
    const vqz_image *image = &p->image;
    char header[160];
    int length;
    if (image->channels == 1 || image->channels == 3)
        length = snprintf(header, sizeof header, "P%c\n%u %u\n255\n",
                          image->channels == 1 ? '5' : '6', image->width, image->height);
    else
        length = snprintf(header, sizeof header,
                          "P7\nWIDTH %u\nHEIGHT %u\nDEPTH %u\nMAXVAL 255\nTUPLTYPE %s\nENDHDR\n",
                          image->width, image->height, image->channels,
                          image->channels == 2 ? "GRAYSCALE_ALPHA" : "RGB_ALPHA");
    size_t row = (size_t)image->width * image->channels, total;
    if (!vqzi_mul(row, image->height, &total) ||
        __builtin_add_overflow(total, (size_t)length, &total))
        return vqzi_fail(diag, VQZ_ERROR_LIMIT, "PNM: the picture is too large");
    uint8_t *out = malloc(total);
    if (out == NULL)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "PNM: out of memory");
    memcpy(out, header, (size_t)length);
    for (size_t y = 0; y < image->height; y++)
        memcpy(out + (size_t)length + y * row, image->pixels + y * image->stride, row);
    *data = out;
    *size = total;
    return VQZ_OK;
}
