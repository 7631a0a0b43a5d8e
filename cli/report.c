/*
 * report.c - everything the program says on standard error; see report.h.
 */
#include "cli/report.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void report_init(report *r, bool quiet, bool verbose) {
    *r = (report){ .quiet = quiet,
                   .verbose = verbose,
                   .terminal = isatty(STDERR_FILENO) == 1,
                   .out = stderr };
}

/* Writes the line in one call, so that lines of several processes do not mix. */
static void report_line(report *r, const char *file, const char *kind, const char *format,
                        va_list arguments) {
    char message[1024];
    vsnprintf(message, sizeof message, format, arguments);
    char *line = NULL;
    int length = asprintf(&line, "vqz: %s%s%s%s", file == NULL ? "" : file,
                          file == NULL ? "" : ": ", kind, message);
    report_progress_end(r);
    if (length < 0) {
        fputs("vqz: out of memory\n", r->out);
        return;
    }
    for (int i = 0; i < length; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7F)
            line[i] = '?';
    fprintf(r->out, "%s\n", line);
    fflush(r->out);
    free(line);
}

void report_error(report *r, const char *file, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    report_line(r, file, "", format, arguments);
    va_end(arguments);
}

void report_warning(report *r, const char *file, const char *format, ...) {
    if (r->quiet)
        return;
    va_list arguments;
    va_start(arguments, format);
    report_line(r, file, "warning: ", format, arguments);
    va_end(arguments);
}

void report_result(report *r, const char *file, const char *format, ...) {
    if (r->quiet || !(r->terminal || r->verbose))
        return;
    va_list arguments;
    va_start(arguments, format);
    report_line(r, file, "", format, arguments);
    va_end(arguments);
}

void report_note(report *r, const char *file, const char *format, ...) {
    if (r->quiet || !r->verbose)
        return;
    va_list arguments;
    va_start(arguments, format);
    report_line(r, file, "", format, arguments);
    va_end(arguments);
}

void report_progress(report *r, size_t index, size_t count, const char *file) {
    if (r->quiet || !r->terminal)
        return;
    char name[61];
    size_t length = strlen(file), shown = VQZI_MIN(length, sizeof name - 1);
    memcpy(name, file + (length - shown), shown); /* the end of a long path tells more */
    name[shown] = '\0';
    for (size_t i = 0; i < shown; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7F)
            name[i] = '?';
    fprintf(stderr, "\r\033[K[%zu/%zu] %s", index, count, name);
    fflush(stderr);
    r->line_open = true;
}

void report_progress_end(report *r) {
    if (!r->line_open)
        return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    r->line_open = false;
}

const char *report_input_name(const char *path) {
    return strcmp(path, "-") == 0 ? "standard input" : path;
}

const char *report_output_name(const char *path) {
    return strcmp(path, "-") == 0 ? "standard output" : path;
}
