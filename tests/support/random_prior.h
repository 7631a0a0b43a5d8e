/*
 * random_prior.h - the prior of a random model, and what random_model.c lends for building its
 * nets.
 */
#ifndef TESTS_RANDOM_PRIOR_H
#define TESTS_RANDOM_PRIOR_H

#include "tests/support/random_model.h"

typedef struct test_net_builder {
    const random_model_options *options;
    test_random *random;
    vqzi_net *net;
} test_net_builder;

/* Zeroed memory; exits the test program when there is none. */
void *test_allocate(size_t count, size_t size);
bool test_coin(test_random *random);
/* Appends a convolution whose output spreads over about `bits` bits when its input does over its
 * own. */
vqzi_op *test_convolve(test_net_builder *builder, uint32_t src, uint32_t channels, uint32_t kernel,
                       uint32_t stride, uint32_t bits);
void test_set_activation(test_net_builder *builder, vqzi_op *op);

/* Builds model->prior; the planes share no channels and list them in order. */
void test_random_prior(vqzi_model *model, const random_model_options *options, test_random *random);

#endif
