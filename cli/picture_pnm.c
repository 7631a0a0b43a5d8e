/*
 * picture_pnm.c - PBM, PGM, PPM (P1 to P6) and PAM (P7) in; PGM, PPM and PAM out.
 *
 * The size is compared with the bytes that are left before any row is read.  A file may hold
 * several pictures; the first is read, as everywhere else.  Samples up to 65535 are scaled to 8
 * bits with rounding.
 */
#include "cli/picture_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct pnm_reader {
    source *s;
    uint64_t position; /* of window[0] */
    const uint8_t *window;
    size_t available;
    uint32_t width, height, depth, maximum;
    bool text, bitmap; /* decimal samples; one bit a sample, 1 is black */
    size_t samples;    /* in a row */
    size_t row_bytes;  /* the least that a row takes in the file */
    uint8_t *packed;   /* a row as stored, when that is not how it is wanted */
} pnm_reader;

static vqz_status truncated(vqz_diag *diag) {
    return vqzi_fail(diag, VQZ_ERROR_TRUNCATED, "PNM: the data ends too early (truncated file)");
}

static bool is_space(int c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* ---- the header, and samples as text: a byte at a time ---- */

enum { END = -1 };

/* The next byte, which stays, or END. */
static vqz_status peek(pnm_reader *r, int *c, vqz_diag *diag) {
    if (r->available == 0)
        VQZ_TRY(source_at(r->s, r->position, &r->window, &r->available, diag));
    *c = r->available == 0 ? END : r->window[0];
    return VQZ_OK;
}

static void skip(pnm_reader *r) {
    r->window++;
    r->available--;
    r->position++;
}

static vqz_status skip_line(pnm_reader *r, vqz_diag *diag) {
    for (int c;; skip(r)) {
        VQZ_TRY(peek(r, &c, diag));
        if (c == END || c == '\n' || c == '\r')
            return VQZ_OK;
    }
}

/* White space and comments, which run from # to the end of the line; *c is what comes then. */
static vqz_status skip_space(pnm_reader *r, int *c, vqz_diag *diag) {
    for (;;) {
        VQZ_TRY(peek(r, c, diag));
        if (*c == '#')
            VQZ_TRY(skip_line(r, diag));
        else if (is_space(*c))
            skip(r);
        else
            return VQZ_OK;
    }
}

static vqz_status read_number(pnm_reader *r, const char *what, uint32_t *value, vqz_diag *diag) {
    int c;
    uint64_t number = 0;
    VQZ_TRY(skip_space(r, &c, diag));
    if (c == END)
        return truncated(diag);
    if (c < '0' || c > '9')
        return vqzi_fail(diag, VQZ_ERROR_CORRUPT, "PNM: the %s is not a number (damaged file)",
                         what);
    while (c >= '0' && c <= '9') {
        number = number * 10 + (unsigned)(c - '0');
        if (number > UINT32_MAX)
            return vqzi_fail(diag, VQZ_ERROR_CORRUPT, "PNM: the %s is too large", what);
        skip(r);
        VQZ_TRY(peek(r, &c, diag));
    }
    *value = (uint32_t)number;
    return VQZ_OK;
}

static vqz_status read_header(pnm_reader *r, int kind, vqz_diag *diag) {
    int c;
    r->depth = kind == '3' || kind == '6' ? 3 : 1;
    r->maximum = 1;
    r->text = kind <= '3';
    r->bitmap = kind == '1' || kind == '4';
    VQZ_TRY(read_number(r, "width", &r->width, diag));
    VQZ_TRY(read_number(r, "height", &r->height, diag));
    if (!r->bitmap)
        VQZ_TRY(read_number(r, "largest sample value", &r->maximum, diag));
    VQZ_TRY(peek(r, &c, diag));
    if (c == END)
        return truncated(diag);
    if (!is_space(c))
        return vqzi_fail(diag, VQZ_ERROR_CORRUPT, "PNM: no space after the header (damaged file)");
    skip(r);
    return VQZ_OK;
}

/* A header line of a PAM file starts with a word; longer ones than any we know are cut. */
static vqz_status read_word(pnm_reader *r, char word[16], vqz_diag *diag) {
    int c;
    size_t length = 0;
    VQZ_TRY(skip_space(r, &c, diag));
    while (c != END && !is_space(c)) {
        if (length < 15)
            word[length++] = (char)c;
        skip(r);
        VQZ_TRY(peek(r, &c, diag));
    }
    word[length] = '\0';
    return c == END ? truncated(diag) : VQZ_OK;
}

static vqz_status read_pam_header(pnm_reader *r, vqz_diag *diag) {
    const struct {
        const char *name;
        uint32_t *value;
    } fields[] = {{"WIDTH", &r->width},
                  {"HEIGHT", &r->height},
                  {"DEPTH", &r->depth},
                  {"MAXVAL", &r->maximum}};
    char word[16];
    for (;;) {
        VQZ_TRY(read_word(r, word, diag));
        for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
            if (strcmp(word, fields[i].name) == 0)
                VQZ_TRY(read_number(r, fields[i].name, fields[i].value, diag));
        int c;
        do { /* to the line's end, which is \n alone: samples may follow */
            VQZ_TRY(peek(r, &c, diag));
            if (c == END)
                return truncated(diag);
            skip(r);
        } while (c != '\n');
        if (strcmp(word, "ENDHDR") == 0)
            break;
    }
    if (r->depth < 1 || r->depth > 4)
        return vqzi_fail(diag, r->depth == 0 ? VQZ_ERROR_CORRUPT : VQZ_ERROR_UNSUPPORTED,
                         "PAM: %u channels; 1 to 4 are supported", r->depth);
    return VQZ_OK;
}

static vqz_status read_start(pnm_reader *r, vqz_diag *diag) {
    uint8_t start[3];
    size_t got;
    VQZ_TRY(source_copy(r->s, 0, start, sizeof start, &got, diag));
    if (got == 3 && !is_space(start[2]) && (start[2] != '#' || start[1] == '7'))
        return vqzi_fail(diag, VQZ_ERROR_FORMAT, "not a PNG, JPEG or PNM picture");
    r->position = 2;
    return start[1] == '7' ? read_pam_header(r, diag) : read_header(r, start[1], diag);
}

static vqz_status open_pnm(void **state, picture *facts, uint32_t *passes, source *s,
                           const vqz_limits *limits, vqz_diag *diag) {
    (void)passes;
    pnm_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "PNM: out of memory");
    *state = r;
    r->s = s;
    VQZ_TRY(read_start(r, diag));
    VQZ_TRY(picture_check_size("PNM", r->width, r->height, limits, diag));
    if (r->maximum < 1 || r->maximum > 65535)
        return vqzi_fail(diag, VQZ_ERROR_CORRUPT,
                         "PNM: the largest sample value is %u; 1 to 65535 are possible",
                         r->maximum);

    /* Sides are below 2^16 and depth is at most 4, so nothing here overflows 64 bits. */
    r->samples = (size_t)r->width * r->depth;
    r->row_bytes = r->bitmap ? (r->samples + 7) / 8 : r->samples * (r->maximum > 255 ? 2 : 1);
    if (r->text) /* a digit, and for all but bitmaps something between two numbers */
        r->row_bytes = r->bitmap ? r->samples : 2 * r->samples - 1;
    if ((uint64_t)r->row_bytes * r->height > source_size(s) - r->position)
        return truncated(diag);
    if (!r->text && r->maximum != 255) {
        r->packed = malloc(r->row_bytes);
        if (r->packed == NULL)
            return vqzi_fail(diag, VQZ_ERROR_MEMORY, "PNM: out of memory");
    }
    facts->image.width = r->width;
    facts->image.height = r->height;
    facts->image.channels = r->depth;
    facts->sixteen_bit = r->maximum > 255;
    return VQZ_OK;
}

