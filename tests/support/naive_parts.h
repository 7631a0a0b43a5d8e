/*
 * naive_parts.h - arithmetic that the files of the naive codec share.
 */
#ifndef TESTS_NAIVE_PARTS_H
#define TESTS_NAIVE_PARTS_H

#include "format/model.h"

/* Nearest value of so many bits. */
int64_t naive_clamp(int64_t value, int bits);
int64_t naive_activate(const vqzi_op *op, int64_t t);
/* What applies at a quality. */
int64_t naive_bias(const vqzi_model *model, int quality, const vqzi_op *op, int channel);
int64_t naive_step(const vqzi_model *model, int quality, uint32_t channel);
int64_t naive_entry(const vqzi_model *model, int quality, const vqzi_plane *plane, uint32_t code,
                    uint32_t dim);

#endif
