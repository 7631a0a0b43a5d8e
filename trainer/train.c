/*
 * train.c - a training run: the steps, the loop around them, and the model at the end.
 *
 * One step: random crops -> analysis -> quantiser -> synthesis -> losses -> gradients -> Adam.  The
 * total loss is
 *
 *   sum_i w_i ( MSE_i + lambda_l bits_i / n + beta ||z_i - sg[e_i]||^2 / n )      photo
 *   MSE / variance + beta mean (z - sg[e])^2 ( + mean (sg[z] - e)^2 )             classic
 *     + MIN_LAMBDA of the bits, which train its prior alone
 *
 * (with --loss msssim or mix, 1 - MS-SSIM takes the place of MSE, or of half of it, scaled to it), where
 * w_i is 1 / running MSE of the sample's level, n the values of a sample, bits the rate under
 * the prior.  The codebook loss appears when codebooks are not EMA.
 *
 * Several processes (cluster.h) each take a share of the batch and add up, once a step, everything
 * that a step changes the state by.  Whatever follows from the sums, from the seed or from the leader's
 * clock is then decided alike everywhere, so that all processes hold the same state.
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
    DEAD_USES = 2          /* fewer in that many steps: dead */
};

void train_options_init(train_options *o) {
    *o = (train_options){.preset = "photo",
                         .loss = "mse",
                         .beta = -1,
                         .warm = -1,
                         .lambda = 1,
                         .background = {255, 255, 255},
                         .seed = 1,
                         .holdout = -1};
}

/* The prior is trained for models without a rate constraint too, by bits of this weight. */
static const float MIN_LAMBDA = 1e-3f;

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
    for (int i = 0; i < t->whole_batch; i++) {
        if (i % levels == 0) {
            for (int k = 0; k < levels; k++)
                order[k] = k;
            for (int k = levels - 1; k > 0; k--) {
                int j = (int)random_below(&t->run.random, (uint32_t)k + 1), swap = order[k];
                order[k] = order[j];
                order[j] = swap;
            }
        }
        t->whole_levels[i] = order[i % levels];
    }
    for (int i = 0; i < t->batch; i++)
        t->levels[i] = t->whole_levels[t->cluster.rank + i * t->cluster.size];
}

/* One seed a sample of the whole batch; seeds (batch) receives those of this process. */
static void draw_noise_seeds(trainer *t, uint64_t *seeds) {
    int rank = t->cluster.rank, size = t->cluster.size;
    for (int i = 0; i < t->whole_batch; i++) {
        uint64_t seed = random_next(&t->run.random);
        if (i % size == rank)
            seeds[i / size] = seed;
    }
}

/* From noise to codes: codebooks start from the latents of random crops, level by level.  Every process
   takes the same ones, whatever its batch. */
static vqz_status start_hard_phase(trainer *t) {
    bool vectors = false;
    for (int p = 0; p < t->spec.plane_count; p++)
        vectors = vectors || !t->spec.planes[p].scalar;
    t->run.hard = 1;
    t->run.phase_step = t->run.step;
    if (!vectors)
        return VQZ_OK; /* the books of scalar planes are the integers */
    size_t latents = t->positions * (size_t)t->spec.latent_channels;
    int batches = (INIT_CROPS + t->batch - 1) / t->batch;
    float *gathered = malloc((size_t)batches * latents * sizeof *gathered);
    vqz_status status = gathered ? VQZ_OK : VQZ_ERROR_MEMORY;
    for (int level = 0; level < t->spec.levels && status == VQZ_OK; level++) {
        uint64_t draw = random_next(&t->run.random);
        for (int i = 0; i < t->batch; i++)
            t->levels[i] = level;
        for (int b = 0; b < batches && status == VQZ_OK; b++) {
            take_crops(t, draw, b * t->batch, 1);
            status = network_forward(t->analysis, t->parameters, t->input, t->levels,
                                     gathered + (size_t)b * latents);
        }
        if (status == VQZ_OK)
            status = quantiser_init_books(t->quantiser, gathered, INIT_CROPS * t->per_sample, level,
                                          t->settings.lambdas, &t->run.random);
    }
    free(gathered);
    return status;
}

/* Colours of transparent pixels are right whatever they are: those of the crop take the place of the
   output's, or they have no gradient. */
