/*
 * cmd_compress.c - vqz compress: pictures to .vqz files.
 */
#include "cli/commands.h"
#include "cli/file.h"
#include "cli/session.h"
#include "cli/text.h"

static vqz_status compress_one(session *s, const job *j, bool *at_output, vqz_diag *diag) {
    const settings *set = s->settings;
    /* what cannot be written need not be compressed */
    *at_output = true;
    VQZ_TRY(job_prepare(j, set->force, diag));
    *at_output = false;

    const vqz_model *model;
    vqz_context *context;
    VQZ_TRY(models_by_name(s->models, set->model, &model, diag));
    VQZ_TRY(session_context(s, &context, diag));

    picture p;
    size_t source_size, size;
    void *file;
    double start = session_clock();
    VQZ_TRY(session_read_picture(s, j->input, &p, &source_size, diag));
    vqz_encode_options options;
    vqz_encode_options_init(&options);
    options.quality = set->quality;
    if (!set->strip) {
        options.icc = p.icc;
        options.icc_size = p.icc_size;
        options.exif = p.exif;
        options.exif_size = p.exif_size;
    }
    uint32_t width = p.image.width, height = p.image.height;
    vqz_status status = vqz_encode(context, model, &p.image, &options, &file, &size, diag);
    picture_clear(&p);
    if (status != VQZ_OK)
        return status;
    *at_output = true;
    status = file_write(j->output, file, size, set->force, diag);
    vqz_free(file);
    if (status != VQZ_OK)
        return status;
    char before[24], after[24];
    text_bytes(before, source_size);
    text_bytes(after, size);
    report_result(&s->report, report_input_name(j->input),
                  "%ux%u, %s to %s (%.3f bpp), %.2f s, %s", width, height, before, after,
                  8.0 * (double)size / ((double)width * height), session_clock() - start,
                  report_output_name(j->output));
    return VQZ_OK;
}

int run_compress(const settings *s, int count, char **operands) {
    const job_rules rules = { .extensions = picture_extensions,
                              .what = "pictures",
                              .new_extension = "vqz",
                              .output = s->output,
                              .recursive = s->recursive };
    return session_run_jobs(s, &rules, count, operands, compress_one);
}