/* ---- rows ---- */

static uint8_t to_8_bits(uint32_t sample, uint32_t maximum) {
    return (uint8_t)((sample * 255 + maximum / 2) / maximum);
}

static vqz_status above_maximum(vqz_diag *diag) {
    return vqzi_fail(diag, VQZ_ERROR_CORRUPT,
                     "PNM: a sample is above the largest value of the header (damaged file)");
}

static vqz_status read_text_row(pnm_reader *r, uint8_t *row, vqz_diag *diag) {
    for (size_t i = 0; i < r->samples; i++) {
        uint32_t sample;
        if (r->bitmap) { /* digits need no space between them */
            int c;
            VQZ_TRY(skip_space(r, &c, diag));
            if (c == END)
                return truncated(diag);
            skip(r);
            sample = (uint32_t)'1' - (uint32_t)c;
        } else {
            VQZ_TRY(read_number(r, "sample", &sample, diag));
        }
        if (sample > r->maximum)
            return above_maximum(diag);
        row[i] = to_8_bits(sample, r->maximum);
    }
    return VQZ_OK;
}

static vqz_status unpack_row(const pnm_reader *r, uint8_t *row, vqz_diag *diag) {
    const uint8_t *src = r->packed;
    size_t count = r->samples;
    if (r->bitmap) {
        for (size_t i = 0; i < count; i++)
            row[i] = src[i / 8] >> (7 - i % 8) & 1 ? 0 : 255;
        return VQZ_OK;
    }
    uint32_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t sample =
            r->maximum > 255 ? (uint32_t)src[2 * i] << 8 | src[2 * i + 1] : (uint32_t)src[i];
        largest = VQZI_MAX(largest, sample);
        row[i] = to_8_bits(sample, r->maximum);
    }
    return largest > r->maximum ? above_maximum(diag) : VQZ_OK;
}

