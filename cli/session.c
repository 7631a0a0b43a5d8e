/*
 * session.c - what the commands that encode or decode share; see session.h.
 */
#include "cli/session.h"
#include "cli/commands.h"
#include "cli/text.h"
#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

vqz_status session_open(session *s, const settings *set, vqz_diag *diag) {
    *s = (session){.settings = set};
    report_init(&s->report, set->quiet, set->verbose);
    vqz_limits_init(&s->limits);
    s->limits.max_pixels = set->max_pixels;
    s->limits.max_memory = set->max_memory;
    s->limits.max_macs_per_pixel = set->max_macs;
    /* 16-bit RGBA without compression, and room for headers and metadata: no picture is larger */
    uint64_t samples = set->max_pixels > (SIZE_MAX >> 4) ? SIZE_MAX >> 4 : set->max_pixels;
    s->max_file = (size_t)(samples * 8 + ((size_t)64 << 20));
    return models_create(&s->models, &s->limits, diag);
}

void session_close(session *s) {
    models_free(s->models);
    s->models = NULL;
}

vqz_status worker_context(worker *w, vqz_context **context, vqz_diag *diag) {
    if (w->context == NULL) {
        vqz_context_options options;
        vqz_context_options_init(&options);
        options.threads = w->threads;
        options.cpu = w->session->settings->cpu;
        options.limits = w->session->limits;
        VQZ_TRY(vqz_context_create(&w->context, &options, diag));
    }
    *context = w->context;
    return VQZ_OK;
}

void worker_warn(worker *w, const char *path, const picture *facts) {
    const char *name = report_input_name(path);
    if (facts->sixteen_bit)
        report_warning(&w->report, name, "16-bit samples are reduced to 8 bits");
    if (facts->animated)
        report_warning(&w->report, name, "is animated; only its first picture is kept");
    if (facts->damaged[0] != '\0')
        report_warning(&w->report, name, "is damaged; left out: %s", facts->damaged);
}

vqz_status session_decode_all(vqz_decoder *decoder, uint32_t width, uint32_t height,
                              uint32_t channels, vqz_diag *diag) {
    size_t stride = (size_t)width * channels;
    uint32_t band = session_band(stride, height);
    uint8_t *rows = malloc(stride * band);
    vqz_status status = rows != NULL ? VQZ_OK : vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory");
    for (uint32_t y = 0, count; status == VQZ_OK && y < height; y += count) {
        count = VQZI_MIN(band, height - y);
        status = vqz_decoder_read(decoder, rows, stride, count, diag);
    }
    free(rows);
    return status;
}

vqz_status worker_remove_source(worker *w, const job *j, const file_mark *mark, const char *keep,
                                vqz_diag *diag) {
    if (!w->session->settings->remove_sources || strcmp(j->input, "-") == 0)
        return VQZ_OK;
    w->at_output = false;
    if (keep == NULL)
        return file_remove_source(mark, j->input, diag);
    report_warning(&w->report, j->input, "is kept: %s", keep);
    return VQZ_OK;
}

int session_check_removal(const settings *set) {
    bool standard = set->output != NULL && strcmp(set->output, "-") == 0;
    if (!set->remove_sources || (!standard && set->crop.width == 0))
        return EXIT_DONE;
    report r;
    report_init(&r, set->quiet, set->verbose);
    report_error(&r, NULL, "--rm and %s exclude each other; the source holds more than is kept",
                 standard ? "-o -" : "--crop");
    return EXIT_USAGE;
}

/* ---- the work on a list ---- */

typedef struct outcome {
    char *text; /* what the job reported */
    size_t size;
    bool finished, failed;
} outcome;

typedef struct work_list {
    session *session;
    const job_list *jobs;
    const task *task;
    pthread_mutex_t lock; /* for what follows, and for what is shown */
    outcome *outcomes;
    size_t started, told, failed;
} work_list;

static void start_job(work_list *l, const job *j) {
    pthread_mutex_lock(&l->lock);
    report_progress(&l->session->report, ++l->started, l->jobs->count, report_input_name(j->input));
    pthread_mutex_unlock(&l->lock);
}

/* Tells of this job and of later ones that had to wait for it, or of nothing when it has to wait.
 */
static void finish_job(work_list *l, outcome *finished, bool failed) {
    pthread_mutex_lock(&l->lock);
    finished->finished = true;
    finished->failed = failed;
    l->failed += failed;
    for (; l->told < l->jobs->count && l->outcomes[l->told].finished; l->told++) {
        outcome *o = &l->outcomes[l->told];
        report_progress_end(&l->session->report);
        if (o->size > 0)
            fwrite(o->text, 1, o->size, stderr);
        free(o->text);
        o->text = NULL;
        if (!o->failed && l->task->done != NULL)
            l->task->done(l->session, l->task, &l->jobs->jobs[l->told], l->told);
    }
    pthread_mutex_unlock(&l->lock);
}