static void hide_colours(const trainer *t, size_t begin, size_t end, float *values, bool gradient) {
    for (size_t n = begin; n < end; n += 4)
        if (t->input[n + 3] == -1)
            for (size_t c = 0; c < 3; c++)
                values[n + c] = gradient ? 0 : t->input[n + c];
}

/* Errors per sample; grad_output = d loss / d output.  Returns the weighted loss, which is of the squared
   errors, or of dissimilarities that count as much as the squared errors of their level do on average,
   or of half of each. */
static double reconstruction_loss(trainer *t, const double *sample_weights) {
    size_t per = t->values / (size_t)t->batch;
    double losses[MAX_BATCH];
    bool similar = t->similarity != NULL;
    double squares_part = !similar ? 1 : strcmp(t->options.loss, "mix") == 0 ? 0.5 : 0;
#pragma omp parallel for schedule(static)
    for (int i = 0; i < t->batch; i++) {
        size_t begin = (size_t)i * per;
        double sum = 0, dissimilarity = 0;
        float scale = (float)(2 * squares_part * sample_weights[i] / (double)per);
        if (t->spec.channels == 4)
            hide_colours(t, begin, begin + per, t->output, false);
        for (size_t n = begin; n < begin + per; n++) {
            float difference = t->output[n] - t->input[n];
            sum += (double)difference * difference;
            t->grad_output[n] = scale * difference;
        }
        double error = sum / (double)per;
        losses[i] = squares_part * sample_weights[i] * error;
        if (similar) {
            int level = t->levels[i];
            double weight = (1 - squares_part) * sample_weights[i] * t->run.level_error[level] /
                            t->run.level_dissimilarity[level];
            dissimilarity =
                similarity_loss(t->similarity, omp_get_thread_num(), t->output + begin,
                                t->input + begin, (float)weight, t->grad_output + begin);
            losses[i] += weight * dissimilarity;
            if (t->spec.channels == 4)
                hide_colours(t, begin, begin + per, t->grad_output, true);
        }
        int sample = t->cluster.rank + i * t->cluster.size;
        t->errors[sample] = (float)error;
        t->dissimilarities[sample] = (float)dissimilarity;
    }
    double loss = 0;
    for (int i = 0; i < t->batch; i++)
        loss += losses[i];
    return loss;
}

