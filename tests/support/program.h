/*
 * program.h - runs the real vqz program for tests: a fresh folder for each test, exit code,
 * standard output and standard error caught, the environment known.
 *
 * The program is $VQZ, or ./vqz of where the tests were started.
 */
#ifndef TESTS_PROGRAM_H
#define TESTS_PROGRAM_H

#include "codec/vqz.h"
#include <stdbool.h>
#include <sys/types.h>

typedef struct program_input {
    const void *data; /* standard input; NULL: empty */
    size_t size;
    const char *output;      /* file to open as standard output, or NULL to catch it */
    const char *environment; /* one extra NAME=VALUE, or NULL */
} program_input;

typedef struct program_result {
    int code;   /* exit code, -1 when a signal ended it */
    int signal; /* 0 when it exited */
    char *out, *err; /* NUL-terminated, live until the next run */
    size_t out_size;
} program_result;

/* Finds the program; call once, before any test.  False with a message when there is none. */
bool program_find(void);
/* Makes a fresh folder and enters it (cmocka set-up), leaves and removes it (tear-down). */
int program_enter_folder(void **state);
int program_leave_folder(void **state);

/* Runs "vqz <line>", line split at blanks. */
program_result run_vqz(const char *line);
program_result run_vqz_with(const char *line, const program_input *input);
/* Starts it without waiting; standard output and error go to /dev/null. */
pid_t start_vqz(const char *line);

/* Whole files; a failure fails the test. */
char *read_test_file(const char *path, size_t *size); /* malloc'ed, NUL-terminated */
void write_test_file(const char *path, const void *data, size_t size);
bool file_exists(const char *path);
/* Entries of a folder, hidden ones too. */
int count_files(const char *folder);

/* Writes a smooth picture with some detail as PNG (or PNM, by extension); the seed changes it. */
void save_picture(const char *path, uint32_t width, uint32_t height, uint32_t channels,
                  unsigned seed);
/* Writes a small random model with a prior, for pictures of so many channels. */
void save_prior_model(const char *path, unsigned seed, uint32_t channels);
/* Writes a small random model; hash receives its name in hexadecimal (9 bytes), or is NULL. */
void save_model(const char *path, unsigned seed, char *hash);

#endif
