/*
 * setup.c - from options to a trainer that is ready for its first step: pictures, settings, networks,
 * buffers, and parameters to start from.
 */
#include "trainer/pca.h"
#include "trainer/progress.h"
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static vqz_status load_corpus(trainer *t, progress *report, vqz_diag *diag) {
    const train_options *o = &t->options;
    corpus_options options = {.paths = o->paths,
                              .path_count = o->path_count,
                              .channels = o->channels,
                              .holdout = o->holdout < 0 ? 0.05 : o->holdout,
                              .seed = o->seed,
                              .memory_budget = o->memory_budget ? o->memory_budget : (size_t)4 << 30,
                              .min_side = 8,
                              .threads = o->threads,
                              .read = o->read,
                              .skipped = progress_skipped,
                              .user = report};
    memcpy(options.background, o->background, sizeof options.background);
    VQZ_TRY(corpus_load(&t->corpus, &options, diag));
    corpus_get_stats(t->corpus, &t->corpus_stats);
    return VQZ_OK;
}

static vqz_status resolve_settings(trainer *t, vqz_diag *diag) {
    const train_options *o = &t->options;
    train_settings *s = &t->settings;
    VQZ_TRY(preset_build(o->preset, t->corpus_stats.channels, o->codes, o->latent_channels, &t->spec,
                         s, diag));
    if (o->batch)
        s->batch = o->batch;
    if (o->crop)
        s->crop = o->crop;
    if (o->learning_rate > 0)
        s->learning_rate = (float)o->learning_rate;
    if (o->min_scale > 0)
        s->min_scale = (float)o->min_scale;
    if (o->beta >= 0)
        s->beta = (float)o->beta;
    if (o->warm >= 0 && s->warm_part > 0)
        s->warm_part = (float)o->warm;
    for (int level = 0; level < t->spec.levels; level++)
        s->lambdas[level] *= (float)o->lambda;
    if (o->codebook)
        s->ema = strcmp(o->codebook, "ema") == 0;
    if (o->codebook && !s->ema && strcmp(o->codebook, "loss") != 0)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "--codebook %s: a codebook is trained by \"ema\" or by \"loss\"",
                         o->codebook);
    bool squares = strcmp(o->loss, "mse") == 0;
    if (!squares && strcmp(o->loss, "msssim") != 0 && strcmp(o->loss, "mix") != 0)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "--loss %s: give mse, msssim or mix", o->loss);
    if (!squares && s->crop < SIMILARITY_LEAST_SIDE)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "--loss %s takes crops of %d pixels at least; give a larger --crop", o->loss,
                         SIMILARITY_LEAST_SIDE);
    if (s->batch < 1 || s->batch > MAX_BATCH)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "a batch of %d crops: give 1 to %d", s->batch,
                         MAX_BATCH);
    if (s->crop < t->spec.stride || s->crop > 1024 || s->crop % t->spec.stride != 0)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "crops of %d pixels: give a multiple of %d from %d to 1024", s->crop,
                         t->spec.stride, t->spec.stride);
    if (!(s->learning_rate > 0 && s->learning_rate <= 1) || !(s->min_scale > 0 && s->min_scale <= 1))
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "learning rate and smallest scale must lie in (0, 1]");
    if (!(o->seconds > 0) && o->steps == 0)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "how long to train is not said: give --time 20m or --steps N");
    return VQZ_OK;
}

static vqz_status create_backend(trainer *t, vqz_diag *diag) {
    const char *wanted = t->options.precision ? t->options.precision : "auto";
    if (strcmp(wanted, "float32") == 0)
        return backend_create(&t->backend, PRECISION_FLOAT32, t->options.threads, diag);
    if (strcmp(wanted, "bfloat16") == 0)
        return backend_create(&t->backend, PRECISION_BFLOAT16, t->options.threads, diag);
    if (strcmp(wanted, "auto") != 0)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "--precision %s: give auto, float32 or bfloat16", wanted);
    /* bfloat16 measured faster wherever the processor has it, at equal held-out PSNR. */
    vqz_status status = backend_create(&t->backend, PRECISION_BFLOAT16, t->options.threads, NULL);
    return status == VQZ_ERROR_UNSUPPORTED
               ? backend_create(&t->backend, PRECISION_FLOAT32, t->options.threads, diag)
               : status;
}