/* This process's share of the gradients, and of all else that is added up. */
static vqz_status compute_step(trainer *t) {
    const train_settings *s = &t->settings;
    int batch = t->batch, D = t->spec.latent_channels;
    double per = (double)t->values / batch, sample_weights[MAX_BATCH];
    float *quantiser_gradients = t->gradients + t->quantiser_offset;

    take_crops(t, random_next(&t->run.random), t->cluster.rank, t->cluster.size);
    draw_levels(t);
    double rate_bits = 0, rate_loss = 0, mean_weight = s->normalise_levels ? 0 : 1 / t->variance;
    for (int i = 0; i < batch; i++)
        sample_weights[i] =
            (s->normalise_levels ? 1 / t->run.level_error[t->levels[i]] : mean_weight) /
            t->whole_batch;

    VQZ_TRY(network_forward(t->analysis, t->parameters, t->input, t->levels, t->latent));
    if (!t->run.hard) {
        uint64_t noise_seeds[MAX_BATCH];
        draw_noise_seeds(t, noise_seeds);
        VQZ_TRY(prior_noisy(t->prior, t->latent, t->levels, noise_seeds, t->quantised, t->bits));
    } else {
        VQZ_TRY(quantiser_assign(t->quantiser, t->latent, t->positions, t->per_sample, t->levels,
                                 s->lambdas, t->indices, t->quantised));
        VQZ_TRY(prior_assign(t->prior, t->latent, t->levels, s->lambdas, t->indices, t->quantised,
                             t->bits));
        quantiser_gather(t->quantiser, t->indices, t->positions, t->per_sample, t->levels,
                         t->statistics);
    }
    for (int i = 0; i < batch; i++)
        rate_bits += t->bits[i];
    VQZ_TRY(network_forward(t->synthesis, t->parameters + t->synthesis_offset, t->quantised,
                            t->levels, t->output));

    t->shared[SHARED_RECONSTRUCTION] = (float)reconstruction_loss(t, sample_weights);
    VQZ_TRY(network_backward(t->synthesis, t->parameters + t->synthesis_offset, t->grad_output,
                             t->gradients + t->synthesis_offset, t->grad_quantised));
    memset(quantiser_gradients, 0,
           (t->parameter_count - t->quantiser_offset) * sizeof *t->gradients);
    for (int i = 0; i < batch; i++) {
        float lambda = s->lambdas[t->levels[i]];
        t->weights[i] = (float)(sample_weights[i] * (lambda > 0 ? lambda : MIN_LAMBDA) / per);
        rate_loss += (double)t->weights[i] * t->bits[i];
    }
    size_t latents = t->positions * (size_t)D;
    memset(t->grad_latent, 0, latents * sizeof *t->grad_latent);
    /* The bits of vector planes train the prior alone. */
    VQZ_TRY(prior_backward(t->prior, t->latent, t->levels, t->weights,
                           t->spec.planes[0].scalar ? t->grad_quantised : NULL, t->grad_latent,
                           t->run.hard ? NULL : quantiser_gradients,
                           t->gradients + t->prior_offset));
    /* Straight through: the latent takes the gradient of its quantised value. */
    for (size_t n = 0; n < latents; n++)
        t->grad_latent[n] += t->grad_quantised[n];
    if (t->run.hard) {
        /* classic: mean over the latents of the whole batch */
        double mean = 1.0 / ((double)t->whole_batch * (double)t->per_sample * D);
        for (int i = 0; i < batch; i++)
            t->weights[i] = (float)(s->normalise_levels ? sample_weights[i] / per : mean);
        double commitment =
            s->beta * quantiser_commitment(t->latent, t->quantised, t->positions, t->per_sample, D,
                                           t->weights, s->beta, t->grad_latent);
        t->shared[SHARED_COMMITMENT] = (float)commitment;
        if (!s->ema) {
            quantiser_codebook_backward(t->quantiser, t->indices, t->positions, t->per_sample,
                                        t->levels, t->weights, quantiser_gradients);
            t->shared[SHARED_CODEBOOK] = (float)(s->beta > 0 ? commitment / s->beta : 0);
        }
    }
    VQZ_TRY(network_backward(t->analysis, t->parameters, t->grad_latent, t->gradients, NULL));
    t->shared[SHARED_RATE_LOSS] = (float)rate_loss;
    t->shared[SHARED_RATE] = (float)(rate_bits / ((double)t->whole_batch * t->crop * t->crop));
    return VQZ_OK;
}

/* Adds up what the processes computed.  One that failed takes part with zeros and says so. */
static void share_step(trainer *t, bool failed, bool stop, bool save, double seconds) {
    size_t told = t->parameter_count + SHARED_COUNT + 2 * (size_t)t->whole_batch;
    size_t count = told + (t->run.hard ? quantiser_statistics_count(t->quantiser) : 0);
    if (failed)
        memset(t->gradients, 0, count * sizeof *t->gradients);
    t->shared[SHARED_FAILED] = failed;
    t->shared[SHARED_STOP] = stop;
    t->shared[SHARED_SAVE] = save && cluster_leads(&t->cluster);
    t->shared[SHARED_SECONDS] = cluster_leads(&t->cluster) ? (float)seconds : 0;
    cluster_sum(&t->cluster, t->gradients, count);
}

/* Moves parameters and codebooks by the sums. */
static void apply_step(trainer *t, loss_parts *parts) {
    const float *shared = t->shared;
    *parts = (loss_parts){.reconstruction = shared[SHARED_RECONSTRUCTION],
                          .commitment = shared[SHARED_COMMITMENT],
                          .codebook = shared[SHARED_CODEBOOK],
                          .rate_bpp = shared[SHARED_RATE]};
    parts->total = parts->reconstruction + parts->commitment + parts->codebook +
                   (double)shared[SHARED_RATE_LOSS];
    bool accepted = optimiser_step(&t->optimiser, t->parameters, t->gradients, parts->total,
                                   learning_rate_at(t), &parts->norm);
    if (accepted && t->run.hard)
        quantiser_update(t->quantiser, t->statistics, t->settings.ema);
    for (int i = 0; i < t->whole_batch && accepted; i++) {
        double *error = &t->run.level_error[t->whole_levels[i]];
        double *dissimilarity = &t->run.level_dissimilarity[t->whole_levels[i]];
        *error += 0.02 * (t->errors[i] - *error);
        *dissimilarity += 0.02 * (fmax(t->dissimilarities[i], 1e-6) - *dissimilarity);
    }
    t->run.step++;
    t->run.skipped += !accepted;
    t->run.pixels += (uint64_t)t->whole_batch * (uint64_t)t->crop * (uint64_t)t->crop;
    t->run.seconds += shared[SHARED_SECONDS];
}

