/*
 * cmd_compress.c - vqz compress: pictures to .vqz files.
 *
 * With a target the picture is encoded several times.  It is read again for each: that costs little
 * beside the encoding, and no picture has to be held.
 */
#include "cli/commands.h"
#include "cli/metrics.h"
#include "cli/session.h"
#include "cli/target.h"
#include "cli/text.h"
#include <stdlib.h>

/* A picture on its way into a file. */
typedef struct compression {
    source *source;
    picture_reader *reader; /* of the try at hand, as all that follows */
    const vqz_model *model;
    vqz_context *context;
    vqz_encoder *encoder;
    vqz_decoder *decoder;
    uint8_t *band, *decoded;
    void *file;
    size_t size;
    int quality;
    bool missed; /* the target */
} compression;

static vqz_status open_picture(worker *w, const job *j, compression *c, vqz_diag *diag) {
    session *s = w->session;
    VQZ_TRY(models_by_name(s->models, s->settings->model, &c->model, diag));
    VQZ_TRY(worker_context(w, &c->context, diag));
    VQZ_TRY(source_open(&c->source, j->input, s->max_file, diag));
    return picture_reader_open(&c->reader, c->source, &s->limits, diag);
}

/* Reads the picture once more. */
static vqz_status reopen(worker *w, compression *c, vqz_diag *diag) {
    picture_reader_close(c->reader);
    c->reader = NULL;
    return picture_reader_open(&c->reader, c->source, &w->session->limits, diag);
}

