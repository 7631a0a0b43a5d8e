/*
 * settings.h - what the command line can set; the option tables of commands.c point into it.
 */
#ifndef CLI_SETTINGS_H
#define CLI_SETTINGS_H

#include "trainer/train.h"

enum { MAX_QUALITIES = 100 };

typedef struct quality_list {
    int values[MAX_QUALITIES];
    int count;
} quality_list;

typedef struct settings {
    /* all commands */
    bool help, quiet, verbose;
    int threads; /* 0: all processors */
    uint64_t max_pixels;
    size_t max_memory;
    vqz_cpu cpu; /* from VQZ_CPU */
    /* commands that write */
    const char *output;
    bool force, recursive;
    /* compress, decompress, eval */
    const char *model;
    int quality;
    bool strip;
    const char *format;
    quality_list qualities;
    const char *csv;
    bool json;
    train_options train;
} settings;

#endif
