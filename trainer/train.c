/*
 * train.c - a training run from options to model: set-up, the loop, and what happens around it.
 *
 * One step: random crops -> analysis -> quantiser -> synthesis -> losses -> gradients -> Adam.  The
 * total loss is
 *
 *   sum_i w_i ( MSE_i + lambda_l bits_i / n + beta ||z_i - sg[e_i]||^2 / n )      photo
 *   MSE / variance + beta mean (z - sg[e])^2 ( + mean (sg[z] - e)^2 )             classic
 *
 * where w_i is 1 / running MSE of the sample's level, n the values of a sample, bits the rate under
 * the quantiser's logistic models.  The codebook loss appears when codebooks are not EMA.
 */
#include "trainer/trainer.h"
#include "trainer/pca.h"
#include "trainer/progress.h"
#include <errno.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    WARM_UP_STEPS = 100,
    RESTART_STEPS = 100,   /* between searches for dead codes */
    DEAD_USES = 2,         /* fewer in that many steps: dead */
    INIT_BATCHES = 4       /* of latents a codebook is initialised from */
};

void train_options_init(train_options *o) {
    *o = (train_options){.preset = "photo",
                         .beta = -1,
                         .lambda = 1,
                         .background = {255, 255, 255},
                         .seed = 1,
                         .holdout = -1};
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* ---- set-up ---- */

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
    for (int level = 0; level < t->spec.levels; level++)
        s->lambdas[level] *= (float)o->lambda;
    if (o->codebook)
        s->ema = strcmp(o->codebook, "ema") == 0;
    if (o->codebook && !s->ema && strcmp(o->codebook, "loss") != 0)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "--codebook %s: a codebook is trained by \"ema\" or by \"loss\"",
                         o->codebook);
    if (s->batch < 1 || s->batch > 1024)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "a batch of %d crops: give 1 to 1024", s->batch);
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
    t->crop = t->settings.crop;
    t->latent_side = t->crop / t->spec.stride;
    t->per_sample = (size_t)t->latent_side * (size_t)t->latent_side;
    t->positions = (size_t)t->batch * t->per_sample;
    t->values = (size_t)t->batch * (size_t)t->crop * (size_t)t->crop * (size_t)t->spec.channels;
    VQZ_TRY(network_create(&t->analysis, &t->spec.analysis, t->backend, t->batch, t->crop, t->crop,
                           true, diag));
    VQZ_TRY(network_create(&t->synthesis, &t->spec.synthesis, t->backend, t->batch, t->latent_side,
                           t->latent_side, true, diag));
    VQZ_TRY(quantiser_create(&t->quantiser, &t->spec, t->backend, INIT_BATCHES * t->positions, diag));
    t->synthesis_offset = t->spec.analysis.parameter_count;
    t->quantiser_offset = t->synthesis_offset + t->spec.synthesis.parameter_count;
    t->parameter_count = t->quantiser_offset + quantiser_parameter_count(t->quantiser);
    VQZ_TRY(optimiser_create(&t->optimiser, t->parameter_count,
                             t->quantiser_offset + quantiser_books_offset(t->quantiser),
                             t->settings.adam_beta2, diag));

    size_t latents = t->positions * (size_t)t->spec.latent_channels;
    for (int p = 0; p < t->spec.plane_count; p++)
        t->epoch_count_size += (size_t)t->spec.levels * (size_t)t->spec.planes[p].codes;
    t->parameters = calloc(t->parameter_count, sizeof(float));
    t->gradients = calloc(t->parameter_count, sizeof(float));
    t->statistics = malloc(quantiser_statistics_count(t->quantiser) * sizeof(float));
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
    t->weights = malloc((size_t)t->batch * sizeof(float));
    t->epoch_counts = calloc(t->epoch_count_size, sizeof *t->epoch_counts);
    if (!t->parameters || !t->gradients || !t->statistics || !t->pixels || !t->input || !t->output ||
        !t->grad_output || !t->latent || !t->quantised || !t->grad_latent || !t->grad_quantised ||
        !t->indices || !t->levels || !t->weights || !t->epoch_counts)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY,
                         "out of memory for a batch of %d crops of %d pixels; give smaller ones",
                         t->batch, t->crop);
    quantiser_bind(t->quantiser, t->parameters + t->quantiser_offset);
    return VQZ_OK;
}

