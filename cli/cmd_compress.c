/*
 * cmd_compress.c - vqz compress: pictures to .vqz files.
 */
#include "cli/commands.h"
#include "cli/session.h"
#include "cli/text.h"
#include <stdlib.h>

/* A picture on its way into a file. */
typedef struct compression {
    source *source;
    picture_reader *reader;
    const vqz_model *model;
    vqz_encoder *encoder;
    uint8_t *band;
    void *file;
    size_t size;
} compression;

static vqz_status open_picture(worker *w, const job *j, compression *c, vqz_diag *diag) {
    session *s = w->session;
    const settings *set = s->settings;
    vqz_context *context;
    VQZ_TRY(models_by_name(s->models, set->model, &c->model, diag));
    VQZ_TRY(worker_context(w, &context, diag));
    VQZ_TRY(source_open(&c->source, j->input, s->max_file, diag));
    VQZ_TRY(picture_reader_open(&c->reader, c->source, &s->limits, diag));
    const picture *facts = picture_reader_facts(c->reader);
    vqz_encode_options options;
    vqz_encode_options_init(&options);
    options.quality = set->quality;
    if (!set->strip) {
        options.icc = facts->icc;
        options.icc_size = facts->icc_size;
        options.exif = facts->exif;
        options.exif_size = facts->exif_size;
    }
    return vqz_encoder_create(&c->encoder, context, c->model, facts->image.width,
                              facts->image.height, facts->image.channels, &options, diag);
}

static vqz_status encode(compression *c, vqz_diag *diag) {
    const vqz_image *image = &picture_reader_facts(c->reader)->image;
    size_t stride = (size_t)image->width * image->channels;
    uint32_t band = session_band(stride, image->height);
    c->band = malloc(stride * band);
    if (c->band == NULL)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory");
    for (uint32_t y = 0, count; y < image->height; y += count) {
        count = VQZI_MIN(band, image->height - y);
        VQZ_TRY(picture_reader_rows(c->reader, c->band, stride, count, diag));
        VQZ_TRY(vqz_encoder_write(c->encoder, c->band, stride, count, diag));
    }
    return vqz_encoder_finish(c->encoder, &c->file, &c->size, diag);
}

static vqz_status compress_one(worker *w, const job *j, size_t index, vqz_diag *diag) {
    (void)index;
    const settings *set = w->session->settings;
    double start = session_clock();
    compression c = {.source = NULL};
    /* what cannot be written need not be compressed */
    w->at_output = true;
    VQZ_TRY(job_prepare(j, set->force, diag));
    w->at_output = false;

    vqz_status status = open_picture(w, j, &c, diag);
    if (status == VQZ_OK)
        status = encode(&c, diag);
    if (status == VQZ_OK) {
        const picture *facts = picture_reader_facts(c.reader);
        char before[24], after[24];
        worker_warn(w, j->input, facts);
        w->at_output = true;
        status = file_write(j->output, c.file, c.size, set->force, diag);
        text_bytes(before, source_size(c.source));
        text_bytes(after, c.size);
        if (status == VQZ_OK)
            report_result(&w->report, report_input_name(j->input),
                          "%ux%u, %s to %s (%.3f bpp), %.2f s, %s", facts->image.width,
                          facts->image.height, before, after,
                          8.0 * (double)c.size / ((double)facts->image.width * facts->image.height),
                          session_clock() - start, report_output_name(j->output));
    }
    vqz_free(c.file);
    free(c.band);
    vqz_encoder_free(c.encoder);
    picture_reader_close(c.reader);
    source_close(c.source);
    models_return(w->session->models, c.model);
    return status;
}

int run_compress(const settings *s, int count, char **operands) {
    const job_rules rules = {.extensions = picture_extensions,
                             .what = "pictures",
                             .new_extension = "vqz",
                             .output = s->output,
                             .recursive = s->recursive};
    return session_run_command(s, &rules, count, operands, &(task){.run = compress_one});
}