static vqz_status read_rows(void *state, uint8_t *rows, size_t stride, uint32_t count,
                            vqz_diag *diag) {
    pnm_reader *r = state;
    for (; count > 0; count--, rows += stride) {
        if (r->text) {
            VQZ_TRY(read_text_row(r, rows, diag));
            continue;
        }
        size_t got;
        VQZ_TRY(source_copy(r->s, r->position, r->packed != NULL ? r->packed : rows, r->row_bytes,
                            &got, diag));
        if (got < r->row_bytes)
            return truncated(diag);
        r->position += got;
        if (r->packed != NULL)
            VQZ_TRY(unpack_row(r, rows, diag));
    }
    return VQZ_OK;
}

static vqz_status finish_reading(void *state, vqz_diag *diag) {
    (void)state;
    (void)diag;
    return VQZ_OK; /* anything may follow */
}

static void close_reader(void *state) {
    pnm_reader *r = state;
    free(r->packed);
    free(r);
}

const picture_kind picture_kind_pnm = {open_pnm, read_rows, finish_reading, close_reader};

/* ---- writing ---- */

typedef struct pnm_writer {
    file_output *output;
    size_t row_bytes;
} pnm_writer;

static vqz_status open_writer(void **state, const picture *facts, file_output *output,
                              vqz_diag *diag) {
    const vqz_image *image = &facts->image;
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
    pnm_writer *w = malloc(sizeof *w);
    if (w == NULL)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "PNM: out of memory");
    *state = w;
    *w = (pnm_writer){.output = output, .row_bytes = (size_t)image->width * image->channels};
    return file_append(output, header, (size_t)length, diag);
}

static vqz_status write_rows(void *state, const uint8_t *rows, size_t stride, uint32_t count,
                             vqz_diag *diag) {
    const pnm_writer *w = state;
    for (; count > 0; count--, rows += stride)
        VQZ_TRY(file_append(w->output, rows, w->row_bytes, diag));
    return VQZ_OK;
}

static vqz_status finish_writing(void *state, vqz_diag *diag) {
    (void)state;
    (void)diag;
    return VQZ_OK;
}

const picture_target picture_target_pnm = {open_writer, write_rows, finish_writing, free};
