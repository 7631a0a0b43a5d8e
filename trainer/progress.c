/* progress.c - see progress.h. */
#include "trainer/progress.h"
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct progress {
    bool quiet, verbose, terminal;
    FILE *csv;
    char *csv_path;
    double last_line, line_interval, last_measure, measure_interval;
    loss_parts sums;
    double psnr_sum; /* of training crops, mean over the levels of the running errors */
    uint64_t summed;
    double measured_psnr, measured_bpp, measured_usage, measured_perplexity; /* mean over levels */
    bool line_open;
    uint64_t start_pixels;
    double start_seconds;
};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

vqz_status progress_create(progress **out, const train_options *options, vqz_diag *diag) {
    progress *p = calloc(1, sizeof *p);
    size_t length = strlen(options->output) + 5;
    if (p)
        p->csv_path = malloc(length);
    if (!p || !p->csv_path) {
        free(p);
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory");
    }
    snprintf(p->csv_path, length, "%s.csv", options->output);
    if (!options->force && !options->resume && access(p->csv_path, F_OK) == 0) {
        vqz_status status = vqzi_fail(diag, VQZ_ERROR_IO, "%s: the log of an earlier run is there; "
                                      "-f overwrites it", p->csv_path);
        progress_free(p);
        return status;
    }
    p->quiet = options->quiet;
    p->verbose = options->verbose;
    p->terminal = isatty(STDERR_FILENO);
    p->line_interval = options->log_seconds > 0 ? options->log_seconds : p->terminal ? 1 : 10;
    p->measure_interval = 10;
    *out = p;
    return VQZ_OK;
}

void progress_free(progress *p) {
    if (!p)
        return;
    if (p->line_open)
        fputc('\n', stderr);
    if (p->csv)
        fclose(p->csv);
    free(p->csv_path);
    free(p);
}