static void restart_dead_codes(trainer *t) {
    t->run.restarted += quantiser_find_dead(
        t->quantiser, (size_t)t->whole_batch, t->per_sample, t->whole_levels,
        (size_t)t->cluster.rank, (size_t)t->cluster.size, t->settings.lambdas, DEAD_USES,
        &t->run.random, t->statistics);
    cluster_sum(&t->cluster, t->statistics, quantiser_statistics_count(t->quantiser));
    quantiser_restart(t->quantiser, t->statistics);
}

/* Counts codes until the crops have covered the corpus once, then reports and starts anew. */
static void follow_epoch(trainer *t) {
    for (size_t i = 0; i < t->epoch_count_size; i++) /* the counts follow what was seen a level */
        t->epoch_counts[i] += (uint64_t)t->statistics[(size_t)t->spec.levels + i];
    t->run.epoch_pixels += (uint64_t)t->whole_batch * (uint64_t)t->crop * (uint64_t)t->crop;
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

/* Processors of different kinds round differently, if only in exp(); the leader's state is then given
   to all again. */
static void hold_together(trainer *t, progress *report) {
    if (t->cluster.size == 1)
        return;
    uint32_t own = checkpoint_hash(t), first = own;
    cluster_copy(&t->cluster, &first, sizeof first);
    vqz_status same = own == first ? VQZ_OK : VQZ_ERROR_MODEL_MISMATCH;
    if (cluster_agree(&t->cluster, same, NULL) == VQZ_OK) {
        progress_note(report, "%d processes hold the same state (%08x)", t->cluster.size, first);
        return;
    }
    progress_say(report, "WARNING: the processes drifted apart; all go on from the first one's state");
    checkpoint_copy(t);
}

static vqz_status train_loop(trainer *t, progress *report, const char *checkpoint,
                             const volatile sig_atomic_t *stop, vqz_diag *diag) {
    const cluster *c = &t->cluster;
    double interval = t->options.checkpoint_seconds > 0 ? t->options.checkpoint_seconds : 120;
    double last = now(), last_checkpoint = last;
    vqz_status status = VQZ_OK; /* of this process; all know after the next share_step */
    while (progress_of(t) < 1) {
        if (!t->run.hard && progress_of(t) >= t->settings.warm_part) {
            if (status == VQZ_OK)
                status = start_hard_phase(t);
            checkpoint_copy(t);
        }
        memset(t->shared, 0, (SHARED_COUNT + 2 * (size_t)t->whole_batch) * sizeof *t->shared);
        if (status == VQZ_OK)
            status = compute_step(t);
        double time = now();
        share_step(t, status != VQZ_OK, stop && *stop, time - last_checkpoint >= interval,
                   time - last);
        last = time;
        if (t->shared[SHARED_FAILED] > 0)
            return cluster_agree(c, status, diag);
        bool stopping = t->shared[SHARED_STOP] > 0, saving = t->shared[SHARED_SAVE] > 0;
        loss_parts parts;
        apply_step(t, &parts);
        if (t->run.hard) {
            follow_epoch(t);
            if (t->run.step % RESTART_STEPS == 0 && progress_of(t) < 0.8)
                restart_dead_codes(t);
        }
        time = now();
        if (cluster_leads(c))
            status = progress_step(report, t, &parts, progress_of(t));
        if (stopping || saving) {
            hold_together(t, report);
            last_checkpoint = now();
            if (cluster_leads(c) && status == VQZ_OK) {
                t->run.log_size = progress_log_size(report);
                status = checkpoint_save(t, checkpoint, diag);
            }
        }
        last += now() - time; /* measuring and checkpoints do not count as training */
        if (stopping) {
            VQZ_TRY(cluster_agree(c, status, diag));
            return vqzi_fail(diag, VQZ_ERROR_IO,
                             "stopped at step %llu; the same command with --resume continues",
                             (unsigned long long)t->run.step);
        }
    }
    hold_together(t, report);
    return cluster_agree(c, status, diag);
}

/* ---- around the loop ---- */

/* From set-up to the first step: the processes make sure that they train the same, and take the state
   of the leader, who alone may know a checkpoint. */
static vqz_status start(trainer *t, progress *report, const char *checkpoint, vqz_diag *diag) {
    const cluster *c = &t->cluster;
    char first[sizeof t->fingerprint];
    memcpy(first, t->fingerprint, sizeof first);
    cluster_copy(c, first, sizeof first);
    vqz_status status = VQZ_OK;
    if (strcmp(first, t->fingerprint) != 0)
        status = vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "other settings or another corpus than in the "
                           "first process; give all the same pictures and options");
    VQZ_TRY(cluster_agree(c, status, diag));
    if (cluster_leads(c)) {
        if (t->options.resume)
            status = checkpoint_load(t, checkpoint, diag);
        if (status == VQZ_OK)
            status = progress_start(report, t, diag);
    }
    VQZ_TRY(cluster_agree(c, status, diag));
    checkpoint_copy(t);
    return VQZ_OK;
}

