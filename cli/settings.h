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

typedef struct region {
    uint32_t width, height, x, y;
} region;

typedef struct settings {
    /* all commands */
    bool help, quiet, verbose;
    int threads; /* 0: all processors */
    uint64_t max_pixels;
    size_t max_memory;
    uint64_t max_macs; /* per pixel, of a model */
    vqz_cpu cpu; /* from VQZ_CPU */
    /* commands that write */
    const char *output;
    bool force, recursive;
    bool remove_sources; /* --rm */
    /* compress, decompress, eval */
    const char *model;
    int quality; /* 0: not given, which means 50 */
    size_t target_size;             /* 0: none */
    double target_psnr, target_bpp; /* 0: none */
    region crop;                    /* width 0: all */
    bool partial;
    region size;                    /* of a sample */
    int count;
    uint64_t seed;
    double temperature;
    int effort;
    const char *entropy; /* NULL: auto */
    bool progressive;
    bool strip;
    const char *format;
    quality_list qualities;
    const char *csv;
    bool json;
    train_options train;
} settings;

#endif
