/*
 * tensor.h - what the network asks of a backend, below the public interface of backend.h: planned
 * convolutions, and the elementwise passes between them.
 *
 * Everything is planned when it is created; the calls of a training step allocate nothing of their
 * own.  Tensors are dense NHWC; a `tensor_type` says how a value is stored.
 */
#ifndef TRAINER_TENSOR_H
#define TRAINER_TENSOR_H

#include "trainer/backend.h"
#include "trainer/network.h"

typedef enum tensor_type { TENSOR_FLOAT32, TENSOR_BFLOAT16 } tensor_type;

static inline size_t tensor_type_size(tensor_type type) {
    return type == TENSOR_FLOAT32 ? 4 : 2;
}

/* Called on entry of every operation of a network: makes OpenMP and oneDNN use the backend's number
   of threads in the calling thread. */
void backend_enter(const backend *b);
/* 64-byte aligned memory; release with backend_release (NULL is fine). */
VQZ_MUST_CHECK vqz_status backend_allocate(void **memory, size_t size, vqz_diag *diag);
void backend_release(void *memory);
/* Work memory that all operations of a backend share, one after another: grown while they are
   planned, and only then. */
VQZ_MUST_CHECK vqz_status backend_reserve(backend *b, size_t size, vqz_diag *diag);
void *backend_scratch(const backend *b);

/* ---- convolutions (backend_dnnl.c, winograd.c) ---- */

/* AUTO: the faster way.  The others are for tests, which compare them. */
typedef enum conv_method { CONV_AUTO, CONV_DIRECT, CONV_WINOGRAD } conv_method;

typedef struct conv_options {
    int batch, height, width, cin, cout, kernel, stride;
    tensor_type src_type, dst_type, grad_type; /* grad_type: of both gradients */
    bool training;      /* plan the backward passes */
    bool fuse_bias;     /* one bias vector for all samples: add it in the convolution */
    bool fuse_add;      /* add a tensor of add_type before the activation */
    tensor_type add_type;
    layer_activation activation;
    int slope;
    bool transposed; /* lacks taps, see network.h: their weights are zero, and what is written as their
                        gradients means nothing */
    conv_method method;
} conv_options;

typedef struct conv conv;
VQZ_MUST_CHECK vqz_status conv_create(conv **c, backend *b, const conv_options *options,
                                      vqz_diag *diag);
void conv_free(conv *c);
/* Whether conv_forward does bias, addition and activation itself; else it computes conv(src) alone,
   and the caller runs epilogue(). */
bool conv_fused(const conv *c);
/* weights: (cout, kernel, kernel, cin) float32, reordered here into the layout of the primitive. */
VQZ_MUST_CHECK vqz_status conv_forward(conv *c, const float *weights, const float *bias,
                                       const void *src, const void *add, void *dst);
VQZ_MUST_CHECK vqz_status conv_backward_data(conv *c, const float *weights, const void *grad_dst,
                                             void *grad_src);
VQZ_MUST_CHECK vqz_status conv_backward_weights(conv *c, const void *src, const void *grad_dst,
                                                float *grad_weights);

/* ---- elementwise passes (elementwise.c) ---- */

enum { TENSOR_MAX_CHANNELS = 4096 };

/* Shape of a tensor as the passes see it. */
typedef struct tensor_shape {
    int batch, height, width, channels;
} tensor_shape;

static inline size_t tensor_shape_count(const tensor_shape *s) {
    return (size_t)s->batch * (size_t)s->height * (size_t)s->width * (size_t)s->channels;
}

/* dst = act(src + bias[levels[sample]] + add); biases (sets, channels), levels and add may be NULL
   (levels NULL: set 0).  dst may be src when their types agree, not add. */
typedef struct epilogue_args {
    tensor_shape shape;
    const void *src, *add;
    void *dst;
    tensor_type src_type, add_type, dst_type;
    const float *biases;
    const int *levels;
    layer_activation activation;
    int slope;
} epilogue_args;
void epilogue(const backend *b, const epilogue_args *args);

typedef struct gradient_part {
    const void *data;
    tensor_type type;
} gradient_part;

/* dst = act'(output) * sum of the parts; grad_biases (sets, channels) = sums of dst by level.
   dst NULL: only the biases (the single part is the gradient already).  grad_biases may be NULL.
   dst may be one of the parts, of its type.  partial: threads * sets * channels doubles of work memory. */
typedef struct gradient_args {
    tensor_shape shape;
    const gradient_part *parts;
    int part_count;
    const void *output; /* the register after its activation; only its sign matters */
    tensor_type output_type;
    layer_activation activation;
    int slope;
    void *dst;
    tensor_type dst_type;
    float *grad_biases;
    int sets;
    const int *levels;
    double *partial;
} gradient_args;
void gradient(const backend *b, const gradient_args *args);

/* Space to depth (inverse: depth to space); shape is that of the picture with the larger height. */
void space_to_depth(const backend *b, const tensor_shape *space, int block, bool inverse,
                    const void *src, tensor_type src_type, void *dst, tensor_type dst_type);

/* max_abs[c] = max |src[..., c]|. */
void channel_max(const tensor_shape *shape, const void *src, tensor_type type, float *max_abs);

/* terms[i] = e^(logits[i] - largest) for count logits, their sum returned: of a softmax. */
float softmax_terms(const float *restrict logits, int count, float *restrict terms,
                    float *largest);

#endif
