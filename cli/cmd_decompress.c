/*
 * cmd_decompress.c - vqz decompress: .vqz files back to PNG or PNM pictures; and vqz test, which
 * does all of that but the writing.
 */
#include "cli/commands.h"
#include "cli/session.h"
#include "cli/text.h"
#include <stdlib.h>
#include <string.h>

/* Gray samples spread to RGB in place, in a band with room for them, from its end. */
static void spread_gray(uint8_t *band, size_t count) {
    for (size_t i = count; i-- > 0;)
        memset(band + 3 * i, band[i], 3);
}

/* A file on its way back into a picture. */
typedef struct decompression {
    void *file;
    size_t size;
    const char *format;
    picture facts; /* of what is written */
    bool spread;   /* gray to RGB */
    bool whole;    /* else the file was cut */
    const vqz_model *model;
    vqz_decoder *decoder;
    file_output *output;
    picture_writer *writer;
    uint8_t *band;
} decompression;

static vqz_status read_metadata(decompression *d, vqz_diag *diag) {
    void *icc = NULL, *exif = NULL;
    if (strcmp(d->format, "png") != 0)
        return VQZ_OK; /* PNM holds no metadata */
    VQZ_TRY(vqz_read_partial_metadata(d->file, d->size, VQZ_METADATA_ICC, &icc,
                                      &d->facts.icc_size, diag));
    d->facts.icc = icc;
    VQZ_TRY(vqz_read_partial_metadata(d->file, d->size, VQZ_METADATA_EXIF, &exif,
                                      &d->facts.exif_size, diag));
    d->facts.exif = exif;
    return VQZ_OK;
}

/* What the file says; of one that was cut only with --partial, which is pointed out otherwise. */
static vqz_status read_info(const settings *set, decompression *d, vqz_info *info,
                            vqz_diag *diag) {
    vqz_diag ignored;
    int whole;
    vqz_status status = vqz_read_info(d->file, d->size, info, diag);
    d->whole = status == VQZ_OK;
    if (status == VQZ_OK)
        return VQZ_OK;
    if (set->partial)
        return vqz_read_partial_info(d->file, d->size, info, &whole, diag);
    if (vqz_read_partial_info(d->file, d->size, info, &whole, &ignored) == VQZ_OK) {
        vqz_diag said = *diag;
        return vqzi_fail(diag, status, "%.400s; decompress --partial shows what is there",
                         said.message);
    }
    return status;
}

/* From the bytes of the file to the first row. */
static vqz_status open_file(worker *w, const job *j, decompression *d, vqz_diag *diag) {
    session *s = w->session;
    vqz_info info;
    vqz_context *context;
    VQZ_TRY(read_info(s->settings, d, &info, diag));
    uint64_t pixels = (uint64_t)info.width * info.height;
    if (pixels > s->limits.max_pixels)
        return vqzi_fail(diag, VQZ_ERROR_LIMIT,
                         "has %ux%u pixels, more than the limit of %llu; raise it with "
                         "--max-pixels %llu",
                         info.width, info.height, (unsigned long long)s->limits.max_pixels,
                         (unsigned long long)pixels);
    VQZ_TRY(session_check_format(d->format, info.channels, diag));
    VQZ_TRY(
        models_by_hash(s->models, info.model_hash, s->settings->model, j->input, &d->model, diag));
    VQZ_TRY(worker_context(w, &context, diag));
    VQZ_TRY(read_metadata(d, diag));
    d->spread = info.channels == 1 && strcmp(d->format, "ppm") == 0;
    const region *crop = &s->settings->crop;
    vqz_decode_options options;
    vqz_decode_options_init(&options);
    options.x = crop->x;
    options.y = crop->y;
    options.width = crop->width;
    options.height = crop->height;
    options.partial = !d->whole;
    d->facts.image.width = crop->width > 0 ? crop->width : info.width;
    d->facts.image.height = crop->width > 0 ? crop->height : info.height;
    d->facts.image.channels = d->spread ? 3 : info.channels;
    return vqz_decoder_create_with(&d->decoder, context, d->model, d->file, d->size, &options,
                                   diag);
}

static vqz_status decode(worker *w, const job *j, decompression *d, vqz_diag *diag) {
    const vqz_image *image = &d->facts.image;
    picture_format format = strcmp(d->format, "png") == 0 ? PICTURE_PNG : PICTURE_PNM;
    size_t stride = (size_t)image->width * image->channels;
    size_t decoded = d->spread ? image->width : stride; /* bytes of a row */
    uint32_t band = session_band(stride, image->height);
    d->band = malloc(stride * band);
    if (d->band == NULL)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory");
    w->at_output = true;
    VQZ_TRY(file_create(&d->output, j->output, w->session->settings->force, diag));
    VQZ_TRY(picture_writer_open(&d->writer, &d->facts, format, d->output, diag));
    for (uint32_t y = 0, count; y < image->height; y += count) {
        count = VQZI_MIN(band, image->height - y);
        w->at_output = false;
        VQZ_TRY(vqz_decoder_read(d->decoder, d->band, decoded, count, diag));
        w->at_output = true;
        if (d->spread)
            spread_gray(d->band, decoded * count);
        VQZ_TRY(picture_writer_rows(d->writer, d->band, stride, count, diag));
    }
    VQZ_TRY(picture_writer_finish(d->writer, diag));
    return file_commit(d->output, diag);
}

