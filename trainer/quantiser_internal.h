/* quantiser_internal.h - the quantiser's insides, shared by its three source files. */
#ifndef TRAINER_QUANTISER_INTERNAL_H
#define TRAINER_QUANTISER_INTERNAL_H

#include "trainer/quantiser.h"

enum {
    DISTANCE_ROWS = 4096, /* positions whose distances are held at once */
    GEMM_DIMS = 16        /* planes of this many dims or more use matrix products */
};

struct quantiser {
    const model_spec *spec;
    backend *backend;
    size_t max_positions;
    float *parameters; /* borrowed: log steps (L, D), books */
    size_t parameter_count;
    size_t book_offset[VQZI_MAX_PLANES];
    /* state: steps seen (L), then per plane counts (L, K), sums (L, K, d), bits (L, K), usage (L, K) */
    float *state;
    size_t state_count;
    size_t count_offset[VQZI_MAX_PLANES], sum_offset[VQZI_MAX_PLANES],
        bits_offset[VQZI_MAX_PLANES], usage_offset[VQZI_MAX_PLANES];
    /* statistics, as quantiser.h lays them out */
    size_t statistics_count, batch_count_offset[VQZI_MAX_PLANES], batch_sum_offset[VQZI_MAX_PLANES];
    /* work */
    float *residuals; /* (positions, residual_width): what each plane saw in the last assignment */
    int residual_offset[VQZI_MAX_PLANES], residual_width, max_codes;
    float *dense;     /* (DISTANCE_ROWS, d): residuals of a wide plane */
    float *tables;    /* entries of a level times -2, transposed: (L, residual_width, max_codes) */
    float *penalties; /* |entry|^2 + lambda * bits: (L, planes, max_codes) */
    float *distances; /* (DISTANCE_ROWS, max_codes) */
};

#endif
