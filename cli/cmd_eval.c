/*
 * cmd_eval.c - vqz eval: what a model is worth on pictures.  Each picture is really encoded and
 * decoded, in memory, at each quality.
 *
 * Averages are means over pictures (each counts alike, whatever its size), as papers give them; a
 * picture that came back unchanged counts as 100 dB there, for infinity has no mean.  Times are those
 * of the threads that worked on the picture: one, when there are as many pictures as threads.
 */
#include "cli/commands.h"
#include "cli/metrics.h"
#include "cli/session.h"
#include "cli/text.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double lossless_psnr = 100;

typedef struct measurement {
    size_t bytes;
    double bpp, psnr, ms_ssim, encode_seconds, decode_seconds;
} measurement;

/* A picture that was measured, until it is its turn to be shown. */
typedef struct evaluated {
    vqz_image image;       /* without pixels */
    measurement *results; /* one a quality */
} evaluated;

typedef struct evaluation {
    session session;
    const vqz_model *model;
    bool table;            /* on standard output */
    FILE *csv;             /* into memory, NULL without --csv */
    evaluated *evaluated;  /* one a picture */
    measurement *sums;     /* one a quality */
    size_t pictures;
} evaluation;

/* A PSNR for people: "inf" for equal pictures. */
static const char *psnr_text(char text[16], double psnr, const char *format) {
    if (isinf(psnr))
        return "inf";
    snprintf(text, 16, format, psnr);
    return text;
}

static vqz_status measure(worker *w, const vqz_image *image, int quality, uint8_t *pixels,
                          measurement *m, vqz_diag *diag) {
    const evaluation *e = w->task->user;
    vqz_context *context;
    VQZ_TRY(worker_context(w, &context, diag));
    vqz_encode_options options;
    session_encode_options(w->session, &options);
    options.quality = quality;
    void *file;
    double start = session_clock();
    VQZ_TRY(vqz_encode(context, e->model, image, &options, &file, &m->bytes, diag));
    double encoded = session_clock();
    vqz_info info;
    vqz_image decoded = *image;
    decoded.pixels = pixels;
    vqz_status status = vqz_read_info(file, m->bytes, &info, diag);
    if (status == VQZ_OK && info.channels != image->channels)
        status = vqzi_fail(diag, VQZ_ERROR_UNSUPPORTED,
                           "came back with %u channels instead of %u", info.channels,
                           image->channels);
    if (status == VQZ_OK)
        status = vqz_decode(context, e->model, file, m->bytes, &decoded, diag);
    double finished = session_clock();
    vqz_free(file);
    if (status != VQZ_OK)
        return status;
    m->encode_seconds = encoded - start;
    m->decode_seconds = finished - encoded;
    m->bpp = 8.0 * (double)m->bytes / ((double)image->width * image->height);
    m->psnr = metrics_psnr(image, &decoded);
    return metrics_ms_ssim(image, &decoded, w->threads, &m->ms_ssim);
}

static void print_row(const char *name, int quality, const char *bytes, const measurement *m) {
    char psnr[16];
    printf("%-32s %3d %10s %8.4f %8s %8.5f %8.3f %8.3f\n", name, quality, bytes, m->bpp,
           psnr_text(psnr, m->psnr, "%.3f"), m->ms_ssim, m->encode_seconds, m->decode_seconds);
}

/* RFC 4180: quoted where needed, quotes doubled. */
static void write_csv_field(FILE *out, const char *text) {
    if (strpbrk(text, ",\"\r\n") == NULL) {
        fputs(text, out);
        return;
    }
    putc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"')
            putc('"', out);
        putc(*text, out);
    }
    putc('"', out);
}

static void add_row(evaluation *e, const char *path, const vqz_image *image, int quality,
                    measurement *sum, const measurement *m) {
    sum->bytes += m->bytes;
    sum->bpp += m->bpp;
    sum->psnr += isinf(m->psnr) ? lossless_psnr : m->psnr;
    sum->ms_ssim += m->ms_ssim;
    sum->encode_seconds += m->encode_seconds;
    sum->decode_seconds += m->decode_seconds;
    char psnr[16];
    if (e->csv != NULL) {
        write_csv_field(e->csv, path);
        fprintf(e->csv, ",%u,%u,%u,%d,%zu,%.6f,%s,%.6f,%.6f,%.6f\n", image->width, image->height,
                image->channels, quality, m->bytes, m->bpp, psnr_text(psnr, m->psnr, "%.4f"),
                m->ms_ssim, m->encode_seconds, m->decode_seconds);
    }
    if (!e->table)
        return;
    char name[33], bytes[24];
    snprintf(name, sizeof name, "%s", path_name(path));
    for (char *at = name; *at != '\0'; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7F)
            *at = '?';
    snprintf(bytes, sizeof bytes, "%zu", m->bytes);
    print_row(name, quality, bytes, m);
    fflush(stdout); /* a long run shows what it has also through a pipe */
}

