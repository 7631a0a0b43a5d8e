/*
 * target.h - the search for the quality at which a picture has a wanted size or PSNR.
 *
 * The caller encodes at the points that target_next names and tells what came out; both values grow
 * with quality.  First the quality is bisected; between two neighbouring qualities, and beyond the
 * ends, the rate bias of vqz_encode_options does the rest.
 */
#ifndef CLI_TARGET_H
#define CLI_TARGET_H

#include "format/common.h"

typedef enum target_kind { TARGET_BYTES = 1, TARGET_PSNR = 2 } target_kind;

typedef struct target_point {
    int quality, rate_bias;
    double reached; /* bytes or dB */
} target_point;

typedef struct target_search {
    target_kind kind;
    double wanted;
    target_point best;
    /* what is left to try: quality, then bias, in (low, high) */
    target_point now;
    int low, high, tries;
    bool biased, one_level, finished;
    double unbiased; /* reached at this quality without bias */
} target_search;

/* one_level: of a model whose quality changes nothing. */
void target_begin(target_search *search, target_kind kind, double wanted, bool one_level);
/* False when the best point has been found; else what to try next. */
bool target_next(const target_search *search, target_point *point);
/* What came out there.  True when no point before was better. */
bool target_report(target_search *search, double reached);
/* Whether the best point is within 3 % of the size, or 0.1 dB. */
bool target_met(const target_search *search);

#endif
