/*
 * bench_rd.h - the parts of bench_rd: codecs that are measured, the cache of the peers' results,
 * reports.
 */
#ifndef TESTS_BENCH_BENCH_RD_H
#define TESTS_BENCH_BENCH_RD_H

#include "tests/bench/common.h"
#include "tests/bench/rd_curve.h"

/* One picture at one setting. */
typedef struct rd_value {
    double bytes, psnr, ssim; /* PSNR of equal pictures counts as 100 dB */
} rd_value;

typedef struct rd_peer rd_peer;

/* vqz, or a peer; its results. */
typedef struct rd_codec {
    const rd_peer *peer; /* NULL: vqz */
    const char *id, *label;
    char version[160];
    int count; /* of settings */
    char settings[RD_MAX_POINTS][12];
    rd_value *values; /* (pictures, count) */
    rd_value mean[RD_MAX_POINTS];
    rd_curve curve; /* of mean bytes over mean PSNR */
} rd_codec;

enum { RD_MAX_CODECS = 8 };

typedef struct rd_bench {
    const char *folder, *title, *model_path, *cache;
    char model_hash[9];
    double least_bpp, most_bpp; /* the RANGE; 0 and INFINITY without one */
    uint32_t background;
    bool alpha; /* pictures keep theirs; they are compared on white */
    int effort; /* of vqz; 0: its default */
    vqz_model *model; /* NULL: peers alone */
    corpus *corpus;
    size_t picture_count;
    const vqz_image **pictures;
    char **names;
    double pixels;               /* mean of a picture */
    size_t measured, remembered; /* results of peers, made now and out of the cache */
    char left_out[512];          /* lines about peers that are not installed */
    int codec_count;
    rd_codec codecs[RD_MAX_CODECS]; /* vqz first, where it takes part */
} rd_bench;

/* ---- rd_peers.c ---- */

/* Adds the peers that are installed and wanted: a list of their ids with commas or blanks, or NULL
   for all.  Others are noted in left_out. */
void rd_add_peers(rd_bench *b, const char *wanted);
/* "cwebp -m 6 -q": the encoder with its options, the setting follows. */
void rd_peer_command(char text[96], const rd_peer *peer);
/* What is added to it where pictures keep their alpha; "" for nothing. */
const char *rd_peer_alpha(const rd_bench *b, const rd_peer *peer);
/* Fills the values of a peer for a picture from its cache, and measures what that lacks.  Several
   threads may do so for different pictures. */
void rd_measure_peer(rd_bench *b, rd_codec *c, size_t index);
/* PSNR and MS-SSIM of decoded pixels with the channels of the original. */
rd_value rd_compare(const vqz_image *original, const vqz_image *decoded, double bytes);

/* ---- rd_report.c, rd_plot.c ---- */

double rd_bpp(const rd_bench *b, double bytes);
/* Means and curves of all codecs, once everything is measured. */
void rd_summarise(rd_bench *b);
void rd_write_markdown(const rd_bench *b, FILE *file);
void rd_write_csv(const rd_bench *b, FILE *file);
void rd_write_plot(const rd_bench *b, FILE *file);

#endif
