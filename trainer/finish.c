/*
 * finish.c - the last stretch of a run: the integer model is measured with the real codec on held-out
 * pictures, gets its card, and is written.
 */
#include "trainer/progress.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { HELD_OUT_PICTURES = 24, CARD_SIZE = 8192 };
static const double WARN_LOSS_DB = 0.1;

/* Encodes and decodes one picture; adds its file size and returns its squared error. */
static vqz_status code_picture(vqz_context *context, const vqz_model *model, const vqz_image *image,
                               int quality, double *bytes, double *error, vqz_diag *diag) {
    void *file = NULL;
    size_t size = 0;
    vqz_image decoded = *image;
    vqz_encode_options options;
    vqz_encode_options_init(&options);
    options.quality = quality;
    decoded.stride = (size_t)image->width * image->channels;
    decoded.pixels = malloc(decoded.stride * image->height);
    if (!decoded.pixels)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory");
    vqz_status status = vqz_encode(context, model, image, &options, &file, &size, diag);
    if (status == VQZ_OK)
        status = vqz_decode(context, model, file, size, &decoded, diag);
    *error = 0;
    for (uint32_t y = 0; y < image->height && status == VQZ_OK; y++)
        *error += squared_error(image->pixels + y * image->stride,
                                decoded.pixels + y * decoded.stride, decoded.stride,
                                (int)image->channels);
    *bytes += (double)size;
    vqz_free(file);
    free(decoded.pixels);
    return status;
}

/* PSNR of the integer codec over the very crops that measure_holdout uses. */
static vqz_status integer_crops(trainer *t, vqz_context *context, const vqz_model *model, int level,
                                double *psnr, double *bpp, vqz_diag *diag) {
    uint32_t side = (uint32_t)t->crop, channels = (uint32_t)t->spec.channels;
    vqz_image image = {side, side, channels, (size_t)side * channels, t->pixels};
    double total = 0, bytes = 0;
    for (int i = 0; i < MEASURE_CROPS; i++) {
        double error;
        measure_crop(t, i, t->pixels);
        VQZ_TRY(code_picture(context, model, &image, level_quality(&t->spec, level), &bytes, &error,
                             diag));
        total += error;
    }
    *psnr = psnr_of(total, (double)MEASURE_CROPS * side * side * channels);
    *bpp = 8 * bytes / ((double)MEASURE_CROPS * side * side);
    return VQZ_OK;
}

typedef struct level_figures {
    double float_psnr, integer_psnr; /* over measuring crops, */
    double float_bpp, integer_bpp;   /* and what they cost */
    double psnr, bpp, bytes;         /* whole held-out pictures, averaged per picture */
    int pictures;
} level_figures;

static vqz_status whole_pictures(trainer *t, vqz_context *context, const vqz_model *model, int level,
                                 level_figures *figures, vqz_diag *diag) {
    size_t held = t->corpus_stats.holdout_pictures;
    size_t count = VQZI_MIN(held, (size_t)HELD_OUT_PICTURES);
    for (size_t i = 0; i < count; i++) {
        const vqz_image *image = corpus_holdout(t->corpus, i);
        double bytes = 0, error;
        double pixels = (double)image->width * image->height;
        VQZ_TRY(code_picture(context, model, image, level_quality(&t->spec, level), &bytes, &error,
                             diag));
        figures->psnr += psnr_of(error, pixels * image->channels) / (double)count;
        figures->bpp += 8 * bytes / pixels / (double)count;
        figures->bytes += bytes / (double)count;
    }
    figures->pictures = (int)count;
    return VQZ_OK;
}

/* Text for a JSON string: quotes, backslashes and control characters escaped. */
static void json_text(char *dst, size_t capacity, const char *text) {
    size_t n = 0;
    for (; *text && n + 7 < capacity; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            n += (size_t)snprintf(dst + n, capacity - n, "\\%c", c);
        else if (c < 32)
            n += (size_t)snprintf(dst + n, capacity - n, "\\u%04x", c);
        else
            dst[n++] = (char)c;
    }
    dst[n] = 0;
}

static const char *base_name(const char *path) {
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    size_t start = length;
    while (start > 0 && path[start - 1] != '/')
        start--;
    return path + start;
}

