/*
 * varied_model.h - random models that go where random_model.h does not: extreme weights, shifts,
 * steps and tables, every kind of op in the synthesis, few bits.
 */
#ifndef TESTS_VARIED_MODEL_H
#define TESTS_VARIED_MODEL_H

#include "tests/support/random_model.h"

/* The model of random_model_options_draw with some of that; now and then one that breaks a rule. */
void varied_model(vqzi_model *model, uint64_t seed);
/* Puts ops behind the synthesis that leave its shape as it is: S2D, a convolution, D2S; with
   `strided` a convolution of stride 2 and D2S; then ACT. */
void extend_synthesis(vqzi_model *model, const random_model_options *options, test_random *random,
                      bool strided);

#endif