static vqz_status evaluate_one(worker *w, const job *j, size_t index, vqz_diag *diag) {
    evaluation *e = w->task->user;
    const session *of = w->session;
    const quality_list *qualities = &of->settings->qualities;
    evaluated *measured = &e->evaluated[index];
    source *s;
    picture p;
    VQZ_TRY(source_open(&s, j->input, of->max_file, diag));
    vqz_status status = picture_read(&p, s, &of->limits, diag);
    source_close(s);
    if (status != VQZ_OK)
        return status;
    worker_warn(w, j->input, &p);
    uint8_t *pixels = malloc(p.image.stride * p.image.height); /* as for the picture itself */
    measured->results = calloc((size_t)qualities->count, sizeof *measured->results);
    if (pixels == NULL || measured->results == NULL)
        status = vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory");
    /* all or nothing: averages of different qualities are over the same pictures */
    for (int i = 0; status == VQZ_OK && i < qualities->count; i++)
        status = measure(w, &p.image, qualities->values[i], pixels, &measured->results[i], diag);
    measured->image = p.image;
    measured->image.pixels = NULL;
    free(pixels);
    picture_clear(&p);
    return status;
}

static void show_one(session *s, const task *t, const job *j, size_t index) {
    evaluation *e = t->user;
    const quality_list *qualities = &s->settings->qualities;
    evaluated *measured = &e->evaluated[index];
    for (int i = 0; i < qualities->count; i++)
        add_row(e, report_input_name(j->input), &measured->image, qualities->values[i],
                &e->sums[i], &measured->results[i]);
    e->pictures++;
}

static void print_averages(evaluation *e) {
    const quality_list *qualities = &e->session.settings->qualities;
    double count = (double)e->pictures;
    printf("\nmean of %zu picture%s\n", e->pictures, e->pictures == 1 ? "" : "s");
    for (int i = 0; i < qualities->count; i++) {
        measurement mean = e->sums[i];
        char bytes[24];
        snprintf(bytes, sizeof bytes, "%.1f", (double)mean.bytes / count);
        mean.bpp /= count;
        mean.psnr /= count;
        mean.ms_ssim /= count;
        mean.encode_seconds /= count;
        mean.decode_seconds /= count;
        print_row("mean", qualities->values[i], bytes, &mean);
    }
}

static void print_csv_header(FILE *out) {
    fputs("file,width,height,channels,quality,bytes,bpp,psnr,ms_ssim,encode_seconds,"
          "decode_seconds\n",
          out);
}

/* Returns how many failed. */
static size_t evaluate_all(evaluation *e, const job_list *list) {
    if (e->csv != NULL)
        print_csv_header(e->csv);
    if (e->table && list->count > 0)
        printf("%-32s %3s %10s %8s %8s %8s %8s %8s\n", "picture", "q", "bytes", "bpp", "PSNR",
               "MS-SSIM", "encode s", "decode s");
    size_t failed = session_run(&e->session, list,
                                &(task){.run = evaluate_one, .done = show_one, .user = e});
    if (e->pictures > 0 && e->table)
        print_averages(e);
    return failed;
}

int run_eval(const settings *s, int count, char **operands) {
    const job_rules rules = {
        .extensions = picture_extensions, .what = "pictures", .recursive = true};
    bool csv_to_stdout = s->csv != NULL && strcmp(s->csv, "-") == 0;
    evaluation e = {.table = !csv_to_stdout};
    job_list list = {0};
    vqz_diag diag = {""};
    char *csv_text = NULL;
    size_t csv_size = 0, failed;
    const char *subject = NULL;
    int code = EXIT_FAILED;
    if (session_open(&e.session, s, &diag) != VQZ_OK ||
        models_by_name(e.session.models, s->model, &e.model, &diag) != VQZ_OK)
        goto failed;
    subject = s->csv;
    if (s->csv != NULL && file_check_target(s->csv, s->force, &diag) != VQZ_OK)
        goto failed;
    subject = NULL;
    if (jobs_collect(&list, &rules, count, operands, &e.session.report, &diag) != VQZ_OK)
        goto failed;
    e.sums = calloc((size_t)s->qualities.count, sizeof *e.sums);
    e.evaluated = calloc(list.count + 1, sizeof *e.evaluated);
    if (s->csv != NULL)
        e.csv = open_memstream(&csv_text, &csv_size);
    if (e.sums == NULL || e.evaluated == NULL || (s->csv != NULL && e.csv == NULL)) {
        snprintf(diag.message, sizeof diag.message, "out of memory");
        goto failed;
    }
    failed = list.failed + evaluate_all(&e, &list);
    code = failed == 0 && e.pictures > 0 ? EXIT_DONE : EXIT_FAILED;
    if (e.csv != NULL && e.pictures > 0) { /* else an older file is not overwritten by nothing */
        bool lost = fclose(e.csv) != 0;
        e.csv = NULL;
        subject = report_output_name(s->csv);
        if (lost)
            snprintf(diag.message, sizeof diag.message, "out of memory");
        /* text, unlike pictures, may go to a terminal */
        if (lost || file_write(s->csv, csv_text, csv_size, s->force || csv_to_stdout, &diag) !=
                        VQZ_OK)
            goto failed;
    }
    goto done;
failed:
    code = EXIT_FAILED;
    report_error(&e.session.report, subject, "%s", diag.message);
done:
    if (e.csv != NULL)
        fclose(e.csv);
    for (size_t i = 0; e.evaluated != NULL && i < list.count; i++)
        free(e.evaluated[i].results);
    free(e.evaluated);
    free(csv_text);
    free(e.sums);
    jobs_clear(&list);
    models_return(e.session.models, e.model);
    session_close(&e.session);
    return code;
}
