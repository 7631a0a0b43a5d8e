/*
 * corpus_internal.h - the corpus as its loader (corpus.c) leaves it for the cropper
 * (corpus_crop.c).
 */
#ifndef TRAINER_CORPUS_INTERNAL_H
#define TRAINER_CORPUS_INTERNAL_H

#include "trainer/corpus.h"

struct corpus {
    corpus_stats stats;
    vqz_image *pictures; /* training pictures, then held-out ones; rows dense */
    /* Training pictures by ascending area, and the sums of the areas before each (pictures + 1). */
    uint32_t *by_area;
    uint64_t *area_before;
};

#endif
