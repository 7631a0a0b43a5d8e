/*
 * preset.h - the model families that `vqz train` knows: networks, index planes and the settings they
 * are trained with.
 *
 *   classic  the VQ-VAE of van den Oord et al. 2017 as DeepMind's Sonnet example trains it: stride 4,
 *            one plane over all D channels.
 *   photo    a PCA-initialised linear path of 8x8 blocks plus CNN branches, stride 8, a scalar plane a
 *            channel, seven quality levels in one model; fast and best are smaller and larger.
 *   graphics the same at stride 4 with a channel for every value of a block.
 *   tiny     the same at stride 16, for pictures of a few dozen pixels.
 */
#ifndef TRAINER_PRESET_H
#define TRAINER_PRESET_H

#include "format/model.h"
#include "trainer/network.h"

typedef struct plane_spec {
    int dims, codes;
    bool scalar;   /* dims = 1: code k stands for v = k - codes / 2 steps, about which its entry stays;
                      coded by a mean and a spread */
    int channels[VQZI_MAX_PLANE_DIMS];
} plane_spec;

/* Consecutive planes that the prior predicts together (format/model.h), from the channels before `end`. */
typedef struct stage_spec {
    int first_plane, planes;
    int begin, end; /* channels of its planes */
    network_spec net;
} stage_spec;

typedef struct model_spec {
    const char *name;
    int channels; /* of the pictures */
    int stride;   /* pixels per latent position */
    int latent_channels, levels, plane_count;
    network_spec analysis, synthesis;
    plane_spec planes[VQZI_MAX_PLANES];
    int stage_count;
    stage_spec stages[VQZI_MAX_STAGES];
    /* Layers that hold the linear path, to be initialised by PCA; -1 when there is none. */
    int analysis_linear, synthesis_linear;
} model_spec;

/* How a preset is trained unless options say otherwise. */
typedef struct train_settings {
    int batch, crop;
    float learning_rate, min_scale, beta;
    float adam_beta2;
    float constant_part;   /* of the run before the cosine decay starts */
    float warm_part;       /* of the run with noisy scalar quantisation, before hard assignment */
    float lambdas[VQZI_MAX_LEVELS]; /* squared pixel error (pixels in [-1, 1]) per bit */
    bool ema;              /* codebooks by EMA, else by their own loss */
    bool normalise_levels; /* weigh a sample by 1 / running error of its level, so that dB count alike */
} train_settings;

/* codes and latent_channels: 0 for the preset's.  Unknown names are VQZ_ERROR_ARGUMENT. */
VQZ_MUST_CHECK vqz_status preset_build(const char *name, int channels, int codes,
                                       int latent_channels, model_spec *spec,
                                       train_settings *settings, vqz_diag *diag);

#endif