static vqz_status allocate(trainer *t, vqz_diag *diag) {
    t->batch = t->settings.batch;
    t->whole_batch = t->batch * t->cluster.size;
    t->crop = t->settings.crop;
    t->latent_side = t->crop / t->spec.stride;
    t->per_sample = (size_t)t->latent_side * (size_t)t->latent_side;
    t->positions = (size_t)t->batch * t->per_sample;
    t->values = (size_t)t->batch * (size_t)t->crop * (size_t)t->crop * (size_t)t->spec.channels;
    VQZ_TRY(network_create(&t->analysis, &t->spec.analysis, t->backend, t->batch, t->crop, t->crop,
                           true, diag));
    VQZ_TRY(network_create(&t->synthesis, &t->spec.synthesis, t->backend, t->batch, t->latent_side,
                           t->latent_side, true, diag));
    VQZ_TRY(quantiser_create(&t->quantiser, &t->spec, t->backend,
                             VQZI_MAX(t->positions, INIT_CROPS * t->per_sample), diag));
    VQZ_TRY(prior_create(&t->prior, &t->spec, t->backend, t->quantiser, t->batch, t->latent_side,
                         diag));
    t->synthesis_offset = t->spec.analysis.parameter_count;
    t->prior_offset = t->synthesis_offset + t->spec.synthesis.parameter_count;
    t->quantiser_offset = t->prior_offset + prior_parameter_count(t->prior);
    t->parameter_count = t->quantiser_offset + quantiser_parameter_count(t->quantiser);
    VQZ_TRY(optimiser_create(&t->optimiser, t->parameter_count,
                             t->quantiser_offset + quantiser_books_offset(t->quantiser),
                             t->settings.adam_beta2, diag));

    if (strcmp(t->options.loss, "mse") != 0 &&
        similarity_create(&t->similarity, t->crop, t->spec.channels, omp_get_max_threads()) !=
            VQZ_OK)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for the loss");
    size_t latents = t->positions * (size_t)t->spec.latent_channels;
    for (int p = 0; p < t->spec.plane_count; p++)
        t->epoch_count_size += (size_t)t->spec.levels * (size_t)t->spec.planes[p].codes;
    t->parameters = calloc(t->parameter_count, sizeof(float));
    size_t whole = (size_t)t->whole_batch;
    t->gradients = calloc(t->parameter_count + SHARED_COUNT + 2 * whole +
                              quantiser_statistics_count(t->quantiser),
                          sizeof(float));
    t->pixels = malloc(t->values);
    t->input = malloc(t->values * sizeof(float));
    t->output = malloc(t->values * sizeof(float));
    t->grad_output = malloc(t->values * sizeof(float));
    t->latent = malloc(latents * sizeof(float));
    t->quantised = malloc(latents * sizeof(float));
    t->grad_latent = malloc(latents * sizeof(float));
    t->grad_quantised = malloc(latents * sizeof(float));
    t->indices = malloc((size_t)t->spec.plane_count * t->positions * sizeof(uint16_t));
    t->levels = calloc((size_t)t->batch, sizeof(int));
    t->whole_levels = calloc(whole, sizeof(int));
    t->weights = malloc((size_t)t->batch * sizeof(float));
    t->bits = calloc((size_t)t->batch, sizeof *t->bits);
    t->epoch_counts = calloc(t->epoch_count_size, sizeof *t->epoch_counts);
    if (!t->parameters || !t->gradients || !t->pixels || !t->input || !t->output ||
        !t->grad_output || !t->latent || !t->quantised || !t->grad_latent || !t->grad_quantised ||
        !t->indices || !t->levels || !t->whole_levels || !t->weights || !t->bits ||
        !t->epoch_counts)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY,
                         "out of memory for a batch of %d crops of %d pixels; give smaller ones",
                         t->batch, t->crop);
    t->shared = t->gradients + t->parameter_count;
    t->errors = t->shared + SHARED_COUNT;
    t->dissimilarities = t->errors + whole;
    t->statistics = t->dissimilarities + whole;
    quantiser_bind(t->quantiser, t->parameters + t->quantiser_offset);
    prior_bind(t->prior, t->parameters + t->prior_offset);
    return VQZ_OK;
}

