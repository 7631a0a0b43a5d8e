/* preset.c - see preset.h. */
#include "trainer/preset.h"
#include <math.h>
#include <string.h>

/* A stage's net: the window over what is known, then two layers at the position itself. */
static void add_stage(model_spec *spec, int planes, int hidden) {
    stage_spec *stage = &spec->stages[spec->stage_count];
    const stage_spec *before = stage - 1;
    int outputs = 0;
    stage->first_plane = spec->stage_count ? before->first_plane + before->planes : 0;
    stage->begin = stage->end = spec->stage_count ? before->end : 0;
    stage->planes = planes;
    for (int p = stage->first_plane; p < stage->first_plane + planes; p++) {
        stage->end += spec->planes[p].dims;
        outputs += spec->planes[p].scalar ? 2 : spec->planes[p].codes;
    }
    network_spec *net = &stage->net;
    network_spec_init(net, stage->end);
    int kernel = stage->end <= 8 ? 5 : 3;
    int reg = network_conv(net, 0, hidden, kernel, 1, ACT_LEAKY, 3, -1, spec->levels);
    network_make_causal(net, stage->begin);
    reg = network_conv(net, reg, hidden, 1, 1, ACT_LEAKY, 3, -1, 1);
    network_conv(net, reg, outputs, 1, 1, ACT_NONE, 0, -1, spec->levels);
    spec->stage_count++;
}

/* 1, 1, 2, 4, 8, ... planes: the channels of most energy see the most of each other. */
static void build_stages(model_spec *spec, int hidden) {
    int done = 0;
    for (int planes = 1; done < spec->plane_count; done += planes) {
        planes = VQZI_MIN(done > 1 ? done : 1, spec->plane_count - done);
        add_stage(spec, planes, hidden);
    }
}

/* Pre-activation residual stack of the Sonnet example: [ReLU, 3x3 to 32, ReLU, 1x1, add] twice, then
   ReLU (fused into the last block: the sum is read by nothing else). */
static int classic_residuals(network_spec *net, int reg, int hidden) {
    for (int i = 0; i < 2; i++) {
        int active = network_act(net, reg, ACT_RELU, 0);
        int inner = network_conv(net, active, 32, 3, 1, ACT_RELU, 0, -1, 1);
        reg = network_conv(net, inner, hidden, 1, 1, i == 1 ? ACT_RELU : ACT_NONE, 0, reg, 1);
    }
    return reg;
}

static void build_classic(model_spec *spec, train_settings *settings, int codes, int dims) {
    spec->stride = 4;
    spec->latent_channels = dims ? dims : 64;
    spec->levels = 1;

    network_spec *net = &spec->analysis;
    network_spec_init(net, spec->channels);
    int reg = network_conv(net, 0, 64, 4, 2, ACT_RELU, 0, -1, 1);
    reg = network_conv(net, reg, 128, 4, 2, ACT_RELU, 0, -1, 1);
    reg = network_conv(net, reg, 128, 3, 1, ACT_NONE, 0, -1, 1);
    reg = classic_residuals(net, reg, 128);
    network_conv(net, reg, spec->latent_channels, 1, 1, ACT_NONE, 0, -1, 1);

    net = &spec->synthesis;
    network_spec_init(net, spec->latent_channels);
    reg = network_conv(net, 0, 128, 3, 1, ACT_NONE, 0, -1, 1);
    reg = classic_residuals(net, reg, 128);
    reg = network_transposed_conv(net, reg, 64, ACT_RELU, 0);
    network_transposed_conv(net, reg, spec->channels, ACT_NONE, 0);

    spec->plane_count = 1;
    plane_spec *plane = &spec->planes[0];
    *plane = (plane_spec){.dims = spec->latent_channels, .codes = codes ? codes : 512};
    for (int c = 0; c < plane->dims; c++)
        plane->channels[c] = c;
    build_stages(spec, 96);

    *settings = (train_settings){.batch = 32,
                                 .crop = 64,
                                 .learning_rate = 6e-4f,
                                 .min_scale = 1.0f,
                                 .beta = 0.25f,
                                 .adam_beta2 = 0.999f,
                                 .constant_part = 0.4f,
                                 .ema = true};
}

/* Residual block of the photo transform: x + conv(leaky(conv(x))), `activation` after the sum. */
static int photo_residual(network_spec *net, int reg, int width, layer_activation activation) {
    int inner = network_conv(net, reg, width, 3, 1, ACT_LEAKY, 3, -1, 1);
    return network_conv(net, inner, width, 3, 1, activation, 3, reg, 1);
}

