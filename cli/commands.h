/*
 * commands.h - the commands of the program, as data: the help text and the dispatch read the same
 * table, and so can a manual page or completions.
 */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli/options.h"
#include "cli/settings.h"

/* What the process returns. */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

typedef struct command {
    const char *name;
    const char *operands; /* for the usage line */
    const char *no_operand; /* what to say when there is none; NULL: it takes none */
    const char *summary;  /* one line */
    const char *details;  /* further lines of the help text */
    const option *options;
    int (*run)(const settings *s, int count, char **operands);
} command;

extern const command commands[]; /* ends with name NULL */

int run_compress(const settings *s, int count, char **operands);
int run_decompress(const settings *s, int count, char **operands);
int run_verify(const settings *s, int count, char **operands);
int run_info(const settings *s, int count, char **operands);
int run_tokens(const settings *s, int count, char **operands);
int run_sample(const settings *s, int count, char **operands);
int run_eval(const settings *s, int count, char **operands);
int run_train(const settings *s, int count, char **operands);

#endif