static crop_options crops_of(const trainer *t) {
    return (crop_options){
        .size = t->crop, .min_scale = t->settings.min_scale, .flip = !t->options.no_flip};
}

void take_crops(trainer *t, uint64_t draw, int first, int step) {
    crop_options crops = crops_of(t);
    corpus_crops_of(t->corpus, draw, first, step, &crops, t->batch, t->options.threads, t->pixels);
    pixels_to_input(t->pixels, t->values, t->input);
}

/* Variance of the training pixels in [-1, 1], around their mean, from some crops. */
static void measure_variance(trainer *t) {
    double sum = 0, squares = 0;
    enum { CROPS = 256 }; /* however large the batch is */
    size_t per = t->values / (size_t)t->batch;
    uint64_t draw = random_next(&t->run.random);
    for (int first = 0; first < CROPS; first += t->batch) {
        take_crops(t, draw, first, 1);
        for (size_t n = 0; n < per * (size_t)VQZI_MIN(t->batch, CROPS - first); n++) {
            sum += t->input[n];
            squares += (double)t->input[n] * t->input[n];
        }
    }
    double count = (double)per * CROPS, mean = sum / count;
    t->variance = fmax(squares / count - mean * mean, 1e-4);
}

static vqz_status init_parameters(trainer *t) {
    const model_spec *spec = &t->spec;
    float *analysis = t->parameters, *synthesis = t->parameters + t->synthesis_offset;
    network_init_parameters(&spec->analysis, 1.0f, &t->run.random, analysis);
    network_init_parameters(&spec->synthesis, 1.0f, &t->run.random, synthesis);
    bool linear = spec->analysis_linear >= 0;
    if (linear) {
        crop_options crops = crops_of(t);
        VQZ_TRY(pca_initialise(spec, t->corpus, &crops, &t->run.random, t->options.threads,
                               analysis, synthesis));
        /* The CNN branches start silent, so that the first picture is the PCA's. */
        const network_spec *nets[2] = {&spec->analysis, &spec->synthesis};
        float *parameters[2] = {analysis, synthesis};
        for (int i = 0; i < 2; i++)
            for (int j = nets[i]->layer_count - 1; j >= 0; j--) {
                const layer *l = &nets[i]->layers[j];
                if (l->kind != LAYER_CONV || l->add < 0)
                    continue;
                size_t weights = (size_t)l->cout * (size_t)(l->kernel * l->kernel) * (size_t)l->cin;
                bool last = j + 2 >= nets[i]->layer_count;
                for (size_t w = 0; w < weights; w++) /* residual branches start small */
                    parameters[i][l->weights + w] *= last ? (i == 0 ? 0.0f : 0.1f) : 0.3f;
            }
    }
    quantiser_init(t->quantiser, t->settings.lambdas, &t->run.random);
    t->run.hard = t->settings.warm_part <= 0;
    for (int level = 0; level < spec->levels; level++) {
        t->run.level_error[level] = fmax(t->settings.lambdas[level] * 0.3, 1e-4);
        t->run.level_dissimilarity[level] = 0.1;
    }
    return VQZ_OK;
}

