/*
 * train.c - a training run: the steps, the loop around them, and the model at the end.
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
#include "trainer/progress.h"
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
                             const volatile sig_atomic_t *stop, vqz_diag *diag) {
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
                      const volatile sig_atomic_t *stop, vqz_diag *diag) {
    VQZ_TRY(trainer_set_up(t, report, diag));
    if (t->options.resume)
        VQZ_TRY(checkpoint_load(t, checkpoint, diag));
    VQZ_TRY(progress_start(report, t, diag));
    VQZ_TRY(train_loop(t, report, checkpoint, stop, diag));

    vqzi_model model = {0};
    quantiser_sort(t->quantiser);
    vqz_status status = export_model(t, &model, diag);
    if (status == VQZ_OK)
        status = train_dictionaries(t, &model, diag);
    if (status == VQZ_OK)
        status = finish_model(t, &model, report, diag);
    vqzi_model_clear(&model);
    if (status == VQZ_OK)
        unlink(checkpoint);
    return status;
}

vqz_status train_run(const train_options *options, const volatile sig_atomic_t *stop, vqz_diag *diag) {
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
