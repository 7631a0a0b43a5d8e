/*
 * network.h - a float convolutional network, forward and backward, for one geometry.
 *
 * The layers are those of the integer networks (format/model.h), so that export is a change of
 * number format and nothing else: register 0 is the input, layer i writes register i + 1, spatial
 * positions outside the picture are zero, padding before is (kernel - 1) / 2.
 *
 *   LAYER_CONV   dst = act(conv(src) + bias[level of the sample] (+ add register))
 *   LAYER_ACT    dst = act(src)
 *   LAYER_S2D / LAYER_D2S   as in format/model.h: channel = (dy * block + dx) * C + c
 *
 * Parameters of all layers live in one flat float array owned by the caller (like llm.c), with a
 * gradient array of the same layout: weights (cout, kernel, kernel, cin), then biases
 * (bias_sets, cout), layer after layer.
 */
#ifndef TRAINER_NETWORK_H
#define TRAINER_NETWORK_H

#include "trainer/backend.h"

enum { NETWORK_MAX_LAYERS = 64 };
typedef enum layer_kind { LAYER_CONV = 1, LAYER_ACT, LAYER_S2D, LAYER_D2S } layer_kind;
typedef enum layer_activation { ACT_NONE, ACT_RELU, ACT_LEAKY } layer_activation;

typedef struct layer {
    layer_kind kind;
    int src;            /* register read */
    int add;            /* CONV: register added before the activation, -1 for none */
    layer_activation activation;
    int slope;          /* ACT_LEAKY: negative side is multiplied by 2^-slope */
    int block;          /* S2D, D2S */
    int kernel, stride; /* CONV */
    int cin, cout;      /* channels of src and dst, for every kind */
    int bias_sets;      /* CONV: 1 or the number of levels */
    bool transposed;    /* CONV, kernel 3, followed by D2S 2: a transposed 4x4 stride-2 convolution
                           written as 3x3 to 4x the channels; the weights it lacks stay zero */
    bool causal;        /* CONV, stride 1: of input channels `full` and above only taps before the centre,
                           in raster order, are read; the other weights stay zero */
    int full;
    size_t weights, biases; /* offsets into the parameter array */
} layer;

typedef struct network_spec {
    int input_channels;
    int layer_count;
    layer layers[NETWORK_MAX_LAYERS];
    size_t parameter_count;
} network_spec;

/* Builders: append a layer, compute cin and the offsets; return the register written.
   Programmer errors assert. */
void network_spec_init(network_spec *spec, int input_channels);
int network_conv(network_spec *spec, int src, int cout, int kernel, int stride,
                 layer_activation activation, int slope, int add, int bias_sets);
int network_transposed_conv(network_spec *spec, int src, int cout, layer_activation activation,
                            int slope); /* 4x4 stride 2: conv 3x3 to 4 cout, then D2S 2 */
/* Makes the last layer, a convolution, causal in its input channels from `full` on. */
void network_make_causal(network_spec *spec, int full);
int network_act(network_spec *spec, int src, layer_activation activation, int slope);
int network_s2d(network_spec *spec, int src, int block);
int network_d2s(network_spec *spec, int src, int block);
/* Fan-in scaled truncated normal (sigma = gain / sqrt(fan_in)), zero biases; *random is the state of
   the trainer's generator (random.h). */
struct random_state;
void network_init_parameters(const network_spec *spec, float gain, struct random_state *random,
                             float *parameters);
/* Zeroes the entries of `parameters` (values or gradients) that transposed and causal layers lack. */
void network_mask(const network_spec *spec, float *parameters);
/* Multiply-accumulates of one forward pass per sample of height x width (dense, as computed). */
double network_macs(const network_spec *spec, int height, int width);

/* A network planned for one geometry: primitives, weight layouts and buffers are made once. */
typedef struct network network;
VQZ_MUST_CHECK vqz_status network_create(network **net, const network_spec *spec, backend *b,
                                         int batch, int height, int width, bool training,
                                         vqz_diag *diag);
void network_free(network *net);
/* Size of the output register. */
void network_output_shape(const network *net, int *height, int *width, int *channels);

/* input: (batch, height, width, input_channels) float32; levels: (batch) bias set of each sample;
   output: (batch, oh, ow, oc) float32.  Register contents stay valid until the next forward. */
VQZ_MUST_CHECK vqz_status network_forward(network *net, const float *parameters,
                                          const float *input, const int *levels, float *output);
/* Gradients of the last forward.  grad_parameters is overwritten; grad_input may be NULL. */
VQZ_MUST_CHECK vqz_status network_backward(network *net, const float *parameters,
                                           const float *grad_output, float *grad_parameters,
                                           float *grad_input);
/* Largest absolute value in a register after a forward, per channel (channels floats): what the
   exporter sizes its integer ranges with. */
VQZ_MUST_CHECK vqz_status network_register_max(const network *net, int reg, float *max_abs);

#endif