/* The prior reads latents in units of their deviations around zero, over all levels. */
static vqz_status init_prior(trainer *t) {
    enum { CROPS = 64 }; /* however large the batch is */
    size_t D = (size_t)t->spec.latent_channels;
    double squares[VQZI_MAX_LATENT_CHANNELS] = {0};
    float deviations[VQZI_MAX_LATENT_CHANNELS];
    uint64_t draw = random_next(&t->run.random);
    for (int first = 0; first < CROPS; first += t->batch) {
        size_t count = (size_t)VQZI_MIN(t->batch, CROPS - first) * t->per_sample;
        take_crops(t, draw, first, 1);
        for (int i = 0; i < t->batch; i++)
            t->levels[i] = (first + i) % t->spec.levels;
        VQZ_TRY(network_forward(t->analysis, t->parameters, t->input, t->levels, t->latent));
        for (size_t n = 0; n < count; n++)
            for (size_t c = 0; c < D; c++)
                squares[c] += (double)t->latent[n * D + c] * t->latent[n * D + c];
    }
    for (size_t c = 0; c < D; c++)
        deviations[c] = (float)sqrt(squares[c] / (CROPS * (double)t->per_sample));
    prior_init(t->prior, deviations, &t->run.random);
    return VQZ_OK;
}

static void make_fingerprint(trainer *t) {
    const train_settings *s = &t->settings;
    snprintf(t->fingerprint, sizeof t->fingerprint,
             "preset %s, processes %d, channels %d, latent channels %d, codes %d, batch %d, crop %d, lr %g, "
             "scale %g, flip %d, beta %g, warm %g, lambda %g, codebook %s, loss %s, precision %s, seed %llu, steps %llu, "
             "seconds %g, pictures %zu, pixels %llu, background %02x%02x%02x, init %s",
             t->spec.name, t->cluster.size, t->spec.channels, t->spec.latent_channels,
             t->spec.planes[t->spec.plane_count - 1].codes, s->batch, s->crop, s->learning_rate,
             s->min_scale, !t->options.no_flip, s->beta, s->warm_part, t->options.lambda, s->ema ? "ema" : "loss", t->options.loss,
             backend_precision(t->backend) == PRECISION_BFLOAT16 ? "bfloat16" : "float32",
             (unsigned long long)t->options.seed,
             (unsigned long long)t->options.steps, t->options.seconds, t->corpus_stats.pictures,
             (unsigned long long)t->corpus_stats.pixels, t->options.background[0],
             t->options.background[1], t->options.background[2], t->options.init ? t->options.init : "none");
}

vqz_status trainer_set_up(trainer *t, progress *report, vqz_diag *diag) {
    const train_options *o = &t->options;
    VQZ_TRY(load_corpus(t, report, diag));
    VQZ_TRY(resolve_settings(t, diag));
    VQZ_TRY(create_backend(t, diag));
    VQZ_TRY(allocate(t, diag));
    make_fingerprint(t);
    random_seed(&t->run.random, o->seed);
    measure_variance(t);
    vqz_status status = init_parameters(t);
    if (status != VQZ_OK)
        return vqzi_fail(diag, status, "cannot initialise the networks");
    bool prior_known = false;
    if (o->init_data && !o->resume)
        VQZ_TRY(import_model(t, o->init_data, o->init_size, &prior_known, diag));
    if (prior_known && o->warm > 0 && t->settings.warm_part > 0)
        t->run.hard = 0;
    if (!prior_known && init_prior(t) != VQZ_OK)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "cannot initialise the prior");
    return VQZ_OK;
}

void trainer_clear(trainer *t) {
    network_free(t->analysis);
    network_free(t->synthesis);
    prior_free(t->prior);
    similarity_free(t->similarity);
    quantiser_free(t->quantiser);
    optimiser_clear(&t->optimiser);
    backend_free(t->backend);
    corpus_free(t->corpus);
    void *buffers[] = {t->parameters, t->gradients,   t->pixels,         t->input,   t->output,
                       t->grad_output, t->latent,     t->quantised,      t->grad_latent,
                       t->grad_quantised, t->indices, t->levels,         t->weights,
                       t->epoch_counts, t->whole_levels, t->bits};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        free(buffers[i]);
}