static void run_job(work_list *l, worker *w, size_t index) {
    const job *j = &l->jobs->jobs[index];
    outcome *o = &l->outcomes[index];
    vqz_diag diag = {""};
    FILE *text = open_memstream(&o->text, &o->size);
    w->report = l->session->report;
    w->report.line_open = false;
    w->report.out = text != NULL ? text : stderr; /* out of order rather than not at all */
    w->at_output = false;
    start_job(l, j);
    vqz_status status = l->task->run(w, j, index, &diag);
    if (status != VQZ_OK)
        report_error(&w->report,
                     w->at_output ? report_output_name(j->output) : report_input_name(j->input),
                     "%s", diag.message[0] != '\0' ? diag.message : vqz_status_string(status));
    if (text != NULL)
        fclose(text);
    finish_job(l, o, status != VQZ_OK);
}

size_t session_run(session *s, const job_list *list, const task *t) {
    int threads = s->settings->threads > 0 ? s->settings->threads : omp_get_num_procs();
    threads = VQZI_MIN(threads, (int)FILE_MAX_OUTPUTS);
    bool shared = !t->serial && threads > 1 && list->count >= (size_t)threads;
    work_list l = {.session = s,
                   .jobs = list,
                   .task = t,
                   .lock = PTHREAD_MUTEX_INITIALIZER,
                   .outcomes = calloc(list->count + 1, sizeof *l.outcomes)};
    if (l.outcomes == NULL) {
        report_error(&s->report, NULL, "out of memory");
        return list->count;
    }
    if (shared) {
#pragma omp parallel num_threads(threads)
        {
            worker w = {.session = s, .task = t, .threads = 1};
#pragma omp for schedule(dynamic, 1)
            for (size_t i = 0; i < list->count; i++)
                run_job(&l, &w, i);
            vqz_context_free(w.context);
        }
    } else {
        worker w = {.session = s, .task = t, .threads = threads};
        for (size_t i = 0; i < list->count; i++)
            run_job(&l, &w, i);
        vqz_context_free(w.context);
    }
    report_progress_end(&s->report);
    free(l.outcomes);
    return l.failed;
}

int session_run_command(const settings *set, const job_rules *rules, int count, char **operands,
                        const task *t) {
    session s;
    job_list list = {0};
    vqz_diag diag = {""};
    int code = EXIT_FAILED;
    if (session_open(&s, set, &diag) != VQZ_OK ||
        jobs_collect(&list, rules, count, operands, &s.report, &diag) != VQZ_OK) {
        report_error(&s.report, NULL, "%s", diag.message);
    } else {
        size_t failed = list.failed + session_run(&s, &list, t);
        if (failed > 0 && list.count + list.failed > 1)
            report_error(&s.report, NULL, "%zu of %zu failed", failed, list.count + list.failed);
        code = failed == 0 ? EXIT_DONE : EXIT_FAILED;
    }
    jobs_clear(&list);
    session_close(&s);
    return code;
}

void session_encode_options(const session *s, vqz_encode_options *options) {
    const settings *set = s->settings;
    vqz_encode_options_init(options);
    options->effort = set->effort;
    options->progressive = set->progressive;
    if (set->entropy != NULL && strcmp(set->entropy, "rans") == 0)
        options->entropy = VQZ_ENTROPY_RANS;
    else if (set->entropy != NULL && strcmp(set->entropy, "zstd") == 0)
        options->entropy = VQZ_ENTROPY_ZSTD;
}

const char *session_format(const session *s, const char *output) {
    static const char *const words[] = {"png", "pnm", "pgm", "ppm", "pam", NULL};
    if (s->settings->format != NULL)
        return s->settings->format;
    const char *extension = path_extension(output);
    for (size_t i = 0; words[i] != NULL; i++)
        if (strcasecmp(extension, words[i]) == 0)
            return words[i];
    return "png";
}

vqz_status session_check_format(const char *format, uint32_t channels, vqz_diag *diag) {
    bool alpha = channels == 2 || channels == 4, colour = channels >= 3;
    if (alpha && (strcmp(format, "pgm") == 0 || strcmp(format, "ppm") == 0))
        return vqzi_fail(diag, VQZ_ERROR_UNSUPPORTED,
                         "has alpha, which %s cannot hold; write png or pam", format);
    if (colour && strcmp(format, "pgm") == 0)
        return vqzi_fail(diag, VQZ_ERROR_UNSUPPORTED,
                         "is in colour, which pgm cannot hold; write png or ppm");
    return VQZ_OK;
}

uint32_t session_band(size_t row_bytes, uint32_t height) {
    size_t rows = ((size_t)1 << 20) / row_bytes;
    return (uint32_t)VQZI_MIN(VQZI_MAX(rows, (size_t)8), (size_t)height);
}

double session_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
