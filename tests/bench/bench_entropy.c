/*
 * bench_entropy.c - how far files are from what the prior says that their codes cost: real files of
 * both entropy coders beside the cross-entropy of the float networks that the integer prior was
 * exported from, over the same codes.  Per level of the model, over crops of the pictures of a folder.
 *
 *   bench_entropy [-n crops] [-c side] model.vqm preset folder
 *
 * The preset is the one that the model was trained with.  Prints a Markdown table.
 */
#include "trainer/train.c" /* its state is private to it */
#include "cli/file.h"
#include "cli/picture.h"
#include "tests/bench/common.h"

typedef struct settings {
    const char *model, *preset, *folder;
    int crops, side;
} settings;

typedef struct totals {
    double rans, zstd, entropy; /* bytes */
} totals;

static void need_ok(vqz_status status, const vqz_diag *diag) {
    if (status != VQZ_OK)
        bench_die("%s", diag->message[0] ? diag->message : vqz_status_string(status));
}

/* The model as `vqz train --init` takes it, with room for one crop. */
static trainer *open_trainer(const settings *s, const vqz_model *model, const void *data,
                             size_t size) {
    vqz_model_info info;
    vqz_model_get_info(model, &info);
    vqz_diag diag = {""};
    trainer *t = bench_alloc(sizeof *t);
    progress *report = NULL;
    train_options_init(&t->options);
    t->options.paths = &s->folder;
    t->options.path_count = 1;
    t->options.preset = s->preset;
    t->options.channels = (int)info.channels;
    t->options.precision = "float32";
    t->options.threads = omp_get_num_procs();
    t->options.steps = 1;
    t->options.batch = 1;
    t->options.crop = s->side;
    t->options.holdout = 0;
    t->options.read = picture_read_pixels;
    t->options.output = "";
    t->options.quiet = true;
    t->options.init = s->model;
    t->options.init_data = data;
    t->options.init_size = size;
    t->cluster = cluster_alone();
    need_ok(progress_create(&report, &t->options, &diag), &diag);
    need_ok(trainer_set_up(t, report, &diag), &diag);
    progress_free(report);
    return t;
}

static size_t encode(vqz_context *context, const vqz_model *model, const vqz_image *image,
                     int quality, int entropy, void **file) {
    vqz_encode_options options;
    vqz_diag diag = {""};
    size_t size;
    vqz_encode_options_init(&options);
    options.quality = quality;
    options.entropy = entropy;
    need_ok(vqz_encode(context, model, image, &options, file, &size, &diag), &diag);
    return size;
}

/* Latents that the codes stand for, and for which they are the nearest. */
static void place_codes(trainer *t, const uint16_t *codes, int level) {
    size_t D = (size_t)t->spec.latent_channels;
    const float *steps = quantiser_steps_log(t->quantiser, level);
    memset(t->latent, 0, t->positions * D * sizeof *t->latent);
    for (int p = 0; p < t->spec.plane_count; p++) {
        const plane_spec *plane = &t->spec.planes[p];
        const float *book = quantiser_book(t->quantiser, p, level);
        for (size_t n = 0; n < t->positions; n++) {
            int code = codes[(size_t)p * t->positions + n];
            for (int d = 0; d < plane->dims; d++) {
                float value = plane->scalar ? (float)(code - plane->codes / 2)
                                            : book[code * plane->dims + d];
                size_t c = (size_t)plane->channels[d];
                t->latent[n * D + c] += value * expf(steps[c]);
            }
        }
    }
}

/* Bits of the codes under the float prior. */
static double cross_entropy(trainer *t, const uint16_t *codes, int level) {
    static const float free_of_charge[VQZI_MAX_LEVELS];
    vqz_diag diag = {""};
    t->levels[0] = level;
    place_codes(t, codes, level);
    need_ok(quantiser_assign(t->quantiser, t->latent, t->positions, t->per_sample, t->levels,
                             free_of_charge, t->indices, t->quantised),
            &diag);
    need_ok(prior_assign(t->prior, t->latent, t->levels, free_of_charge, t->indices, t->quantised,
                         t->bits),
            &diag);
    if (memcmp(t->indices, codes, (size_t)t->spec.plane_count * t->positions * sizeof *codes) != 0)
        bench_die("the float quantiser takes other codes");
    return t->bits[0];
}

static totals measure_level(trainer *t, vqz_context *context, const vqz_model *model,
                            const settings *s, int level) {
    totals sum = {0};
    uint32_t channels = (uint32_t)t->spec.channels, side = (uint32_t)t->crop;
    vqz_image image = {side, side, channels, (size_t)side * channels, t->pixels};
    size_t count = (size_t)t->spec.plane_count * t->positions;
    uint16_t *codes = bench_alloc(count * sizeof *codes);
    for (int i = 0; i < s->crops; i++) {
        void *rans, *zstd;
        vqz_diag diag = {""};
        measure_crop(t, i, t->pixels);
        int quality = level_quality(&t->spec, level);
        size_t size = encode(context, model, &image, quality, VQZ_ENTROPY_RANS, &rans);
        need_ok(vqz_read_codes(context, model, rans, size, codes, count, &diag), &diag);
        sum.rans += (double)size;
        sum.zstd += (double)encode(context, model, &image, quality, VQZ_ENTROPY_ZSTD, &zstd);
        sum.entropy += cross_entropy(t, codes, level) / 8;
        vqz_free(rans);
        vqz_free(zstd);
    }
    free(codes);
    return sum;
}

int main(int argc, char **argv) {
    settings s = {.crops = 24, .side = 512};
    for (int letter; (letter = getopt(argc, argv, "n:c:")) != -1;)
        if (letter == 'n')
            s.crops = VQZI_MAX(atoi(optarg), 1);
        else if (letter == 'c')
            s.side = VQZI_MAX(atoi(optarg), 1);
        else
            return 2;
    if (optind + 3 != argc) {
        fputs("usage: bench_entropy [-n crops] [-c side] model.vqm preset folder\n", stderr);
        return 2;
    }
    s.model = argv[optind];
    s.preset = argv[optind + 1];
    s.folder = argv[optind + 2];

    void *data;
    size_t size;
    vqz_diag diag = {""};
    vqz_context *context;
    if (file_read(s.model, (size_t)1 << 28, &data, &size, &diag) != VQZ_OK)
        bench_die("%s: %s", s.model, diag.message);
    vqz_model *model = bench_load_model(s.model);
    need_ok(vqz_context_create(&context, NULL, &diag), &diag);
    trainer *t = open_trainer(&s, model, data, size);
    printf("| -q | bytes, rANS | cross-entropy | rANS over it | bytes, zstd | zstd over rANS |\n"
           "| ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for (int level = 0; level < t->spec.levels; level++) {
        totals sum = measure_level(t, context, model, &s, level);
        printf("| %d | %.0f | %.0f | %+.1f %% | %.0f | %+.1f %% |\n",
               level_quality(&t->spec, level), sum.rans / s.crops, sum.entropy / s.crops,
               100 * (sum.rans / sum.entropy - 1), sum.zstd / s.crops,
               100 * (sum.zstd / sum.rans - 1));
    }
    trainer_clear(t);
    free(t);
    vqz_context_free(context);
    vqz_model_free(model);
    free(data);
    return 0;
}
