/* preset.c - see preset.h. */
#include "trainer/preset.h"
#include <math.h>
#include <string.h>

/* A stage's net: the window over what is known, then two layers at the position itself.  The window is 5x5
   while there are no more than `wide` channels in it, else 3x3. */
static void add_stage(model_spec *spec, int planes, int hidden, int wide) {
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
    int kernel = stage->end <= wide ? 5 : 3;
    int reg = network_conv(net, 0, hidden, kernel, 1, ACT_LEAKY, 3, -1, spec->levels);
    network_make_causal(net, stage->begin);
    reg = network_conv(net, reg, hidden, 1, 1, ACT_LEAKY, 3, -1, 1);
    network_conv(net, reg, outputs, 1, 1, ACT_NONE, 0, -1, spec->levels);
    spec->stage_count++;
}

/* 1, 1, 2, 4, 8, ... planes: the channels of most energy see the most of each other. */
static void build_stages(model_spec *spec, int hidden, int wide) {
    int done = 0;
    for (int planes = 1; done < spec->plane_count; done += planes) {
        planes = VQZI_MIN(done > 1 ? done : 1, spec->plane_count - done);
        add_stage(spec, planes, hidden, wide);
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
    build_stages(spec, 96, 8);

    *settings = (train_settings){.batch = 32,
                                 .crop = 64,
                                 .learning_rate = 6e-4f,
                                 .min_scale = 1.0f,
                                 .beta = 0.25f,
                                 .adam_beta2 = 0.999f,
                                 .constant_part = 0.4f,
                                 .ema = true};
}

/* Residual block: x + conv(leaky(conv(x))), `activation` after the sum. */
static int residual(network_spec *net, int reg, int width, layer_activation activation) {
    int inner = network_conv(net, reg, width, 3, 1, ACT_LEAKY, 3, -1, 1);
    return network_conv(net, inner, width, 3, 1, activation, 3, reg, 1);
}

/* `count` residual blocks, the last one with the activation. */
static int residuals(network_spec *net, int reg, int width, int count,
                     layer_activation activation) {
    for (int i = 0; i < count; i++)
        reg = residual(net, reg, width, i + 1 < count ? ACT_NONE : activation);
    return reg;
}

/* A linear path beside a CNN: the whole block to D channels, to be initialised by PCA. */
static int linear_analysis(model_spec *spec) {
    network_spec *net = &spec->analysis;
    network_spec_init(net, spec->channels);
    int blocks = network_s2d(net, 0, VQZI_MIN(spec->stride, 8));
    if (spec->stride > 8)
        blocks = network_s2d(net, blocks, spec->stride / 8);
    spec->analysis_linear = net->layer_count;
    return network_conv(net, blocks, spec->latent_channels, 1, 1, ACT_NONE, 0, -1, 1);
}

/* D channels to blocks of stride / 2 pixels, each direction, to which the CNN's are added. */
static int linear_synthesis(model_spec *spec) {
    network_spec *net = &spec->synthesis;
    network_spec_init(net, spec->latent_channels);
    spec->synthesis_linear = net->layer_count;
    int area = spec->stride * spec->stride;
    int linear = network_conv(net, 0, area * spec->channels, 1, 1, ACT_NONE, 0, -1, 1);
    return network_d2s(net, linear, 2);
}

/* One scalar plane a channel.  Channels are in order of falling variance: few codes where there is little
   to tell. */
static void scalar_planes(model_spec *spec) {
    spec->plane_count = spec->latent_channels;
    for (int c = 0; c < spec->plane_count; c++) {
        int codes = c == 0 ? 1024 : c < 4 ? 512 : c < 12 ? 256 : c < 32 ? 128 : 64;
        spec->planes[c] =
            (plane_spec){.dims = 1, .codes = codes, .scalar = true, .channels = {c}};
    }
}

static void transform_settings(model_spec *spec, train_settings *settings, int batch, int crop) {
    *settings = (train_settings){.batch = batch,
                                 .crop = crop,
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
    for (int level = 0; level < spec->levels; level++)
        settings->lambdas[level] = 0.006f * powf(2.35f, (float)(spec->levels - 1 - level));
}

/* Photographs, in three sizes of what decodes them, up to 10, 4 and 30 kMAC a pixel.  Analysis: widths at
   1/4 and 1/8.  Synthesis: widths at 1/8 and 1/4, residual blocks at 1/8.  Prior: hidden width, channels up
   to which windows are 5x5. */
typedef struct photo_size {
    const char *name;
    int near, far, wide, blocks, narrow, hidden, window;
} photo_size;
static const photo_size PHOTO_SIZES[] = {{"photo", 64, 128, 96, 1, 32, 64, 8},
                                         {"fast", 48, 96, 48, 1, 24, 32, 2},
                                         {"best", 64, 128, 160, 2, 64, 64, 4}};

static void build_photo(model_spec *spec, train_settings *settings, const photo_size *size,
                        int dims) {
    spec->stride = 8;
    spec->latent_channels = dims ? dims : 64;
    spec->levels = 7;

    network_spec *net = &spec->analysis;
    int linear = linear_analysis(spec);
    int reg = network_s2d(net, 0, 4);
    reg = network_conv(net, reg, size->near, 3, 1, ACT_LEAKY, 3, -1, 1);
    reg = residual(net, reg, size->near, ACT_NONE);
    reg = network_conv(net, reg, size->far, 3, 2, ACT_LEAKY, 3, -1, spec->levels);
    reg = residuals(net, reg, size->far, 2, ACT_LEAKY);
    network_conv(net, reg, spec->latent_channels, 1, 1, ACT_NONE, 0, linear, 1);

    net = &spec->synthesis;
    linear = linear_synthesis(spec);
    reg = network_conv(net, 0, size->wide, 3, 1, ACT_LEAKY, 3, -1, spec->levels);
    reg = residuals(net, reg, size->wide, size->blocks, ACT_LEAKY);
    reg = network_conv(net, reg, 4 * size->narrow, 3, 1, ACT_LEAKY, 3, -1, 1);
    reg = network_d2s(net, reg, 2);
    reg = residual(net, reg, size->narrow, ACT_LEAKY);
    reg = network_conv(net, reg, 16 * spec->channels, 3, 1, ACT_NONE, 0, linear, 1);
    network_d2s(net, reg, 4);

    scalar_planes(spec);
    build_stages(spec, size->hidden, size->window);
    transform_settings(spec, settings, 16, 128);
}

/* Drawings, screens, icons: stride 4 and as many channels as a block has values, so that no edge is out
   of reach at high quality. */
static void build_graphics(model_spec *spec, train_settings *settings, int dims) {
    spec->stride = 4;
    spec->latent_channels = dims ? dims : 16 * spec->channels;
    spec->levels = 7;

    network_spec *net = &spec->analysis;
    int linear = linear_analysis(spec);
    int reg = network_s2d(net, 0, 4);
    reg = network_conv(net, reg, 96, 3, 1, ACT_LEAKY, 3, -1, spec->levels);
    reg = residuals(net, reg, 96, 2, ACT_LEAKY);
    network_conv(net, reg, spec->latent_channels, 1, 1, ACT_NONE, 0, linear, 1);

    net = &spec->synthesis;
    linear = linear_synthesis(spec);
    reg = network_conv(net, 0, 96, 3, 1, ACT_LEAKY, 3, -1, spec->levels);
    reg = residual(net, reg, 96, ACT_LEAKY);
    reg = network_conv(net, reg, 16 * spec->channels, 3, 1, ACT_NONE, 0, -1, 1);
    reg = network_d2s(net, reg, 2);
    reg = network_conv(net, reg, 4 * spec->channels, 3, 1, ACT_NONE, 0, linear, 1);
    network_d2s(net, reg, 2);

    scalar_planes(spec);
    build_stages(spec, 64, 8);
    transform_settings(spec, settings, 16, 128);
}

/* Pictures of a few dozen pixels: stride 16, so that the codes of a handful of positions are the whole
   picture, each of them seen by all. */
static void build_tiny(model_spec *spec, train_settings *settings, int dims) {
    spec->stride = 16;
    spec->latent_channels = dims ? dims : 64;
    spec->levels = 7;

    network_spec *net = &spec->analysis;
    int linear = linear_analysis(spec);
    int reg = network_s2d(net, 0, 4);
    reg = network_conv(net, reg, 64, 3, 1, ACT_LEAKY, 3, -1, 1);
    reg = network_conv(net, reg, 96, 3, 2, ACT_LEAKY, 3, -1, spec->levels);
    reg = residual(net, reg, 96, ACT_NONE);
    reg = network_conv(net, reg, 128, 3, 2, ACT_LEAKY, 3, -1, 1);
    reg = residual(net, reg, 128, ACT_LEAKY);
    network_conv(net, reg, spec->latent_channels, 1, 1, ACT_NONE, 0, linear, 1);

    net = &spec->synthesis;
    linear = linear_synthesis(spec);
    reg = network_conv(net, 0, 128, 3, 1, ACT_LEAKY, 3, -1, spec->levels);
    reg = residual(net, reg, 128, ACT_LEAKY);
    reg = network_conv(net, reg, 256, 3, 1, ACT_LEAKY, 3, -1, 1);
    reg = network_d2s(net, reg, 2);
    reg = residual(net, reg, 64, ACT_LEAKY);
    reg = network_conv(net, reg, 64 * spec->channels, 3, 1, ACT_NONE, 0, linear, 1);
    network_d2s(net, reg, 8);

    scalar_planes(spec);
    build_stages(spec, 96, 8);
    transform_settings(spec, settings, 64, 32);
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
        return VQZ_OK;
    }
    if (codes != 0)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "--codes belongs to preset classic; the codebooks of %s have fixed sizes",
                         name);
    int values = (strcmp(name, "graphics") == 0 ? 16 : 64) * channels; /* or more, of a block */
    if (latent_channels < 0 || latent_channels > VQZI_MIN(values, VQZI_MAX_PLANES))
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "%d latent channels: %s has 1 to %d",
                         latent_channels, name, VQZI_MIN(values, VQZI_MAX_PLANES));
    for (size_t i = 0; i < sizeof PHOTO_SIZES / sizeof *PHOTO_SIZES; i++)
        if (strcmp(name, PHOTO_SIZES[i].name) == 0) {
            spec->name = PHOTO_SIZES[i].name;
            build_photo(spec, settings, &PHOTO_SIZES[i], latent_channels);
            return VQZ_OK;
        }
    if (strcmp(name, "graphics") == 0) {
        spec->name = "graphics";
        build_graphics(spec, settings, latent_channels);
    } else if (strcmp(name, "tiny") == 0) {
        spec->name = "tiny";
        build_tiny(spec, settings, latent_channels);
    } else {
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "there is no preset \"%s\"; the presets are photo, fast, best, graphics, tiny and "
                         "classic",
                         name);
    }
    return VQZ_OK;
}
