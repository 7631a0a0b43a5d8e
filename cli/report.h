/*
 * report.h - everything the program says on standard error: errors, warnings, notes, progress.
 *
 * One event is one line, "vqz: FILE: what is wrong; what to do".  Control characters (a file name
 * may hold any) are shown as '?', so that no name can play tricks on a terminal.
 */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include "format/common.h"
#include <stdio.h>

typedef struct report {
    bool quiet, verbose;
    bool terminal;  /* standard error is one: progress is shown */
    bool line_open; /* a progress line waits to be overwritten */
    FILE *out;      /* standard error, or memory that holds the lines until it is their turn */
} report;

void report_init(report *r, bool quiet, bool verbose);
/* file may be NULL when the message concerns none. */
void report_error(report *r, const char *file, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void report_warning(report *r, const char *file, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A result line: shown on a terminal, or anywhere with -v. */
void report_result(report *r, const char *file, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Shown with -v only. */
void report_note(report *r, const char *file, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* "[3/10] file ...", replaced by the next line. */
void report_progress(report *r, size_t index, size_t count, const char *file);
void report_progress_end(report *r);

/* "standard input" or "standard output" for "-", else the path. */
const char *report_input_name(const char *path);
const char *report_output_name(const char *path);

#endif
