/*
 * cmd_sample.c - vqz sample: a sheet of pictures drawn from the prior of a model.
 *
 * Picture i of seed s is picture 0 of seed s + i.  The sheet is made and written a row of pictures at
 * a time.
 */
#include "cli/commands.h"
#include "cli/session.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GAP = 2, MAX_SIDE = 65535 }; /* pixels between pictures; of a sheet */

typedef struct sheet {
    const settings *settings;
    const vqz_model *model;
    vqz_context *context;
    picture facts;          /* of the whole; no pixels */
    uint32_t across, down;
    vqz_image row;          /* of pictures, and the gap below */
    file_output *output;
    picture_writer *writer;
} sheet;

static vqz_status lay_out(sheet *s, const vqz_limits *limits, vqz_diag *diag) {
    const settings *set = s->settings;
    const region *each = &set->size;
    vqz_model_info info;
    vqz_model_get_info(s->model, &info);
    if (info.prior_stages == 0)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "the model has no prior, and pictures are drawn from that; train one with "
                         "--preset photo");
    uint32_t count = (uint32_t)set->count;
    s->across = (uint32_t)ceil(sqrt((double)count));
    s->down = (count + s->across - 1) / s->across;
    uint64_t width = (uint64_t)s->across * (each->width + GAP) - GAP;
    uint64_t height = (uint64_t)s->down * (each->height + GAP) - GAP;
    if (width > MAX_SIDE || height > MAX_SIDE || width * height > limits->max_pixels)
        return vqzi_fail(diag, VQZ_ERROR_LIMIT,
                         "the sheet would have %llux%llu pixels, too many; ask for fewer or smaller "
                         "pictures",
                         (unsigned long long)width, (unsigned long long)height);
    s->facts.image = (vqz_image){.width = (uint32_t)width,
                                 .height = (uint32_t)height,
                                 .channels = info.channels};
    s->row = s->facts.image;
    s->row.stride = (size_t)width * info.channels;
    s->row.height = each->height + GAP;
    if (s->row.stride > limits->max_memory / s->row.height)
        return vqzi_fail(diag, VQZ_ERROR_LIMIT,
                         "a row of the sheet exceeds the memory limit; ask for fewer or smaller "
                         "pictures");
    s->row.pixels = malloc(s->row.stride * s->row.height);
    return s->row.pixels != NULL ? VQZ_OK : vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory");
}

static vqz_status draw_row(sheet *s, uint32_t row, vqz_diag *diag) {
    const settings *set = s->settings;
    uint32_t count = VQZI_MIN(s->across, (uint32_t)set->count - row * s->across);
    vqz_sample_options options;
    vqz_sample_options_init(&options);
    if (set->quality > 0)
        options.quality = set->quality;
    options.temperature = (int)lround(4 * log2(set->temperature));
    /* white, or nothing where the pictures have alpha */
    memset(s->row.pixels, s->row.channels == 4 ? 0 : 255, s->row.stride * s->row.height);
    for (uint32_t i = 0; i < count; i++) {
        vqz_image image = s->row;
        image.width = set->size.width;
        image.height = set->size.height;
        image.pixels += (size_t)i * (image.width + GAP) * image.channels;
        options.seed = set->seed + (uint64_t)row * s->across + i;
        VQZ_TRY(vqz_sample(s->context, s->model, &options, &image, diag));
    }
    return VQZ_OK;
}

static vqz_status draw(sheet *s, const char *format, vqz_diag *diag) {
    VQZ_TRY(file_create(&s->output, s->settings->output, s->settings->force, diag));
    VQZ_TRY(picture_writer_open(&s->writer, &s->facts,
                                strcmp(format, "png") == 0 ? PICTURE_PNG : PICTURE_PNM, s->output,
                                diag));
    for (uint32_t row = 0; row < s->down; row++) {
        VQZ_TRY(draw_row(s, row, diag));
        uint32_t rows = s->row.height - (row + 1 == s->down ? GAP : 0);
        VQZ_TRY(picture_writer_rows(s->writer, s->row.pixels, s->row.stride, rows, diag));
    }
    VQZ_TRY(picture_writer_finish(s->writer, diag));
    return file_commit(s->output, diag);
}

int run_sample(const settings *set, int count, char **operands) {
    (void)count;
    (void)operands;
    session s;
    sheet made = {.settings = set};
    vqz_diag diag = {""};
    report r;
    report_init(&r, set->quiet, set->verbose);
    if (set->output == NULL) {
        report_error(&r, NULL, "no output named; say where to write the sheet with -o SHEET.png");
        return EXIT_USAGE;
    }
    const char *subject = report_output_name(set->output);
    vqz_status status = session_open(&s, set, &diag);
    const char *format = session_format(&s, set->output);
    if (status == VQZ_OK)
        status = file_check_target(set->output, set->force, &diag);
    if (status == VQZ_OK) {
        subject = NULL; /* messages name the model */
        status = models_by_name(s.models, set->model, &made.model, &diag);
    }
    if (status == VQZ_OK) {
        subject = set->model != NULL ? set->model : "default model";
        status = lay_out(&made, &s.limits, &diag);
    }
    if (status == VQZ_OK)
        subject = report_output_name(set->output);
    if (status == VQZ_OK)
        status = session_check_format(format, made.facts.image.channels, &diag);
    if (status == VQZ_OK && made.facts.image.channels == 1 && strcmp(format, "ppm") == 0)
        status = vqzi_fail(&diag, VQZ_ERROR_UNSUPPORTED, "is gray; write png or pgm");
    worker w = {.session = &s, .threads = set->threads};
    if (status == VQZ_OK)
        status = worker_context(&w, &made.context, &diag);
    if (status == VQZ_OK)
        status = draw(&made, format, &diag);
    if (status == VQZ_OK)
        report_result(&r, subject, "%d pictures of %ux%u from seed %llu", set->count,
                      set->size.width, set->size.height, (unsigned long long)set->seed);
    else
        report_error(&r, subject, "%s", diag.message[0] != '\0' ? diag.message
                                                                : vqz_status_string(status));
    picture_writer_close(made.writer);
    file_close(made.output);
    free(made.row.pixels);
    vqz_context_free(w.context);
    models_return(s.models, made.model);
    session_close(&s);
    return status == VQZ_OK ? EXIT_DONE : EXIT_FAILED;
}