static crop_options crops_of(const trainer *t) {
    return (crop_options){
        .size = t->crop, .min_scale = t->settings.min_scale, .flip = !t->options.no_flip};
}

static void next_crops(trainer *t) {
    crop_options crops = crops_of(t);
    corpus_crops(t->corpus, &t->run.random, &crops, t->batch, t->options.threads, t->pixels);
    pixels_to_input(t->pixels, t->values, t->input);
}

/* Variance of the training pixels in [-1, 1], around their mean, from a few batches. */
static void measure_variance(trainer *t) {
    double sum = 0, squares = 0;
    enum { BATCHES = 8 };
    for (int i = 0; i < BATCHES; i++) {
        next_crops(t);
        for (size_t n = 0; n < t->values; n++) {
            sum += t->input[n];
            squares += (double)t->input[n] * t->input[n];
        }
    }
    double count = (double)t->values * BATCHES, mean = sum / count;
    t->variance = fmax(squares / count - mean * mean, 1e-4);
}

static vqz_status init_parameters(trainer *t) {
    const model_spec *spec = &t->spec;
    float deviations[VQZI_MAX_LATENT_CHANNELS];
    float *analysis = t->parameters, *synthesis = t->parameters + t->synthesis_offset;
    network_init_parameters(&spec->analysis, 1.0f, &t->run.random, analysis);
    network_init_parameters(&spec->synthesis, 1.0f, &t->run.random, synthesis);
    bool linear = spec->analysis_linear >= 0;
    if (linear) {
        crop_options crops = crops_of(t);
        VQZ_TRY(pca_initialise(spec, t->corpus, &crops, &t->run.random, t->options.threads,
                               analysis, synthesis, deviations));
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
    quantiser_init(t->quantiser, t->settings.lambdas, linear ? deviations : NULL, &t->run.random);
    t->run.hard = t->settings.warm_part <= 0;
    for (int level = 0; level < spec->levels; level++)
        t->run.level_error[level] = fmax(t->settings.lambdas[level] * 0.3, 1e-4);
    return VQZ_OK;
}

static void make_fingerprint(trainer *t) {
    const train_settings *s = &t->settings;
    snprintf(t->fingerprint, sizeof t->fingerprint,
             "preset %s, channels %d, latent channels %d, codes %d, batch %d, crop %d, lr %g, "
             "scale %g, flip %d, beta %g, lambda %g, codebook %s, precision %d, seed %llu, steps %llu, "
             "seconds %g, pictures %zu, pixels %llu, init %s",
             t->spec.name, t->spec.channels, t->spec.latent_channels,
             t->spec.planes[t->spec.plane_count - 1].codes, s->batch, s->crop, s->learning_rate,
             s->min_scale, !t->options.no_flip, s->beta, t->options.lambda, s->ema ? "ema" : "loss",
             (int)backend_precision(t->backend), (unsigned long long)t->options.seed,
             (unsigned long long)t->options.steps, t->options.seconds, t->corpus_stats.pictures,
             (unsigned long long)t->corpus_stats.pixels, t->options.init ? t->options.init : "none");
}

static void trainer_clear(trainer *t) {
    network_free(t->analysis);
    network_free(t->synthesis);
    quantiser_free(t->quantiser);
    optimiser_clear(&t->optimiser);
    backend_free(t->backend);
    corpus_free(t->corpus);
    void *buffers[] = {t->parameters, t->gradients,   t->pixels,         t->input,   t->output,
                       t->grad_output, t->latent,     t->quantised,      t->grad_latent,
                       t->grad_quantised, t->indices, t->levels,         t->weights,
                       t->epoch_counts, t->statistics};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        free(buffers[i]);
}

/* ---- the loop ---- */

static double progress_of(const trainer *t) {
    double part = t->options.steps ? (double)t->run.step / (double)t->options.steps
                                   : t->run.seconds / t->options.seconds;
    return fmin(part, 1);
}

static float learning_rate_at(const trainer *t) {
    double part = progress_of(t), start = t->settings.constant_part;
    /* Each phase starts gently: Adam's second moments know nothing of a new loss yet. */
    double warm = fmin(1, (double)(t->run.step - t->run.phase_step + 1) / WARM_UP_STEPS);
    double decay = part < start ? 1 : 0.5 * (1 + cos(M_PI * (part - start) / (1 - start)));
    return (float)(t->settings.learning_rate * warm * (0.01 + 0.99 * decay));
}

/* Every level equally often, in random order. */
static void draw_levels(trainer *t) {
    int levels = t->spec.levels, order[VQZI_MAX_LEVELS];
    for (int i = 0; i < t->batch; i++) {
        if (i % levels == 0) {
            for (int k = 0; k < levels; k++)
                order[k] = k;
            for (int k = levels - 1; k > 0; k--) {
                int j = (int)random_below(&t->run.random, (uint32_t)k + 1), swap = order[k];
                order[k] = order[j];
                order[j] = swap;
            }
        }
        t->levels[i] = order[i % levels];
    }
}

/* From noise to codes: codebooks start from the latents of several batches, level by level. */
static vqz_status start_hard_phase(trainer *t) {
    size_t latents = t->positions * (size_t)t->spec.latent_channels;
    float *gathered = malloc(INIT_BATCHES * latents * sizeof *gathered);
    vqz_status status = gathered ? VQZ_OK : VQZ_ERROR_MEMORY;
    for (int level = 0; level < t->spec.levels && status == VQZ_OK; level++) {
        for (int i = 0; i < t->batch; i++)
            t->levels[i] = level;
        for (size_t b = 0; b < INIT_BATCHES && status == VQZ_OK; b++) {
            next_crops(t);
            status = network_forward(t->analysis, t->parameters, t->input, t->levels,
                                     gathered + b * latents);
        }
        if (status == VQZ_OK)
            status = quantiser_init_books(t->quantiser, gathered, INIT_BATCHES * t->positions, level,
                                          t->settings.lambdas, &t->run.random);
    }
    free(gathered);
    t->run.hard = 1;
    t->run.phase_step = t->run.step;
    return status;
}

/* Squared error per sample; grad_output = d loss / d output.  Returns the weighted loss. */
static double reconstruction_loss(trainer *t, const double *sample_weights, double *errors) {
    size_t per = t->values / (size_t)t->batch;
#pragma omp parallel for schedule(static)
    for (int i = 0; i < t->batch; i++) {
        double sum = 0;
        float scale = (float)(2 * sample_weights[i] / (double)per);
        for (size_t n = (size_t)i * per; n < (size_t)(i + 1) * per; n++) {
            float difference = t->output[n] - t->input[n];
            sum += (double)difference * difference;
            t->grad_output[n] = scale * difference;
        }
        errors[i] = sum / (double)per;
    }
    double loss = 0;
    for (int i = 0; i < t->batch; i++)
        loss += sample_weights[i] * errors[i];
    return loss;
}

static vqz_status train_step(trainer *t, loss_parts *parts, bool *accepted) {
    const train_settings *s = &t->settings;
    int batch = t->batch, D = t->spec.latent_channels;
    double per = (double)t->values / batch, errors[1024], sample_weights[1024];
    uint64_t noise_seeds[1024];
    float *quantiser_gradients = t->gradients + t->quantiser_offset;
    *parts = (loss_parts){0};

    next_crops(t);
    draw_levels(t);
    double rate_bits = 0, mean_weight = s->normalise_levels ? 0 : 1 / t->variance;
    for (int i = 0; i < batch; i++)
        sample_weights[i] =
            (s->normalise_levels ? 1 / t->run.level_error[t->levels[i]] : mean_weight) / batch;

    VQZ_TRY(network_forward(t->analysis, t->parameters, t->input, t->levels, t->latent));
    bool rate = s->lambdas[0] > 0;
    if (!t->run.hard) {
        for (int i = 0; i < batch; i++)
            noise_seeds[i] = random_next(&t->run.random);
        rate_bits = quantiser_scalar_forward(t->quantiser, t->latent, t->positions, t->per_sample,
                                             t->levels, noise_seeds, t->quantised);
    } else {
        VQZ_TRY(quantiser_assign(t->quantiser, t->latent, t->positions, t->per_sample, t->levels,
                                 s->lambdas, t->indices, t->quantised));
        if (rate)
            rate_bits = quantiser_hard_rate(t->quantiser, t->quantised, t->positions, t->per_sample,
                                            t->levels);
    }
    VQZ_TRY(network_forward(t->synthesis, t->parameters + t->synthesis_offset, t->quantised,
                            t->levels, t->output));

    parts->reconstruction = reconstruction_loss(t, sample_weights, errors);
    VQZ_TRY(network_backward(t->synthesis, t->parameters + t->synthesis_offset, t->grad_output,
                             t->gradients + t->synthesis_offset, t->grad_quantised));
    memset(quantiser_gradients, 0,
           (t->parameter_count - t->quantiser_offset) * sizeof *t->gradients);
    /* Straight through: the latent takes the gradient of its quantised value. */
    memcpy(t->grad_latent, t->grad_quantised, t->positions * (size_t)D * sizeof *t->grad_latent);
    if (rate) {
        for (int i = 0; i < batch; i++)
            t->weights[i] = (float)(sample_weights[i] * s->lambdas[t->levels[i]] / per);
        quantiser_rate_backward(t->quantiser, t->latent, t->positions, t->per_sample, t->levels,
                                t->weights, t->run.hard ? NULL : t->grad_quantised, t->grad_latent,
                                quantiser_gradients);
    }
    if (t->run.hard) {
        double mean = 1.0 / ((double)t->positions * D); /* classic: mean over latents */
        for (int i = 0; i < batch; i++)
            t->weights[i] = (float)(s->normalise_levels ? sample_weights[i] / per : mean);
        parts->commitment =
            s->beta * quantiser_commitment(t->latent, t->quantised, t->positions, t->per_sample, D,
                                           t->weights, s->beta, t->grad_latent);
        if (!s->ema) {
            quantiser_codebook_backward(t->quantiser, t->indices, t->positions, t->per_sample,
                                        t->levels, t->weights, quantiser_gradients);
            parts->codebook = s->beta > 0 ? parts->commitment / s->beta : 0;
        }
    }
    VQZ_TRY(network_backward(t->analysis, t->parameters, t->grad_latent, t->gradients, NULL));

    parts->rate_bpp = rate_bits / ((double)batch * t->crop * t->crop);
    parts->total = parts->reconstruction + parts->commitment + parts->codebook;
    *accepted = optimiser_step(&t->optimiser, t->parameters, t->gradients, parts->total,
                               learning_rate_at(t), &parts->norm);
    if (!*accepted)
        return VQZ_OK;
    if (t->run.hard) {
        quantiser_gather(t->quantiser, t->indices, t->positions, t->per_sample, t->levels,
                         t->statistics);
        quantiser_update(t->quantiser, t->statistics, s->ema);
    }
    for (int i = 0; i < batch; i++)
        t->run.level_error[t->levels[i]] += 0.02 * (errors[i] - t->run.level_error[t->levels[i]]);
    return VQZ_OK;
}

static void restart_dead_codes(trainer *t) {
    t->run.restarted += quantiser_find_dead(t->quantiser, (size_t)t->batch, t->per_sample,
                                            t->levels, 0, 1, t->settings.lambdas, DEAD_USES,
                                            &t->run.random, t->statistics);
    quantiser_restart(t->quantiser, t->statistics);
}

/* Counts codes until the crops have covered the corpus once, then reports and starts anew. */
static void follow_epoch(trainer *t) {
    count_codes(t, t->positions, t->epoch_counts);
    t->run.epoch_pixels += (uint64_t)t->batch * (uint64_t)t->crop * (uint64_t)t->crop;
    if (t->run.epoch_pixels < t->corpus_stats.pixels)
        return;
    double usage = 0, perplexity = 0;
    for (int level = 0; level < t->spec.levels; level++) {
        double u, v;
        measure_usage(&t->spec, t->epoch_counts, level, &u, &v);
        usage += u / t->spec.levels;
        perplexity += v / t->spec.levels;
    }
    t->run.epoch_usage = usage;
    t->run.epoch_perplexity = perplexity;
    t->run.epoch_pixels = 0;
    memset(t->epoch_counts, 0, t->epoch_count_size * sizeof *t->epoch_counts);
}

static vqz_status train_loop(trainer *t, progress *report, const char *checkpoint,
                             const volatile int *stop, vqz_diag *diag) {
    double interval = t->options.checkpoint_seconds > 0 ? t->options.checkpoint_seconds : 120;
    double last = now(), last_checkpoint = last;
    while (progress_of(t) < 1) {
        if (!t->run.hard && progress_of(t) >= t->settings.warm_part)
            VQZ_TRY(start_hard_phase(t));
        loss_parts parts;
        bool accepted;
        VQZ_TRY(train_step(t, &parts, &accepted));
        t->run.step++;
        t->run.skipped += !accepted;
        t->run.pixels += (uint64_t)t->batch * (uint64_t)t->crop * (uint64_t)t->crop;
        if (t->run.hard) {
            follow_epoch(t);
            if (t->run.step % RESTART_STEPS == 0 && progress_of(t) < 0.8)
                restart_dead_codes(t);
        }
        double time = now();
        t->run.seconds += time - last;
        VQZ_TRY(progress_step(report, t, &parts, progress_of(t)));
        bool stopping = stop && *stop;
        if (stopping || time - last_checkpoint >= interval) {
            t->run.log_size = progress_log_size(report);
            VQZ_TRY(checkpoint_save(t, checkpoint, diag));
            last_checkpoint = time;
        }
        if (stopping)
            return vqzi_fail(diag, VQZ_ERROR_IO,
                             "stopped at step %llu; the same command with --resume continues",
                             (unsigned long long)t->run.step);
        last = now(); /* measuring and checkpoints do not count as training */
    }
    return VQZ_OK;
}

static vqz_status run(trainer *t, progress *report, const char *checkpoint,
                      const volatile int *stop, vqz_diag *diag) {
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
    if (o->resume)
        VQZ_TRY(checkpoint_load(t, checkpoint, diag));
    else if (o->init_data)
        VQZ_TRY(import_model(t, o->init_data, o->init_size, diag));
    VQZ_TRY(progress_start(report, t, diag));
    VQZ_TRY(train_loop(t, report, checkpoint, stop, diag));

    vqzi_model model = {0};
    quantiser_sort(t->quantiser);
    status = export_model(t, &model, diag);
    if (status == VQZ_OK)
        status = train_dictionaries(t, &model, diag);
    if (status == VQZ_OK)
        status = finish_model(t, &model, report, diag);
    vqzi_model_clear(&model);
    if (status == VQZ_OK)
        unlink(checkpoint);
    return status;
}

vqz_status train_run(const train_options *options, const volatile int *stop, vqz_diag *diag) {
    if (!options->force && !options->resume && access(options->output, F_OK) == 0)
        return vqzi_fail(diag, VQZ_ERROR_IO, "%s exists; -f overwrites it", options->output);
    trainer *t = calloc(1, sizeof *t);
    size_t length = strlen(options->output) + 6;
    char *checkpoint = malloc(length);
    progress *report = NULL;
    vqz_status status = VQZ_ERROR_MEMORY;
    if (t && checkpoint) {
        t->options = *options;
        if (t->options.threads <= 0)
            t->options.threads = omp_get_num_procs();
        omp_set_num_threads(t->options.threads);
        snprintf(checkpoint, length, "%s.ckpt", options->output);
        status = progress_create(&report, options, diag);
        if (status == VQZ_OK)
            status = run(t, report, checkpoint, stop, diag);
        progress_free(report);
        trainer_clear(t);
    } else {
        status = vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory");
    }
    if (status != VQZ_OK && diag && !diag->message[0])
        vqzi_fail(diag, status, "training failed: %s", vqz_status_string(status));
    free(checkpoint);
    free(t);
    return status;
}
