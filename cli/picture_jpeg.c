/*
 * picture_jpeg.c - JPEG in through libjpeg-turbo.
 *
 * libjpeg fills what is missing with gray and carries on with a warning; here a warning about the
 * data is an error, so that no damaged picture is compressed or trained on unnoticed.  CMYK and
 * YCCK become RGB by the plain formula (no profile is applied), inverted when an Adobe marker says
 * so.
 */
#include "cli/picture_parts.h"

#include <limits.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

/* Each scan of a progressive file costs time in proportion to the picture, however few bytes it
   has; encoders write about ten. */
enum { MAX_SCANS = 100 };

typedef struct jpeg_reader {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr error;
    struct jpeg_progress_mgr progress;
    struct jpeg_source_mgr bytes; /* its window is that of the source */
    source *s;
    uint64_t position; /* behind the window */
    jmp_buf jump;
    picture *p; /* while opening */
    uint8_t *cmyk_row;
    const vqz_limits *limits; /* while opening */
    vqz_status status;
    vqz_diag *diag;
} jpeg_reader;

static vqz_status classify(int code) {
    switch (code) {
    case JERR_INPUT_EOF:
    case JERR_INPUT_EMPTY:
    case JWRN_JPEG_EOF:
        return VQZ_ERROR_TRUNCATED;
    case JERR_OUT_OF_MEMORY:
        return VQZ_ERROR_MEMORY;
    case JERR_NO_BACKING_STORE:
        return VQZ_ERROR_LIMIT;
    case JERR_BAD_PRECISION:
    case JERR_SOF_UNSUPPORTED:
    case JERR_ARITH_NOTIMPL:
    case JERR_NOT_COMPILED:
    case JERR_CONVERSION_NOTIMPL:
        return VQZ_ERROR_UNSUPPORTED;
    default:
        return VQZ_ERROR_CORRUPT;
    }
}

static void exit_with_message(j_common_ptr common) {
    jpeg_reader *r = common->client_data;
    char message[JMSG_LENGTH_MAX];
    vqz_status status = classify(common->err->msg_code);
    if (status == VQZ_ERROR_LIMIT)
        snprintf(message, sizeof message,
                 "the coefficients of a progressive picture take more than %ld bytes of memory; "
                 "raise --max-memory",
                 common->mem->max_memory_to_use);
    else
        common->err->format_message(common, message);
    r->status = vqzi_fail(r->diag, status, "JPEG: %s%s", message,
                          status == VQZ_ERROR_TRUNCATED ? " (truncated file)"
                          : status == VQZ_ERROR_CORRUPT ? " (damaged file)"
                                                        : "");
    longjmp(r->jump, 1);
}

static void emit_message(j_common_ptr common, int level) {
    if (level >= 0)
        return;
    switch (common->err->msg_code) {
    case JWRN_JFIF_MAJOR:  /* an unknown version number, */
    case JWRN_ADOBE_XFORM: /* an unknown transform code, */
    case JWRN_BOGUS_ICC:   /* an incomplete profile: none of them touches the samples */
        return;
    default:
        exit_with_message(common);
    }
}

static void output_nothing(j_common_ptr common) {
    (void)common;
}

static void limit_scans(j_common_ptr common) {
    jpeg_reader *r = common->client_data;
    if (r->jpeg.input_scan_number > MAX_SCANS) {
        r->status = vqzi_fail(r->diag, VQZ_ERROR_LIMIT, "JPEG: more than %d scans", MAX_SCANS);
        longjmp(r->jump, 1);
    }
}

static void stop_unless(jpeg_reader *r, vqz_status status) {
    if (status != VQZ_OK) {
        r->status = status;
        longjmp(r->jump, 1);
    }
}

/* ---- the source ---- */

static void init_bytes(j_decompress_ptr jpeg) {
    (void)jpeg;
}

static boolean fill_bytes(j_decompress_ptr jpeg) {
    jpeg_reader *r = jpeg->client_data;
    struct jpeg_source_mgr *bytes = jpeg->src;
    stop_unless(
        r, source_at(r->s, r->position, &bytes->next_input_byte, &bytes->bytes_in_buffer, r->diag));
    if (bytes->bytes_in_buffer == 0)
        ERREXIT(jpeg, JERR_INPUT_EOF);
    r->position += bytes->bytes_in_buffer;
    return TRUE;
}

static void skip_bytes(j_decompress_ptr jpeg, long count) {
    jpeg_reader *r = jpeg->client_data;
    struct jpeg_source_mgr *bytes = jpeg->src;
    if (count <= 0)
        return;
    if ((size_t)count > bytes->bytes_in_buffer) {
        r->position += (size_t)count - bytes->bytes_in_buffer;
        bytes->bytes_in_buffer = 0;
        return;
    }
    bytes->next_input_byte += count;
    bytes->bytes_in_buffer -= (size_t)count;
}

/* ---- the header ---- */

static void keep_metadata(jpeg_reader *r) {
    static const char prefix[6] = "Exif\0";
    JOCTET *profile;
    unsigned int profile_size;
    for (jpeg_saved_marker_ptr m = r->jpeg.marker_list; m != NULL; m = m->next) {
        if (m->marker != JPEG_APP0 + 1 || m->data_length <= sizeof prefix ||
            memcmp(m->data, prefix, sizeof prefix) != 0 || r->p->exif != NULL)
            continue;
        stop_unless(r, picture_copy_block(&r->p->exif, &r->p->exif_size, m->data + sizeof prefix,
                                          m->data_length - sizeof prefix, r->diag));
    }
    if (jpeg_read_icc_profile(&r->jpeg, &profile, &profile_size)) {
        r->p->icc = profile;
        r->p->icc_size = profile_size;
    }
}