static void build_photo(model_spec *spec, train_settings *settings, int dims) {
    spec->stride = 8;
    spec->latent_channels = dims ? dims : 64;
    spec->levels = 7;
    int levels = spec->levels, block = 16 * spec->channels; /* channels of a 4x4 block */

    network_spec *net = &spec->analysis;
    network_spec_init(net, spec->channels);
    int blocks = network_s2d(net, 0, 8);
    spec->analysis_linear = net->layer_count;
    int linear = network_conv(net, blocks, spec->latent_channels, 1, 1, ACT_NONE, 0, -1, 1);
    int reg = network_s2d(net, 0, 4);
    reg = network_conv(net, reg, 64, 3, 1, ACT_LEAKY, 3, -1, 1);
    reg = photo_residual(net, reg, 64, ACT_NONE);
    reg = network_conv(net, reg, 128, 3, 2, ACT_LEAKY, 3, -1, levels);
    reg = photo_residual(net, reg, 128, ACT_NONE);
    reg = photo_residual(net, reg, 128, ACT_LEAKY);
    network_conv(net, reg, spec->latent_channels, 1, 1, ACT_NONE, 0, linear, 1);

    net = &spec->synthesis;
    network_spec_init(net, spec->latent_channels);
    spec->synthesis_linear = net->layer_count;
    linear = network_conv(net, 0, 4 * block, 1, 1, ACT_NONE, 0, -1, 1);
    linear = network_d2s(net, linear, 2);
    reg = network_conv(net, 0, 96, 3, 1, ACT_LEAKY, 3, -1, levels);
    reg = photo_residual(net, reg, 96, ACT_LEAKY);
    reg = network_conv(net, reg, 128, 3, 1, ACT_LEAKY, 3, -1, 1);
    reg = network_d2s(net, reg, 2);
    reg = photo_residual(net, reg, 32, ACT_LEAKY);
    reg = network_conv(net, reg, block, 3, 1, ACT_NONE, 0, linear, 1);
    network_d2s(net, reg, 4);

    /* Channels are in order of falling variance: few codes where there is little to tell. */
    spec->plane_count = VQZI_MIN(spec->latent_channels, VQZI_MAX_PLANES);
    for (int c = 0; c < spec->plane_count; c++)
        spec->planes[c] = (plane_spec){.dims = 1,
                                       .codes = c == 0   ? 1024
                                                : c < 4  ? 512
                                                : c < 12 ? 256
                                                : c < 32 ? 128
                                                         : 64,
                                       .scalar = true,
                                       .channels = {c}};
    build_stages(spec, 64);

    *settings = (train_settings){.batch = 16,
                                 .crop = 128,
                                 .learning_rate = 1e-3f,
                                 .min_scale = 0.5f,
                                 /* Where decoding is nearly an isometry, a smaller beta lets latents
                                    overshoot their codes by 1 / beta: the quantiser's dead zone is an
                                    error that the straight-through gradient keeps trying to mend. */
                                 .beta = 1.0f,
                                 .adam_beta2 = 0.99f,
                                 .constant_part = 0.4f,
                                 .warm_part = 0.4f,
                                 .ema = true,
                                 .normalise_levels = true};
    /* Level 0 is the smallest file.  Each level asks 2.35 times less error a bit than the last. */
    for (int level = 0; level < levels; level++)
        settings->lambdas[level] = 0.006f * powf(2.35f, (float)(levels - 1 - level));
}

vqz_status preset_build(const char *name, int channels, int codes, int latent_channels,
                        model_spec *spec, train_settings *settings, vqz_diag *diag) {
    memset(spec, 0, sizeof *spec);
    spec->channels = channels;
    spec->analysis_linear = spec->synthesis_linear = -1;
    if (codes != 0 && (codes < 2 || codes > VQZI_MAX_CODES))
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "%d codes: a codebook has 2 to %d", codes,
                         VQZI_MAX_CODES);
    if (strcmp(name, "classic") == 0) {
        if (latent_channels < 0 || latent_channels > VQZI_MAX_PLANE_DIMS)
            return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "%d latent channels: classic has 1 to %d",
                             latent_channels, VQZI_MAX_PLANE_DIMS);
        spec->name = "classic";
        build_classic(spec, settings, codes, latent_channels);
    } else if (strcmp(name, "photo") == 0) {
        int blocks = 64 * channels;
        if (latent_channels < 0 || latent_channels > VQZI_MIN(blocks, VQZI_MAX_PLANES))
            return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "%d latent channels: photo has 1 to %d",
                             latent_channels, VQZI_MIN(blocks, VQZI_MAX_PLANES));
        spec->name = "photo";
        build_photo(spec, settings, latent_channels);
    } else {
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "there is no preset \"%s\"; the presets are classic and photo", name);
    }
    return VQZ_OK;
}
