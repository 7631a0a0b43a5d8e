/*
 * random_model.h - small random models that obey every rule, for tests of whatever runs or stores a
 * model.  The networks compute nothing sensible, but their outputs spread over their range, so that
 * a wrong tap, bias, shift or halo changes pixels.
 */
#ifndef TESTS_RANDOM_MODEL_H
#define TESTS_RANDOM_MODEL_H

#include "codec/vqz.h"
#include "format/model.h"

/* splitmix64: small, and the same everywhere. */
typedef struct test_random {
    uint64_t state;
} test_random;
uint64_t test_random_next(test_random *random);
/* Uniform in low..high, both included. */
int32_t test_random_range(test_random *random, int32_t low, int32_t high);

typedef struct random_model_options {
    uint64_t seed;
    uint32_t channels;        /* 1, 3, 4 */
    uint32_t stride;          /* 2, 4, 8, 16, 32 */
    uint32_t levels;          /* 1..16 */
    uint32_t latent_channels; /* 1..256 */
    uint32_t planes;          /* 1..64 */
    uint32_t max_codes;       /* 2..4096: the first plane has exactly so many */
    uint32_t hidden;          /* channels of the inner layers, about */
    bool overlap;             /* planes may share channels (residual VQ) */
    bool shuffle;             /* use S2D and D2S where a level of scale changes */
    bool residual;            /* residual blocks with add registers */
    bool dictionaries;        /* train zstd dictionaries for some streams */
    uint32_t pixel_shift;     /* 0..8 */
    bool prior; /* a conditional prior; planes then share no channels and are no more than these */
    bool ordered; /* with a prior: every plane of one channel is, else some are */
} random_model_options;

/* RGB, stride 8, 3 levels, 6 latent channels, 4 planes of up to 32 codes, everything on but
   the prior. */
void random_model_options_init(random_model_options *options, uint64_t seed);
/* The same with every field drawn at random (networks stay small). */
void random_model_options_draw(random_model_options *options, uint64_t seed);
/* Builds the model; exits the test program with a message when memory is short. */
void random_model(vqzi_model *model, const random_model_options *options);
/* The same through its file, as a user would load it. */
vqz_model *random_model_load(const random_model_options *options);

#endif
