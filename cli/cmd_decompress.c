/*
 * cmd_decompress.c - vqz decompress: .vqz files back to PNG or PNM pictures.
 */
#include "cli/commands.h"
#include "cli/file.h"
#include "cli/session.h"
#include "cli/text.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The kind of picture to write: --format, else the extension of the output, else PNG. */
static const char *format_word(const settings *set, const char *output) {
    static const char *const words[] = { "png", "pnm", "pgm", "ppm", "pam", NULL };
    if (set->format != NULL)
        return set->format;
    const char *extension = path_extension(output);
    for (size_t i = 0; words[i] != NULL; i++)
        if (strcasecmp(extension, words[i]) == 0)
            return words[i];
    return "png";
}

/* Told before the work: .pgm and .ppm say what is in them. */
static vqz_status check_format(const char *format, uint32_t channels, vqz_diag *diag) {
    bool alpha = channels == 2 || channels == 4, colour = channels >= 3;
    if (alpha && (strcmp(format, "pgm") == 0 || strcmp(format, "ppm") == 0))
        return vqzi_fail(diag, VQZ_ERROR_UNSUPPORTED,
                         "has alpha, which %s cannot hold; write png or pam", format);
    if (colour && strcmp(format, "pgm") == 0)
        return vqzi_fail(diag, VQZ_ERROR_UNSUPPORTED,
                         "is in colour, which pgm cannot hold; write png or ppm");
    return VQZ_OK;
}

/* Gray pixels at the front of a buffer three times as large, spread to RGB from the end. */
static void spread_gray(vqz_image *image) {
    size_t count = (size_t)image->width * image->height;
    for (size_t i = count; i-- > 0;)
        memset(image->pixels + 3 * i, image->pixels[i], 3);
    image->channels = 3;
    image->stride = (size_t)image->width * 3;
}

/* Fills p, whose pixels are malloc'ed and whose metadata come from the library. */
static vqz_status decode(session *s, const job *j, const void *file, size_t size,
                         const char *format, picture *p, vqz_diag *diag) {
    vqz_info info;
    const vqz_model *model;
    vqz_context *context;
    VQZ_TRY(vqz_read_info(file, size, &info, diag));
    uint64_t pixels = (uint64_t)info.width * info.height;
    if (pixels > s->limits.max_pixels)
        return vqzi_fail(diag, VQZ_ERROR_LIMIT,
                         "has %ux%u pixels, more than the limit of %llu; raise it with "
                         "--max-pixels %llu",
                         info.width, info.height, (unsigned long long)s->limits.max_pixels,
                         (unsigned long long)pixels);
    VQZ_TRY(check_format(format, info.channels, diag));
    VQZ_TRY(models_by_hash(s->models, info.model_hash, s->settings->model, j->input, &model, diag));
    VQZ_TRY(session_context(s, &context, diag));

    bool spread = info.channels == 1 && strcmp(format, "ppm") == 0;
    size_t bytes;
    if (!vqzi_mul((size_t)pixels, spread ? 3 : info.channels, &bytes) ||
        (p->image.pixels = malloc(bytes)) == NULL)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "no memory for %ux%u pixels", info.width,
                         info.height);
    p->image.width = info.width;
    p->image.height = info.height;
    p->image.channels = info.channels;
    p->image.stride = (size_t)info.width * info.channels;
    VQZ_TRY(vqz_decode(context, model, file, size, &p->image, diag));
    if (spread)
        spread_gray(&p->image);
    if (strcmp(format, "png") != 0)
        return VQZ_OK; /* PNM holds no metadata */
    void *icc = NULL, *exif = NULL;
    vqz_status status = vqz_read_metadata(file, size, VQZ_METADATA_ICC, &icc, &p->icc_size, diag);
    p->icc = icc;
    if (status == VQZ_OK)
        status = vqz_read_metadata(file, size, VQZ_METADATA_EXIF, &exif, &p->exif_size, diag);
    p->exif = exif;
    return status;
}

static vqz_status decompress_one(session *s, const job *j, bool *at_output, vqz_diag *diag) {
    const settings *set = s->settings;
    *at_output = true;
    VQZ_TRY(job_prepare(j, set->force, diag));
    *at_output = false;

    const char *format = format_word(set, j->output);
    double start = session_clock();
    void *file, *output = NULL;
    size_t size, output_size = 0;
    VQZ_TRY(file_read(j->input, s->max_file, &file, &size, diag));
    picture p = { .image = { .pixels = NULL } };
    vqz_status status = decode(s, j, file, size, format, &p, diag);
    free(file);
    if (status == VQZ_OK)
        status = picture_serialise(&p, strcmp(format, "png") == 0 ? PICTURE_PNG : PICTURE_PNM,
                                   &output, &output_size, diag);
    free(p.image.pixels);
    vqz_free(p.icc);
    vqz_free(p.exif);
    if (status != VQZ_OK)
        return status;
    *at_output = true;
    status = file_write(j->output, output, output_size, set->force, diag);
    free(output);
    if (status == VQZ_OK)
        report_result(&s->report, report_input_name(j->input), "%ux%u, %.2f s, %s", p.image.width,
                      p.image.height, session_clock() - start, report_output_name(j->output));
    return status;
}

int run_decompress(const settings *s, int count, char **operands) {
    /* --format names the extension of what is written beside the sources */
    const job_rules rules = { .extensions = vqz_extensions,
                              .what = ".vqz files",
                              .new_extension = s->format != NULL ? s->format : "png",
                              .output = s->output,
                              .recursive = s->recursive };
    return session_run_jobs(s, &rules, count, operands, decompress_one);
}
