/*
 * network_spec.c - descriptions of networks: builders, initial parameters, the mask of transposed
 * convolutions, and cost.  Knows no backend; network.c runs what is described here.
 */
#include "trainer/network.h"
#include "trainer/random.h"
#include "trainer/tensor.h"
#include <assert.h>
#include <math.h>
#include <string.h>

void network_spec_init(network_spec *spec, int input_channels) {
    assert(input_channels >= 1 && input_channels <= TENSOR_MAX_CHANNELS);
    memset(spec, 0, sizeof *spec);
    spec->input_channels = input_channels;
}

static int register_channels(const network_spec *spec, int reg) {
    assert(reg >= 0 && reg <= spec->layer_count);
    return reg == 0 ? spec->input_channels : spec->layers[reg - 1].cout;
}

static int append(network_spec *spec, layer l) {
    assert(spec->layer_count < NETWORK_MAX_LAYERS);
    assert(l.cout >= 1 && l.cout <= TENSOR_MAX_CHANNELS);
    assert(l.activation != ACT_LEAKY || (l.slope >= 1 && l.slope <= 8));
    l.cin = register_channels(spec, l.src);
    l.weights = l.biases = spec->parameter_count;
    if (l.kind == LAYER_CONV) {
        l.biases += (size_t)l.cout * (size_t)(l.kernel * l.kernel) * (size_t)l.cin;
        spec->parameter_count = l.biases + (size_t)l.bias_sets * (size_t)l.cout;
    }
    spec->layers[spec->layer_count++] = l;
    return spec->layer_count;
}

int network_conv(network_spec *spec, int src, int cout, int kernel, int stride,
                 layer_activation activation, int slope, int add, int bias_sets) {
    assert(kernel >= 1 && kernel <= 5 && (stride == 1 || stride == 2) && kernel >= stride);
    assert(bias_sets >= 1);
    assert(add < 0 || register_channels(spec, add) == cout);
    return append(spec, (layer){.kind = LAYER_CONV, .src = src, .add = add < 0 ? -1 : add,
                                .activation = activation, .slope = slope, .kernel = kernel,
                                .stride = stride, .cout = cout, .bias_sets = bias_sets});
}

int network_transposed_conv(network_spec *spec, int src, int cout, layer_activation activation,
                            int slope) {
    int reg = network_conv(spec, src, 4 * cout, 3, 1, activation, slope, -1, 1);
    spec->layers[reg - 1].transposed = true;
    return network_d2s(spec, reg, 2);
}

void network_make_causal(network_spec *spec, int full) {
    layer *l = &spec->layers[spec->layer_count - 1];
    assert(l->kind == LAYER_CONV && l->stride == 1 && full >= 0 && full <= l->cin);
    l->causal = true;
    l->full = full;
}

int network_act(network_spec *spec, int src, layer_activation activation, int slope) {
    return append(spec, (layer){.kind = LAYER_ACT, .src = src, .add = -1, .activation = activation,
                                .slope = slope, .cout = register_channels(spec, src)});
}

int network_s2d(network_spec *spec, int src, int block) {
    assert(block >= 2 && block <= 8);
    return append(spec, (layer){.kind = LAYER_S2D, .src = src, .add = -1, .block = block,
                                .cout = register_channels(spec, src) * block * block});
}

int network_d2s(network_spec *spec, int src, int block) {
    assert(block >= 2 && block <= 8 && register_channels(spec, src) % (block * block) == 0);
    return append(spec, (layer){.kind = LAYER_D2S, .src = src, .add = -1, .block = block,
                                .cout = register_channels(spec, src) / (block * block)});
}

/* Whether a transposed convolution has tap (ky, kx) for output channel oc.  Row dy of each 2x2
   output block sees input rows y + dy - 1 and y + dy only: of the three rows of a 3x3 kernel, the
   last is missing for dy = 0 and the first for dy = 1.  Columns alike. */
static bool transposed_has(const layer *l, int oc, int ky, int kx) {
    int position = oc / (l->cout / 4), dy = position / 2, dx = position % 2;
    return ky != 2 * (1 - dy) && kx != 2 * (1 - dx);
}

static void mask_causal(const layer *l, float *weights) {
    int taps = l->kernel * l->kernel, centre = taps / 2;
    for (int oc = 0; oc < l->cout; oc++)
        for (int tap = 0; tap < taps; tap++, weights += l->cin)
            if (tap >= centre)
                memset(weights + l->full, 0, (size_t)(l->cin - l->full) * sizeof *weights);
}

void network_mask(const network_spec *spec, float *parameters) {
    for (int i = 0; i < spec->layer_count; i++) {
        const layer *l = &spec->layers[i];
        if (l->kind == LAYER_CONV && l->causal)
            mask_causal(l, parameters + l->weights);
        if (l->kind != LAYER_CONV || !l->transposed)
            continue;
        float *w = parameters + l->weights;
        for (int oc = 0; oc < l->cout; oc++)
            for (int ky = 0; ky < 3; ky++)
                for (int kx = 0; kx < 3; kx++, w += l->cin)
                    if (!transposed_has(l, oc, ky, kx))
                        memset(w, 0, (size_t)l->cin * sizeof *w);
    }
}

void network_init_parameters(const network_spec *spec, float gain, struct random_state *random,
                             float *parameters) {
    memset(parameters, 0, spec->parameter_count * sizeof *parameters);
    for (int i = 0; i < spec->layer_count; i++) {
        const layer *l = &spec->layers[i];
        if (l->kind != LAYER_CONV)
            continue;
        int taps = l->transposed ? 4 : l->kernel * l->kernel;
        float sigma = gain / sqrtf((float)taps * (float)l->cin);
        for (size_t w = l->weights; w < l->biases; w++) {
            float value = random_normal(random);
            while (fabsf(value) > 2.0f)
                value = random_normal(random);
            parameters[w] = sigma * value;
        }
    }
    network_mask(spec, parameters);
}

double network_macs(const network_spec *spec, int height, int width) {
    int h[NETWORK_MAX_LAYERS + 1], w[NETWORK_MAX_LAYERS + 1];
    double macs = 0;
    h[0] = height;
    w[0] = width;
    for (int i = 0; i < spec->layer_count; i++) {
        const layer *l = &spec->layers[i];
        int divide = l->kind == LAYER_CONV ? l->stride : l->kind == LAYER_S2D ? l->block : 1;
        int multiply = l->kind == LAYER_D2S ? l->block : 1;
        h[i + 1] = (h[l->src] + divide - 1) / divide * multiply;
        w[i + 1] = (w[l->src] + divide - 1) / divide * multiply;
        if (l->kind == LAYER_CONV)
            macs += (double)h[i + 1] * w[i + 1] * l->kernel * l->kernel * l->cin * l->cout;
    }
    return macs;
}
