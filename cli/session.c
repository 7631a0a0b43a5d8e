/*
 * session.c - what the commands that encode or decode share; see session.h.
 */
#include "cli/session.h"
#include "cli/commands.h"
#include "cli/file.h"
#include <stdlib.h>
#include <time.h>

vqz_status session_open(session *s, const settings *set, vqz_diag *diag) {
    *s = (session){ .settings = set };
    report_init(&s->report, set->quiet, set->verbose);
    vqz_limits_init(&s->limits);
    s->limits.max_pixels = set->max_pixels;
    s->limits.max_memory = set->max_memory;
    /* 16-bit RGBA without compression, and room for headers and metadata: no picture is larger */
    uint64_t samples = set->max_pixels > (SIZE_MAX >> 4) ? SIZE_MAX >> 4 : set->max_pixels;
    s->max_file = (size_t)(samples * 8 + ((size_t)64 << 20));
    return models_create(&s->models, &s->limits, diag);
}

void session_close(session *s) {
    vqz_context_free(s->context);
    models_free(s->models);
    s->context = NULL;
    s->models = NULL;
}

vqz_status session_context(session *s, vqz_context **context, vqz_diag *diag) {
    if (s->context == NULL) {
        vqz_context_options options;
        vqz_context_options_init(&options);
        options.threads = s->settings->threads;
        options.cpu = s->settings->cpu;
        options.limits = s->limits;
        VQZ_TRY(vqz_context_create(&s->context, &options, diag));
    }
    *context = s->context;
    return VQZ_OK;
}

vqz_status session_read_picture(session *s, const char *path, picture *p, size_t *file_size,
                                vqz_diag *diag) {
    void *data;
    size_t size;
    VQZ_TRY(file_read(path, s->max_file, &data, &size, diag));
    vqz_status status = picture_parse(p, data, size, s->limits.max_pixels, diag);
    free(data);
    if (status != VQZ_OK)
        return status;
    if (p->sixteen_bit)
        report_warning(&s->report, report_input_name(path), "16-bit samples are reduced to 8 bits");
    if (p->animated)
        report_warning(&s->report, report_input_name(path),
                       "is animated; only its first picture is kept");
    if (file_size != NULL)
        *file_size = size;
    return VQZ_OK;
}

int session_run_jobs(const settings *set, const job_rules *rules, int count, char **operands,
                     job_work work) {
    session s;
    job_list list = { 0 };
    vqz_diag diag = { "" };
    int code = EXIT_FAILED;
    if (session_open(&s, set, &diag) != VQZ_OK ||
        jobs_collect(&list, rules, count, operands, &s.report, &diag) != VQZ_OK) {
        report_error(&s.report, NULL, "%s", diag.message);
        goto done;
    }
    size_t failed = list.failed;
    for (size_t i = 0; i < list.count; i++) {
        const job *j = &list.jobs[i];
        bool at_output = false;
        diag.message[0] = '\0';
        report_progress(&s.report, i + 1, list.count, report_input_name(j->input));
        vqz_status status = work(&s, j, &at_output, &diag);
        if (status == VQZ_OK)
            continue;
        failed++;
        report_error(&s.report,
                     at_output ? report_output_name(j->output) : report_input_name(j->input), "%s",
                     diag.message[0] != '\0' ? diag.message : vqz_status_string(status));
    }
    report_progress_end(&s.report);
    if (failed > 0 && list.count + list.failed > 1)
        report_error(&s.report, NULL, "%zu of %zu failed", failed, list.count + list.failed);
    code = failed == 0 ? EXIT_DONE : EXIT_FAILED;
done:
    jobs_clear(&list);
    session_close(&s);
    return code;
}

double session_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