static void say(progress *p, const char *format, va_list arguments) {
    if (p->line_open)
        fputs("\r\033[K", stderr);
    p->line_open = false;
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

void progress_say(progress *p, const char *format, ...) {
    if (!p || p->quiet)
        return;
    va_list arguments;
    va_start(arguments, format);
    say(p, format, arguments);
    va_end(arguments);
}

void progress_note(progress *p, const char *format, ...) {
    if (!p || p->quiet || !p->verbose)
        return;
    va_list arguments;
    va_start(arguments, format);
    say(p, format, arguments);
    va_end(arguments);
}

void progress_skipped(void *user, const char *path, const char *reason) {
    progress_note(user, "skipped %s: %s", path, reason);
}

vqz_status progress_start(progress *p, const trainer *t, vqz_diag *diag) {
    const corpus_stats *c = &t->corpus_stats;
    progress_say(p, "%zu pictures (%.1f megapixels, %s) to train on, %zu held out", c->pictures,
                 (double)c->pixels / 1e6,
                 c->channels == 1   ? "gray"
                 : c->channels == 3 ? "RGB"
                                    : "RGBA",
                 c->holdout_pictures);
    if (c->unreadable || c->too_small || c->over_budget)
        progress_say(p, "left out: %zu unreadable, %zu too small, %zu over the memory budget%s",
                     c->unreadable, c->too_small, c->over_budget,
                     p->verbose ? "" : " (-v names them)");
    char processes[40] = "";
    if (t->cluster.size > 1)
        snprintf(processes, sizeof processes, " in each of %d processes", t->cluster.size);
    progress_say(p, "preset %s: %zu parameters, encoder %.1f and decoder %.1f kMAC/pixel, %s, %d threads%s",
                 t->spec.name, t->parameter_count,
                 network_macs(&t->spec.analysis, 256, 256) / 65536e3,
                 network_macs(&t->spec.synthesis, 256 / t->spec.stride, 256 / t->spec.stride) /
                     65536e3,
                 backend_precision(t->backend) == PRECISION_BFLOAT16 ? "bfloat16" : "float32",
                 t->options.threads, processes);
    bool resume = t->options.resume;
    p->csv = fopen(p->csv_path, resume ? "r+" : "w");
    if (!p->csv && resume)
        p->csv = fopen(p->csv_path, "w");
    if (!p->csv)
        return vqzi_fail(diag, VQZ_ERROR_IO, "%s: %s", p->csv_path, strerror(errno));
    if (resume) {
        /* Rows after the checkpoint will be written again; a log that is too short stays so. */
        struct stat facts;
        if (fstat(fileno(p->csv), &facts) != 0 ||
            ftruncate(fileno(p->csv), VQZI_MIN((off_t)t->run.log_size, facts.st_size)) != 0 ||
            fseek(p->csv, 0, SEEK_END) != 0)
            return vqzi_fail(diag, VQZ_ERROR_IO, "%s: %s", p->csv_path, strerror(errno));
        progress_say(p, "resumed at step %llu", (unsigned long long)t->run.step);
    }
    if (ftell(p->csv) == 0) {
        fputs("step,seconds,pixels,train_psnr,loss,reconstruction,commitment,codebook,rate_bpp,gradient_norm,"
              "skipped,restarted,epoch_usage,epoch_perplexity,heldout_psnr,heldout_bpp,"
              "heldout_usage,heldout_perplexity\n",
              p->csv);
        fflush(p->csv);
    }
    p->last_line = now();
    p->start_pixels = t->run.pixels;
    p->start_seconds = t->run.seconds;
    return VQZ_OK;
}

static vqz_status measure(progress *p, trainer *t) {
    level_measure measures[VQZI_MAX_LEVELS];
    VQZ_TRY(measure_holdout(t, measures));
    p->measured_psnr = p->measured_bpp = p->measured_usage = p->measured_perplexity = 0;
    for (int level = 0; level < t->spec.levels; level++) {
        p->measured_psnr += measures[level].psnr / t->spec.levels;
        p->measured_bpp += measures[level].bpp / t->spec.levels;
        p->measured_usage += measures[level].usage / t->spec.levels;
        p->measured_perplexity += measures[level].perplexity / t->spec.levels;
    }
    return VQZ_OK;
}

static void write_row(progress *p, const trainer *t, const loss_parts *m, double psnr) {
    fprintf(p->csv, "%llu,%.1f,%llu,%.3f,%.6g,%.6g,%.6g,%.6g,%.5f,%.5g,%llu,%llu,%.4f,%.2f,%.3f,%.4f,%.4f,%.2f\n",
            (unsigned long long)t->run.step, t->run.seconds, (unsigned long long)t->run.pixels,
            psnr, m->total, m->reconstruction, m->commitment, m->codebook, m->rate_bpp, m->norm,
            (unsigned long long)t->run.skipped, (unsigned long long)t->run.restarted,
            t->run.epoch_usage, t->run.epoch_perplexity, p->measured_psnr, p->measured_bpp,
            p->measured_usage, p->measured_perplexity);
    fflush(p->csv);
}

vqz_status progress_step(progress *p, trainer *t, const loss_parts *parts, double part_done) {
    p->sums.total += parts->total;
    p->sums.reconstruction += parts->reconstruction;
    p->sums.commitment += parts->commitment;
    p->sums.codebook += parts->codebook;
    p->sums.rate_bpp += parts->rate_bpp;
    p->sums.norm += parts->norm;
    double psnr = 0;
    for (int level = 0; level < t->spec.levels; level++) /* errors are of pixels in [-1, 1] */
        psnr += 10 * log10(4 / t->run.level_error[level]) / t->spec.levels;
    p->psnr_sum += psnr;
    p->summed++;
    double time = now();
    if (time - p->last_line < p->line_interval && part_done < 1)
        return VQZ_OK;
    /* Measuring means little before codebooks exist, and rests longer as the run goes on. */
    bool measured = t->run.hard && (time - p->last_measure >= p->measure_interval || part_done >= 1);
    if (measured) {
        VQZ_TRY(measure(p, t));
        time = now();
        p->last_measure = time;
        p->measure_interval = fmin(p->measure_interval * 1.5, 120);
    }
    p->last_line = time;
    double n = (double)p->summed;
    loss_parts mean = {p->sums.total / n,    p->sums.reconstruction / n, p->sums.commitment / n,
                       p->sums.codebook / n, p->sums.rate_bpp / n,       p->sums.norm / n};
    psnr = p->psnr_sum / n;
    p->psnr_sum = 0;
    p->sums = (loss_parts){0};
    p->summed = 0;
    write_row(p, t, &mean, psnr);
    if (p->quiet)
        return VQZ_OK;

    double seconds = t->run.seconds - p->start_seconds;
    double rate = (double)(t->run.pixels - p->start_pixels) / fmax(seconds, 1e-3);
    double left = t->options.steps
                      ? (double)(t->options.steps - VQZI_MIN(t->run.step, t->options.steps)) *
                            t->whole_batch * t->crop * t->crop / fmax(rate, 1)
                      : fmax(0, t->options.seconds - t->run.seconds);
    char line[400];
    int length = snprintf(line, sizeof line, "step %llu  %3.0f%%  %.2f Mpx/s  train %.2f dB  loss %.4g (rec %.4g",
                          (unsigned long long)t->run.step, 100 * part_done, rate / 1e6, psnr, mean.total,
                          mean.reconstruction);
    if (t->run.hard)
        length += snprintf(line + length, sizeof line - (size_t)length, ", commit %.3g", mean.commitment);
    if (mean.codebook > 0)
        length += snprintf(line + length, sizeof line - (size_t)length, ", codebook %.3g", mean.codebook);
    if (mean.rate_bpp > 0)
        length += snprintf(line + length, sizeof line - (size_t)length, ", rate %.3g bpp", mean.rate_bpp);
    length += snprintf(line + length, sizeof line - (size_t)length, ")");
    if (p->measured_psnr > 0)
        length += snprintf(line + length, sizeof line - (size_t)length,
                           "  held out %.2f dB %.3f bpp  usage %.0f%% perplexity %.0f",
                           p->measured_psnr, p->measured_bpp, 100 * p->measured_usage,
                           p->measured_perplexity);
    if (t->run.skipped)
        length += snprintf(line + length, sizeof line - (size_t)length, "  skipped %llu",
                           (unsigned long long)t->run.skipped);
    snprintf(line + length, sizeof line - (size_t)length, "  left %d:%02d", (int)left / 60,
             (int)left % 60);
    if (p->terminal) {
        fprintf(stderr, "\r%s\033[K", line);
        fflush(stderr);
        p->line_open = true;
    } else {
        fprintf(stderr, "%s\n", line);
    }
    return VQZ_OK;
}

uint64_t progress_log_size(progress *p) {
    long position = p->csv ? ftell(p->csv) : 0;
    return position > 0 ? (uint64_t)position : 0;
}