/* What comes out: the channels of the picture.  CMYK rows take a detour. */
static uint32_t choose_output(jpeg_reader *r) {
    switch (r->jpeg.jpeg_color_space) {
    case JCS_GRAYSCALE:
        r->jpeg.out_color_space = JCS_GRAYSCALE;
        return 1;
    case JCS_RGB:
    case JCS_YCbCr:
        r->jpeg.out_color_space = JCS_RGB;
        return 3;
    case JCS_CMYK:
    case JCS_YCCK:
        r->jpeg.out_color_space = JCS_CMYK;
        r->cmyk_row = malloc((size_t)r->jpeg.image_width * 4);
        if (r->cmyk_row == NULL)
            stop_unless(r, vqzi_fail(r->diag, VQZ_ERROR_MEMORY, "JPEG: out of memory"));
        return 3;
    default:
        stop_unless(r, vqzi_fail(r->diag, VQZ_ERROR_UNSUPPORTED,
                                 "JPEG: %d components are neither gray, colour nor CMYK",
                                 r->jpeg.num_components));
        return 0;
    }
}

/* inverted: samples hold 255 - ink, as Adobe writes them. */
static void rgb_from_cmyk(uint8_t *rgb, const uint8_t *cmyk, size_t pixels, bool inverted) {
    unsigned flip = inverted ? 0 : 255;
    for (size_t i = 0; i < pixels; i++) {
        unsigned light = cmyk[4 * i + 3] ^ flip;
        for (size_t c = 0; c < 3; c++)
            rgb[3 * i + c] = (uint8_t)(((cmyk[4 * i + c] ^ flip) * light + 127) / 255);
    }
}

static bool read_header(jpeg_reader *r) {
    j_decompress_ptr jpeg = &r->jpeg;
    if (setjmp(r->jump) != 0)
        return false;
    jpeg_create_decompress(jpeg); /* clears everything but err and client_data */
    uint64_t memory = r->limits->max_memory;
    jpeg->mem->max_memory_to_use = memory > LONG_MAX ? LONG_MAX : (long)memory;
    r->progress.progress_monitor = limit_scans;
    jpeg->progress = &r->progress;
    r->bytes = (struct jpeg_source_mgr){.init_source = init_bytes,
                                        .fill_input_buffer = fill_bytes,
                                        .skip_input_data = skip_bytes,
                                        .resync_to_restart = jpeg_resync_to_restart,
                                        .term_source = init_bytes};
    jpeg->src = &r->bytes;
    jpeg_save_markers(jpeg, JPEG_APP0 + 1, 0xffff);
    jpeg_save_markers(jpeg, JPEG_APP0 + 2, 0xffff);
    jpeg_read_header(jpeg, TRUE);
    stop_unless(
        r, picture_check_size("JPEG", jpeg->image_width, jpeg->image_height, r->limits, r->diag));
    keep_metadata(r);
    r->p->image.channels = choose_output(r);
    r->p->image.width = jpeg->image_width;
    r->p->image.height = jpeg->image_height;
    jpeg_start_decompress(jpeg); /* of a progressive file, this reads all scans */
    return true;
}

static vqz_status open_jpeg(void **state, picture *facts, uint32_t *passes, source *s,
                            const vqz_limits *limits, vqz_diag *diag) {
    (void)passes;
    jpeg_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "JPEG: out of memory");
    *state = r;
    r->s = s;
    r->p = facts;
    r->limits = limits;
    r->diag = diag;
    r->status = VQZ_OK;
    r->jpeg.err = jpeg_std_error(&r->error);
    r->jpeg.client_data = r;
    r->error.error_exit = exit_with_message;
    r->error.emit_message = emit_message;
    r->error.output_message = output_nothing;
    return read_header(r) ? VQZ_OK : r->status;
}

/* ---- rows ---- */

static vqz_status read_rows(void *state, uint8_t *rows, size_t stride, uint32_t count,
                            vqz_diag *diag) {
    jpeg_reader *r = state;
    r->diag = diag;
    if (setjmp(r->jump) != 0)
        return r->status;
    for (uint32_t y = 0; y < count; y++) {
        uint8_t *row = rows + y * stride;
        JSAMPROW target = r->cmyk_row != NULL ? r->cmyk_row : row;
        jpeg_read_scanlines(&r->jpeg, &target, 1);
        if (r->cmyk_row != NULL)
            rgb_from_cmyk(row, r->cmyk_row, r->jpeg.output_width, r->jpeg.saw_Adobe_marker);
    }
    return VQZ_OK;
}

/* Reads on to EOI, so a file cut right before it is noticed. */
static vqz_status finish_jpeg(void *state, vqz_diag *diag) {
    jpeg_reader *r = state;
    r->diag = diag;
    if (setjmp(r->jump) != 0)
        return r->status;
    jpeg_finish_decompress(&r->jpeg);
    return VQZ_OK;
}

static void close_jpeg(void *state) {
    jpeg_reader *r = state;
    jpeg_destroy_decompress(&r->jpeg);
    free(r->cmyk_row);
    free(r);
}

const picture_kind picture_kind_jpeg = {open_jpeg, read_rows, finish_jpeg, close_jpeg};
