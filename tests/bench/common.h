/*
 * common.h - what the benchmarks share: programs run and measured, a temporary folder, pictures.
 *
 * Benchmarks end at the first failure: bench_die says what failed, and the temporary folder goes.
 */
#ifndef TESTS_BENCH_COMMON_H
#define TESTS_BENCH_COMMON_H

#include "format/common.h"
#include "trainer/corpus.h"

#include <stdio.h>

_Noreturn void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Out of memory ends the program. */
void *bench_alloc(size_t size);
/* Seconds of a clock that never jumps. */
double bench_clock(void);
/* Of values in any order; 0 when there are none. */
double bench_median(const double *values, int count);
double bench_minimum(const double *values, int count);

/* A folder below TMPDIR (/tmp), made at the first call and removed with its files at exit, also
   after Ctrl-C: bench_check_stop, called between measurements, ends the program then. */
const char *bench_folder(void);
void bench_check_stop(void);

/* What the letters of a command's pattern stand for: %i %o %q %t %n %m, and %p at its start. */
typedef struct bench_words {
    const char *program, *input, *output, *setting, *threads, *model; /* p i o q t m */
    int thread_count;                                                 /* n */
} bench_words;
typedef struct bench_cost {
    double seconds; /* from fork to exit */
    long peak_kib;  /* ru_maxrss */
} bench_cost;
/* Runs a program (found in PATH) and waits.  The pattern's words are split at blanks before letters
   are replaced; a word that becomes empty is dropped.  What the program prints goes to a file,
   whose last line the message of a failure shows.  Threads of a parallel region may do so at once,
   after bench_folder has been called. */
bench_cost bench_run(const char *pattern, const bench_words *words);
/* Whether PATH has the program, or it is a path itself. */
bool bench_has_program(const char *name);
/* First line that "program flag" prints. */
void bench_version(char *line, size_t size, const char *program, const char *flag);

/* Pictures of a file or folder in the order of their paths, flattened over the background. */
corpus *bench_load_pictures(const char *path, int channels, uint32_t background, size_t *count);
void bench_write_png(const char *path, const vqz_image *image);
uint64_t bench_file_size(const char *path);
vqz_model *bench_load_model(const char *path);

#endif