/* What is missing of a file that is not whole. */
static void report_partial(worker *w, const job *j, const decompression *d) {
    const char *name = report_input_name(j->input);
    uint64_t found, codes;
    vqz_decoder_get_found(d->decoder, &found, &codes);
    if (found == codes)
        report_warning(&w->report, name,
                       "its checksum is missing or wrong: all of its codes are there, and may be "
                       "damaged");
    else
        report_warning(&w->report, name,
                       "is cut short or damaged: its %zu bytes hold %.1f%% of the codes (%llu of "
                       "%llu)",
                       d->size, 100.0 * (double)found / (double)codes, (unsigned long long)found,
                       (unsigned long long)codes);
}

/* Why --rm must not take the source, or NULL. */
static const char *reason_to_keep(const decompression *d) {
    vqz_info info;
    if (!d->whole || vqz_read_info(d->file, d->size, &info, NULL) != VQZ_OK)
        return "it is not whole";
    if (strcmp(d->format, "png") != 0 && info.icc_size + info.exif_size > 0)
        return "its ICC profile or EXIF data are in PNG alone";
    return NULL;
}

static void close_file(worker *w, decompression *d) {
    picture_writer_close(d->writer);
    file_close(d->output);
    free(d->band);
    vqz_decoder_free(d->decoder);
    models_return(w->session->models, d->model);
    vqz_free(d->facts.icc);
    vqz_free(d->facts.exif);
    free(d->file);
}

static vqz_status decompress_one(worker *w, const job *j, size_t index, vqz_diag *diag) {
    (void)index;
    const settings *set = w->session->settings;
    double start = session_clock();
    decompression d = {.format = session_format(w->session, j->output)};
    file_mark mark;
    file_mark_source(&mark, j->input);
    w->at_output = true;
    VQZ_TRY(job_prepare(j, set->force, diag));
    w->at_output = false;

    vqz_status status = file_read(j->input, w->session->max_file, &d.file, &d.size, diag);
    if (status == VQZ_OK)
        status = open_file(w, j, &d, diag);
    if (status == VQZ_OK)
        status = decode(w, j, &d, diag);
    if (status == VQZ_OK && !d.whole)
        report_partial(w, j, &d);
    if (status == VQZ_OK)
        report_result(&w->report, report_input_name(j->input), "%ux%u, %.2f s, %s",
                      d.facts.image.width, d.facts.image.height, session_clock() - start,
                      report_output_name(j->output));
    if (status == VQZ_OK)
        status = worker_remove_source(w, j, &mark, reason_to_keep(&d), diag);
    close_file(w, &d);
    return status;
}

int run_decompress(const settings *s, int count, char **operands) {
    /* --format names the extension of what is written beside the sources */
    const job_rules rules = {.extensions = vqz_extensions,
                             .what = ".vqz files",
                             .new_extension = s->format != NULL ? s->format : "png",
                             .output = s->output,
                             .recursive = s->recursive};
    int code = session_check_removal(s);
    return code != EXIT_DONE
               ? code
               : session_run_command(s, &rules, count, operands, &(task){.run = decompress_one});
}

/* ---- vqz test ---- */

static vqz_status test_model(worker *w, const decompression *d, vqz_diag *diag) {
    vqz_model *model;
    VQZ_TRY(vqz_model_load(&model, d->file, d->size, &w->session->limits, diag));
    vqz_model_free(model);
    return VQZ_OK;
}

static vqz_status test_picture(worker *w, const job *j, decompression *d, vqz_diag *diag) {
    const vqz_image *image = &d->facts.image;
    double start = session_clock();
    VQZ_TRY(open_file(w, j, d, diag));
    VQZ_TRY(session_decode_all(d->decoder, image->width, image->height, image->channels, diag));
    report_note(&w->report, report_input_name(j->input), "%ux%u, %u channels, %zu bytes, %.2f s",
                image->width, image->height, image->channels, d->size, session_clock() - start);
    return VQZ_OK;
}

static vqz_status test_one(worker *w, const job *j, size_t index, vqz_diag *diag) {
    (void)index;
    decompression d = {.format = "png"}; /* which holds all that a file can */
    vqz_status status = file_read(j->input, w->session->max_file, &d.file, &d.size, diag);
    if (status == VQZ_OK)
        status = d.size >= 3 && memcmp(d.file, "VQM", 3) == 0 ? test_model(w, &d, diag)
                                                              : test_picture(w, j, &d, diag);
    close_file(w, &d);
    return status;
}

static void tell_good(session *s, const task *t, const job *j, size_t index) {
    (void)t;
    (void)index;
    if (s->settings->quiet)
        return;
    text_print_safe(stdout, report_input_name(j->input));
    puts(": good");
    fflush(stdout); /* in order with the lines about files that are not */
}

int run_verify(const settings *s, int count, char **operands) {
    static const char *const extensions[] = {"vqz", "vqm", NULL};
    const job_rules rules = {
        .extensions = extensions, .what = ".vqz or .vqm files", .recursive = s->recursive};
    return session_run_command(s, &rules, count, operands,
                               &(task){.run = test_one, .done = tell_good});
}