static vqz_status make_model(trainer *t, progress *report, vqz_diag *diag) {
    vqzi_model model = {0};
    quantiser_sort(t->quantiser);
    vqz_status status = export_model(t, &model, diag);
    if (status == VQZ_OK)
        status = train_dictionaries(t, &model, diag);
    if (status == VQZ_OK)
        status = finish_model(t, &model, report, diag);
    vqzi_model_clear(&model);
    return status;
}

/* A launcher that does not bind its processes to processors leaves all of them to each. */
static int default_threads(const cluster *c) {
    int processors = omp_get_num_procs();
    return processors < sysconf(_SC_NPROCESSORS_ONLN) ? processors
                                                      : VQZI_MAX(1, processors / c->neighbours);
}

static vqz_status run(trainer *t, progress **report, const char *checkpoint,
                      const volatile sig_atomic_t *stop, vqz_diag *diag) {
    const train_options *o = &t->options;
    const cluster *c = &t->cluster;
    vqz_status status = VQZ_OK;
    if (cluster_leads(c) && !o->force && !o->resume && access(o->output, F_OK) == 0)
        status = vqzi_fail(diag, VQZ_ERROR_IO, "%s exists; -f overwrites it", o->output);
    else if (cluster_leads(c))
        status = progress_create(report, o, diag);
    VQZ_TRY(cluster_agree(c, status, diag));
    VQZ_TRY(cluster_agree(c, trainer_set_up(t, *report, diag), diag));
    VQZ_TRY(start(t, *report, checkpoint, diag));
    VQZ_TRY(train_loop(t, *report, checkpoint, stop, diag));
    if (cluster_leads(c)) {
        status = make_model(t, *report, diag);
        if (status == VQZ_OK)
            unlink(checkpoint);
    }
    return cluster_agree(c, status, diag);
}

vqz_status train_run(const train_options *options, const volatile sig_atomic_t *stop,
                     vqz_diag *diag) {
    trainer *t = calloc(1, sizeof *t);
    size_t length = strlen(options->output) + 6;
    char *checkpoint = malloc(length);
    progress *report = NULL;
    vqz_status status = t && checkpoint ? VQZ_OK : VQZ_ERROR_MEMORY;
    cluster c = options->cluster ? *options->cluster : cluster_alone();
    status = cluster_agree(&c, status, diag);
    if (status == VQZ_OK) {
        t->options = *options;
        t->cluster = c;
        if (t->options.threads <= 0)
            t->options.threads = default_threads(&c);
        omp_set_num_threads(t->options.threads);
        snprintf(checkpoint, length, "%s.ckpt", options->output);
        status = run(t, &report, checkpoint, stop, diag);
        progress_free(report);
        trainer_clear(t);
    }
    if (status != VQZ_OK && diag && !diag->message[0])
        vqzi_fail(diag, status, "training failed: %s", vqz_status_string(status));
    free(checkpoint);
    free(t);
    return status;
}
