/*
 * options.h - one table per command drives everything about its options: parsing, checking, the
 * --help text, and whatever else wants to list them (manual page, completions).
 *
 * Parsing follows GNU habits: "-q50", "-q 50", "--quality=50", "--quality 50", clustered letters
 * ("-fr"), operands anywhere, "-" is an operand, "--" ends the options.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "format/common.h"
#include <stdio.h>

typedef enum option_kind {
    OPTION_FLAG = 1,  /* bool, takes no value */
    OPTION_TEXT,      /* const char * */
    OPTION_CHOICE,    /* const char *, one of the words in value_name: "ema|loss" */
    OPTION_INT,       /* int in [min, max] */
    OPTION_COUNT,     /* uint64_t, suffixes k M G are powers of 1000 */
    OPTION_BYTES,     /* size_t, suffixes K M G are powers of 1024 */
    OPTION_REAL,      /* double in [min, max] */
    OPTION_DURATION,  /* double seconds: "45s", "20m", "2h", "1h30m", plain seconds; at most max */
    OPTION_COLOUR,    /* uint8_t[3]: RRGGBB */
    OPTION_QUALITIES, /* quality_list: "10,50,90" */
    OPTION_SIZE,      /* region: "640x480" */
    OPTION_REGION     /* region: "640x480+10+20" */
} option_kind;

typedef struct option {
    char letter;            /* 0: none */
    const char *name;       /* without "--"; NULL ends a table */
    const char *value_name; /* NULL for a flag */
    option_kind kind;
    size_t offset;          /* into struct settings */
    double min, max;        /* INT, REAL; min also of BYTES; inclusive */
    const char *help;       /* lower case, no full stop; '\n' breaks the line */
} option;

/* Parses arguments (the command's name not among them) into *target.  operands must have room for
   count pointers.  A fault is VQZ_ERROR_ARGUMENT with a message. */
VQZ_MUST_CHECK vqz_status options_parse(const option *table, int count, char **arguments,
                                        void *target, char **operands, int *operand_count,
                                        vqz_diag *diag);

/* Prints the table as the lines of a help text. */
void options_print(const option *table, FILE *out);

#endif