/* The reader is at the picture's start. */
static vqz_status encode(worker *w, compression *c, const target_point *point, vqz_diag *diag) {
    session *s = w->session;
    const picture *facts = picture_reader_facts(c->reader);
    const vqz_image *image = &facts->image;
    vqz_encode_options options;
    session_encode_options(s, &options);
    options.quality = point->quality;
    options.rate_bias = point->rate_bias;
    if (!s->settings->strip) {
        options.icc = facts->icc;
        options.icc_size = facts->icc_size;
        options.exif = facts->exif;
        options.exif_size = facts->exif_size;
    }
    VQZ_TRY(vqz_encoder_create(&c->encoder, c->context, c->model, image->width, image->height,
                               image->channels, &options, diag));
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

static vqz_status measure(worker *w, compression *c, double *psnr, vqz_diag *diag) {
    VQZ_TRY(reopen(w, c, diag));
    VQZ_TRY(vqz_decoder_create(&c->decoder, c->context, c->model, c->file, c->size, diag));
    const vqz_image *image = &picture_reader_facts(c->reader)->image;
    size_t stride = (size_t)image->width * image->channels;
    uint32_t band = session_band(stride, image->height);
    uint64_t squares = 0;
    c->decoded = malloc(stride * band);
    if (c->decoded == NULL)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory");
    for (uint32_t y = 0, count; y < image->height; y += count) {
        count = VQZI_MIN(band, image->height - y);
        VQZ_TRY(picture_reader_rows(c->reader, c->band, stride, count, diag));
        VQZ_TRY(vqz_decoder_read(c->decoder, c->decoded, stride, count, diag));
        squares += metrics_squares(c->band, c->decoded, (size_t)image->width * count,
                                   image->channels);
    }
    *psnr = metrics_psnr_of(squares, image);
    return VQZ_OK;
}

/* What a try leaves beside its file and the reader. */
static void end_try(compression *c) {
    vqz_encoder_free(c->encoder);
    vqz_decoder_free(c->decoder);
    free(c->band);
    free(c->decoded);
    c->encoder = NULL;
    c->decoder = NULL;
    c->band = c->decoded = NULL;
}

static void report_missed(worker *w, const job *j, const target_search *search) {
    const settings *set = w->session->settings;
    const target_point *best = &search->best;
    const char *name = report_input_name(j->input);
    if (search->kind == TARGET_PSNR)
        report_warning(&w->report, name, "%.2f dB cannot be met: %.2f dB at quality %d is nearest",
                       search->wanted, best->reached, best->quality);
    else if (set->target_bpp > 0)
        report_warning(&w->report, name,
                       "%g bits per pixel cannot be met: %.4f at quality %d is nearest",
                       set->target_bpp, set->target_bpp * best->reached / search->wanted,
                       best->quality);
    else
        report_warning(
            &w->report, name, "%.0f byte%s cannot be met: %.0f bytes at quality %d is nearest",
            search->wanted, search->wanted == 1 ? "" : "s", best->reached, best->quality);
}

/* Encodes until the target is met as well as it can be. */
static vqz_status encode_to_target(worker *w, const job *j, compression *c, vqz_diag *diag) {
    const settings *set = w->session->settings;
    const vqz_image *image = &picture_reader_facts(c->reader)->image;
    vqz_model_info info;
    target_search search;
    target_point point;
    double bytes = set->target_bpp > 0
                       ? set->target_bpp * image->width * image->height / 8
                       : (double)set->target_size;
    void *best = NULL;
    size_t best_size = 0;
    vqz_status status = VQZ_OK;
    vqz_model_get_info(c->model, &info);
    target_begin(&search, set->target_psnr > 0 ? TARGET_PSNR : TARGET_BYTES,
                 set->target_psnr > 0 ? set->target_psnr : bytes, info.levels == 1);
    while (status == VQZ_OK && target_next(&search, &point)) {
        if (search.best.quality > 0)
            status = reopen(w, c, diag);
        if (status == VQZ_OK)
            status = encode(w, c, &point, diag);
        double reached = (double)c->size;
        if (status == VQZ_OK && search.kind == TARGET_PSNR)
            status = measure(w, c, &reached, diag);
        end_try(c);
        if (status == VQZ_OK && target_report(&search, reached)) {
            vqz_free(best);
            best = c->file;
            best_size = c->size;
        } else {
            vqz_free(c->file);
        }
        c->file = NULL;
    }
    c->file = best;
    c->size = best_size;
    c->quality = search.best.quality;
    c->missed = status == VQZ_OK && !target_met(&search);
    if (c->missed)
        report_missed(w, j, &search);
    return status;
}

/* Whether the file that was made decodes; asked before its source may go. */
static vqz_status verify(compression *c, vqz_diag *diag) {
    vqz_diag why = {""};
    const vqz_image *image = &picture_reader_facts(c->reader)->image;
    end_try(c);
    vqz_status status =
        vqz_decoder_create(&c->decoder, c->context, c->model, c->file, c->size, &why);
    if (status == VQZ_OK)
        status = session_decode_all(c->decoder, image->width, image->height, image->channels, &why);
    return status == VQZ_OK
               ? VQZ_OK
               : vqzi_fail(diag, status, "is kept: what was made of it fails: %.400s", why.message);
}

/* Why --rm must not take the source, or NULL. */
static const char *reason_to_keep(const compression *c, const picture *facts) {
    return facts->animated             ? "only its first picture is in the file"
           : facts->damaged[0] != '\0' ? "what was damaged is not in the file"
           : c->missed                 ? "the target was not met"
                                       : NULL;
}

static vqz_status compress_one(worker *w, const job *j, size_t index, vqz_diag *diag) {
    (void)index;
    const settings *set = w->session->settings;
    bool target = set->target_size > 0 || set->target_bpp > 0 || set->target_psnr > 0;
    double start = session_clock();
    compression c = {.quality = set->quality > 0 ? set->quality : 50};
    file_mark mark;
    file_mark_source(&mark, j->input);
    /* what cannot be written need not be compressed */
    w->at_output = true;
    VQZ_TRY(job_prepare(j, set->force, diag));
    w->at_output = false;

    vqz_status status = open_picture(w, j, &c, diag);
    if (status == VQZ_OK)
        status = target ? encode_to_target(w, j, &c, diag)
                        : encode(w, &c, &(target_point){.quality = c.quality}, diag);
    if (status == VQZ_OK && set->remove_sources)
        status = verify(&c, diag);
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
                          "%ux%u, %s to %s (%.3f bpp), quality %d, %.2f s, %s", facts->image.width,
                          facts->image.height, before, after,
                          8.0 * (double)c.size / ((double)facts->image.width * facts->image.height),
                          c.quality, session_clock() - start, report_output_name(j->output));
        if (status == VQZ_OK)
            status = worker_remove_source(w, j, &mark, reason_to_keep(&c, facts), diag);
    }
    vqz_free(c.file);
    end_try(&c);
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
    int wishes = (s->quality > 0) + (s->target_size > 0) + (s->target_bpp > 0) +
                 (s->target_psnr > 0);
    if (wishes > 1) {
        report r;
        report_init(&r, s->quiet, s->verbose);
        report_error(&r, NULL,
                     "--quality, --target-size, --target-bpp and --target-psnr exclude each other; "
                     "give one of them");
        return EXIT_USAGE;
    }
    int code = session_check_removal(s);
    return code != EXIT_DONE
               ? code
               : session_run_command(s, &rules, count, operands, &(task){.run = compress_one});
}