static vqz_status write_card(const trainer *t, vqzi_model *model, const level_figures *figures) {
    char *card = malloc(CARD_SIZE), name[256], license[512], date[32] = "";
    if (!card)
        return VQZ_ERROR_MEMORY;
    const train_options *o = &t->options;
    json_text(name, sizeof name, o->name ? o->name : base_name(o->paths[0]));
    json_text(license, sizeof license, o->license ? o->license : "");
    time_t seconds = time(NULL);
    struct tm utc;
    if (gmtime_r(&seconds, &utc))
        strftime(date, sizeof date, "%Y-%m-%d", &utc);
    int n = snprintf(
        card, CARD_SIZE,
        "{%s,\"corpus\":\"%s\",\"license\":\"%s\",\"date\":\"%s\",\"pictures\":%zu,"
        "\"corpus_pixels\":%llu,\"pixels_seen\":%llu,\"steps\":%llu,\"seconds\":%.0f,"
        "\"processes\":%d,\"batch\":%d,\"crop\":%d,\"learning_rate\":%g,\"beta\":%g,\"lambda_scale\":%g,"
        "\"min_scale\":%g,\"codebook\":\"%s\",\"loss\":\"%s\",\"precision\":\"%s\",\"seed\":%llu,\"held_out\":[",
        model->card, name, license, date, t->corpus_stats.pictures,
        (unsigned long long)t->corpus_stats.pixels, (unsigned long long)t->run.pixels,
        (unsigned long long)t->run.step, t->run.seconds, t->cluster.size, t->batch, t->crop,
        t->settings.learning_rate, t->settings.beta, o->lambda, t->settings.min_scale,
        t->settings.ema ? "ema" : "loss", o->loss,
        backend_precision(t->backend) == PRECISION_BFLOAT16 ? "bfloat16" : "float32",
        (unsigned long long)o->seed);
    for (int level = 0; level < t->spec.levels && n < CARD_SIZE; level++) {
        const level_figures *f = &figures[level];
        n += snprintf(card + n, (size_t)(CARD_SIZE - n),
                      "%s{\"quality\":%d,\"pictures\":%d,\"bpp\":%.4f,\"bytes\":%.0f,\"psnr\":%.3f,"
                      "\"float_minus_integer_db\":%.3f}",
                      level ? "," : "", level_quality(&t->spec, level), f->pictures, f->bpp,
                      f->bytes, f->psnr, f->float_psnr - f->integer_psnr);
    }
    if (n < CARD_SIZE)
        n += snprintf(card + n, (size_t)(CARD_SIZE - n), "]}");
    free(model->card);
    model->card = card;
    return n < CARD_SIZE ? VQZ_OK : VQZ_ERROR_LIMIT;
}

static vqz_status measure_model(trainer *t, const void *data, size_t size, level_figures *figures,
                                progress *report, vqz_diag *diag) {
    level_measure floats[VQZI_MAX_LEVELS];
    vqz_model *model = NULL;
    vqz_context *context = NULL;
    vqz_context_options options;
    vqz_context_options_init(&options);
    options.threads = t->options.threads;
    vqz_status status = measure_holdout(t, floats);
    if (status == VQZ_OK)
        status = vqz_model_load(&model, data, size, NULL, diag);
    if (status == VQZ_OK)
        status = vqz_context_create(&context, &options, diag);
    for (int level = 0; level < t->spec.levels && status == VQZ_OK; level++) {
        level_figures *f = &figures[level];
        f->float_psnr = floats[level].psnr;
        f->float_bpp = floats[level].bpp;
        status = integer_crops(t, context, model, level, &f->integer_psnr,
                               &f->integer_bpp, diag);
        if (status == VQZ_OK)
            status = whole_pictures(t, context, model, level, f, diag);
        if (status != VQZ_OK)
            break;
        /* Where bits count, the encoder chooses other codes than a training step does. */
        bool warn = t->settings.lambdas[level] == 0 &&
                    f->float_psnr - f->integer_psnr > WARN_LOSS_DB;
        progress_say(report,
                     "quality %3d: crops in floats %.2f dB, %.4f bpp, as files %.2f dB, %.4f bpp%s; %d "
                     "held-out pictures: %.4f bpp, %.0f bytes, %.2f dB; usage %.0f%%, perplexity %.1f",
                     level_quality(&t->spec, level), f->float_psnr, f->float_bpp, f->integer_psnr,
                     f->integer_bpp, warn ? " WARNING: integers cost over 0.1 dB" : "", f->pictures,
                     f->bpp, f->bytes, f->psnr, 100 * floats[level].usage,
                     floats[level].perplexity);
    }
    vqz_context_free(context);
    vqz_model_free(model);
    return status;
}

vqz_status finish_model(trainer *t, vqzi_model *model, progress *report, vqz_diag *diag) {
    level_figures figures[VQZI_MAX_LEVELS] = {{0}};
    void *data = NULL;
    size_t size = 0;
    progress_say(report, "trained %llu steps, %.1f megapixels in %.0f s; %llu steps skipped, %llu "
                         "codes restarted; measuring the integer model",
                 (unsigned long long)t->run.step, (double)t->run.pixels / 1e6, t->run.seconds,
                 (unsigned long long)t->run.skipped, (unsigned long long)t->run.restarted);
    vqz_status status = vqzi_model_serialise(model, &data, &size, diag);
    if (status == VQZ_OK)
        status = measure_model(t, data, size, figures, report, diag);
    free(data);
    data = NULL;
    if (status == VQZ_OK && (status = write_card(t, model, figures)) != VQZ_OK)
        vqzi_fail(diag, status, "cannot write the model's card");
    if (status == VQZ_OK)
        status = vqzi_model_serialise(model, &data, &size, diag);
    if (status == VQZ_OK)
        status = save_file(t, t->options.output, &(byte_span){data, size}, 1, diag);
    if (status == VQZ_OK)
        progress_say(report, "%s: %zu bytes, hash %02x%02x%02x%02x", t->options.output, size,
                     model->hash[0], model->hash[1], model->hash[2], model->hash[3]);
    free(data);
    return status;
}
