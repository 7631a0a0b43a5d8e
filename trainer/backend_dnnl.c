/*
 * backend_dnnl.c - the backend on oneDNN 2.x: matrix products and planned convolutions.
 *
 * Activations stay in NHWC, so that everything between convolutions is a plain loop.  Weights
 * arrive as (cout, kernel, kernel, cin) float32 and are reordered, with the conversion to bfloat16,
 * into whatever layout a primitive asked for; the reorders are made once, with the primitives.  All
 * primitives share one scratchpad, which belongs to the backend and grows only while plans are
 * made.
 */
#include "trainer/backend.h"
#include "trainer/onednn.h"
#include "trainer/tensor.h"
#include "trainer/winograd.h"
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

struct backend {
    precision precision;
    int threads;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    void *scratchpad;
    size_t scratchpad_size;
};

/* A primitive with the memory objects it is called with. */
typedef struct primitive {
    dnnl_primitive_t primitive;
    dnnl_memory_t scratchpad; /* NULL when it needs none */
} primitive;

struct conv {
    backend *b;
    winograd *winograd;
    bool winograd_forward, winograd_gradients; /* what it does; the primitives do the rest */
    bool fused, add;
    dnnl_memory_t src, dst, grad_src, grad_dst, added, bias; /* handles are set at each call */
    dnnl_memory_t user;                     /* caller's weights or their gradients, OHWI float32 */
    dnnl_memory_t weights, back_weights, grad_weights; /* as the primitives want them */
    void *weights_data, *back_weights_data, *grad_weights_data;
    primitive forward, backward_data, backward_weights;
    primitive reorder, reorder_back, reorder_grad;
};

static vqz_status dnnl_fail(vqz_diag *diag, dnnl_status_t status, const char *what) {
    if (status == dnnl_out_of_memory)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "not enough memory to %s; use a smaller batch or "
                         "crop", what);
    return vqzi_fail(diag, VQZ_ERROR_UNSUPPORTED, "oneDNN cannot %s (its status is %d)", what,
                     (int)status);
}

#define DNNL_TRY(expr, diag, what)                                                                 \
    do {                                                                                           \
        dnnl_status_t dnnl_try_status = (expr);                                                    \
        if (dnnl_try_status != dnnl_success)                                                       \
            return dnnl_fail(diag, dnnl_try_status, what);                                         \
    } while (0)

vqz_status backend_create(backend **b, precision p, int threads, vqz_diag *diag) {
    VQZ_TRY(onednn_load(diag));
    /* oneDNN emulates bfloat16 on AVX-512 without the instructions, slower than float32 runs. */
    if (p == PRECISION_BFLOAT16 && (onednn.get_effective_cpu_isa() &
                                    dnnl_cpu_isa_avx512_core_bf16) != dnnl_cpu_isa_avx512_core_bf16)
        return vqzi_fail(diag, VQZ_ERROR_UNSUPPORTED,
                         "this processor has no bfloat16 instructions; use float32");
    if (threads < 1)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "the number of threads must be at least 1");
    backend *made = calloc(1, sizeof *made);
    if (!made)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "not enough memory to create a backend");
    made->precision = p;
    made->threads = threads;
    dnnl_status_t status = onednn.engine_create(&made->engine, dnnl_cpu, 0);
    if (status == dnnl_success)
        status = onednn.stream_create(&made->stream, made->engine, dnnl_stream_default_flags);
    if (status != dnnl_success) {
        backend_free(made);
        return dnnl_fail(diag, status, "start on this processor");
    }
    *b = made;
    return VQZ_OK;
}

void backend_free(backend *b) {
    if (!b)
        return;
    if (b->stream)
        onednn.stream_destroy(b->stream);
    if (b->engine)
        onednn.engine_destroy(b->engine);
    backend_release(b->scratchpad);
    free(b);
}

precision backend_precision(const backend *b) {
    return b->precision;
}

int backend_threads(const backend *b) {
    return b->threads;
}

void backend_enter(const backend *b) {
    omp_set_num_threads(b->threads);
}

vqz_status backend_allocate(void **memory, size_t size, vqz_diag *diag) {
    size_t rounded = size <= SIZE_MAX - 64 ? (VQZI_MAX(size, 1) + 63) / 64 * 64 : 0;
    void *made = rounded ? aligned_alloc(64, rounded) : NULL;
    if (!made)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY,
                         "cannot allocate %zu MiB for the network; use a smaller batch or crop",
                         size >> 20);
    *memory = made;
    return VQZ_OK;
}

void backend_release(void *memory) {
    free(memory);
}

vqz_status backend_reserve(backend *b, size_t size, vqz_diag *diag) {
    if (size <= b->scratchpad_size)
        return VQZ_OK;
    void *grown = NULL;
    VQZ_TRY(backend_allocate(&grown, size, diag));
    backend_release(b->scratchpad);
    b->scratchpad = grown;
    b->scratchpad_size = size;
    return VQZ_OK;
}

void *backend_scratch(const backend *b) {
    return b->scratchpad;
}

vqz_status backend_gemm_nt(backend *b, size_t m, size_t n, size_t k, float alpha, const float *a,
                           const float *bt, float beta, float *c) {
    if (m == 0 || n == 0)
        return VQZ_OK;
    if (m > INT32_MAX || n > INT32_MAX || k < 1 || k > INT32_MAX)
        return VQZ_ERROR_ARGUMENT;
    backend_enter(b);
    DNNL_TRY(onednn.sgemm('N', 'T', (dnnl_dim_t)m, (dnnl_dim_t)n, (dnnl_dim_t)k, alpha, a,
                          (dnnl_dim_t)k, bt, (dnnl_dim_t)k, beta, c, (dnnl_dim_t)n),
             NULL, "multiply matrices");
    return VQZ_OK;
}

/* ---- planning ---- */

static dnnl_data_type_t data_type(tensor_type type) {
    return type == TENSOR_FLOAT32 ? dnnl_f32 : dnnl_bf16;
}

static vqz_status make_memory(dnnl_memory_t *memory, const backend *b,
                              const dnnl_memory_desc_t *desc, void *data, vqz_diag *diag) {
    DNNL_TRY(onednn.memory_create(memory, desc, b->engine, data), diag, "describe a tensor");
    return VQZ_OK;
}

/* Turns a primitive descriptor, which it consumes, into a primitive; sees to the scratchpad. */
static vqz_status make_primitive(primitive *p, backend *b, dnnl_primitive_desc_t pd,
                                 vqz_diag *diag) {
    const dnnl_memory_desc_t *desc =
        onednn.primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    size_t size = desc ? onednn.memory_desc_get_size(desc) : 0;
    vqz_status status = backend_reserve(b, size, diag);
    if (status == VQZ_OK && size > 0)
        status = make_memory(&p->scratchpad, b, desc, DNNL_MEMORY_NONE, diag);
    if (status == VQZ_OK) {
        dnnl_status_t created = onednn.primitive_create(&p->primitive, pd);
        if (created != dnnl_success)
            status = dnnl_fail(diag, created, "create a primitive");
    }
    onednn.primitive_desc_destroy(pd);
    return status;
}

static vqz_status make_reorder(primitive *p, backend *b, dnnl_memory_t from, dnnl_memory_t to,
                               const_dnnl_primitive_attr_t attr, vqz_diag *diag) {
    const dnnl_memory_desc_t *from_desc, *to_desc;
    dnnl_primitive_desc_t pd;
    DNNL_TRY(onednn.memory_get_memory_desc(from, &from_desc), diag, "describe weights");
    DNNL_TRY(onednn.memory_get_memory_desc(to, &to_desc), diag, "describe weights");
    DNNL_TRY(
        onednn.reorder_primitive_desc_create(&pd, from_desc, b->engine, to_desc, b->engine, attr),
        diag, "reorder weights");
    return make_primitive(p, b, pd, diag);
}

/* Memory in the layout that the primitive wants its weights (or their gradients) in. */
static vqz_status make_weights(dnnl_memory_t *memory, void **data, backend *b,
                               const_dnnl_primitive_desc_t pd, dnnl_query_t what, vqz_diag *diag) {
    const dnnl_memory_desc_t *desc = onednn.primitive_desc_query_md(pd, what, 0);
    VQZ_TRY(backend_allocate(data, onednn.memory_desc_get_size(desc), diag));
    return make_memory(memory, b, desc, *data, diag);
}

/* What the planning of one convolution hands around; freed when it is done. */
typedef struct plan {
    const conv_options *options;
    dnnl_memory_desc_t src, dst, grad_src, grad_dst, added, weights, grad_weights, bias;
    dnnl_dims_t strides, before, after;
    dnnl_primitive_attr_t attr, fused_attr;
    dnnl_primitive_desc_t forward; /* owned; the hint of the backward descriptors */
} plan;

static dnnl_status_t describe(plan *p, const backend *b) {
    const conv_options *o = p->options;
    int oh = (o->height + o->stride - 1) / o->stride, ow = (o->width + o->stride - 1) / o->stride;
    int pad = (o->kernel - 1) / 2;
    dnnl_data_type_t compute = b->precision == PRECISION_BFLOAT16 ? dnnl_bf16 : dnnl_f32;
    const dnnl_dims_t src = {o->batch, o->cin, o->height, o->width};
    const dnnl_dims_t dst = {o->batch, o->cout, oh, ow};
    const dnnl_dims_t weights = {o->cout, o->cin, o->kernel, o->kernel}, bias = {o->cout};
    p->strides[0] = p->strides[1] = o->stride;
    p->before[0] = p->before[1] = pad;
    /* What the last output reads past the picture; negative when strides skip the last rows. */
    p->after[0] = VQZI_MAX((oh - 1) * o->stride + o->kernel - pad - o->height, 0);
    p->after[1] = VQZI_MAX((ow - 1) * o->stride + o->kernel - pad - o->width, 0);
    struct {
        dnnl_memory_desc_t *desc;
        const dnnl_dim_t *dims;
        int rank;
        dnnl_data_type_t type;
        dnnl_format_tag_t tag;
    } list[] = {
        {&p->src, src, 4, data_type(o->src_type), dnnl_nhwc},
        {&p->dst, dst, 4, data_type(o->dst_type), dnnl_nhwc},
        {&p->added, dst, 4, data_type(o->add_type), dnnl_nhwc},
        {&p->grad_src, src, 4, data_type(o->grad_type), dnnl_nhwc},
        {&p->grad_dst, dst, 4, data_type(o->grad_type), dnnl_nhwc},
        {&p->weights, weights, 4, compute, dnnl_format_tag_any},
        {&p->grad_weights, weights, 4, dnnl_f32, dnnl_format_tag_any},
        {&p->bias, bias, 1, dnnl_f32, dnnl_x},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        dnnl_status_t status = onednn.memory_desc_init_by_tag(
            list[i].desc, list[i].rank, list[i].dims, list[i].type, list[i].tag);
        if (status != dnnl_success)
            return status;
    }
    return dnnl_success;
}

static dnnl_status_t make_attributes(plan *p) {
    const conv_options *o = p->options;
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t status = onednn.primitive_attr_create(&p->attr);
    if (status == dnnl_success)
        status = onednn.primitive_attr_set_scratchpad_mode(p->attr, dnnl_scratchpad_mode_user);
    if (status == dnnl_success)
        status = onednn.primitive_attr_clone(&p->fused_attr, p->attr);
    if (status == dnnl_success)
        status = onednn.post_ops_create(&ops);
    if (status == dnnl_success && o->fuse_add)
        status = onednn.post_ops_append_binary(ops, dnnl_binary_add, &p->added);
    if (status == dnnl_success && o->activation != ACT_NONE)
        status = onednn.post_ops_append_eltwise(
            ops, 1.0f, dnnl_eltwise_relu, o->activation == ACT_LEAKY ? ldexpf(1, -o->slope) : 0,
            0.0f);
    if (status == dnnl_success)
        status = onednn.primitive_attr_set_post_ops(p->fused_attr, ops);
    if (ops)
        onednn.post_ops_destroy(ops);
    return status;
}

/* A forward descriptor, with bias, addition and activation in the primitive or without. */
static dnnl_status_t forward_desc(dnnl_primitive_desc_t *pd, const plan *p, const backend *b,
                                  bool fused) {
    const conv_options *o = p->options;
    dnnl_convolution_desc_t desc;
    dnnl_status_t status = onednn.convolution_forward_desc_init(
        &desc, o->training ? dnnl_forward_training : dnnl_forward_inference,
        dnnl_convolution_direct, &p->src, &p->weights, fused && o->fuse_bias ? &p->bias : NULL,
        &p->dst, p->strides, p->before, p->after);
    if (status != dnnl_success)
        return status;
    return onednn.primitive_desc_create(pd, &desc, fused ? p->fused_attr : p->attr, b->engine,
                                        NULL);
}

/* oneDNN falls back on its plain loops where no fast kernel knows the combination. */
static bool is_reference(const_dnnl_primitive_desc_t pd) {
    const char *name = NULL;
    return onednn.primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name) == dnnl_success &&
           strncmp(name, "ref", 3) == 0;
}

static vqz_status plan_forward(conv *c, plan *p, vqz_diag *diag) {
    const conv_options *o = p->options;
    /* A per-sample bias has to come before the activation, and the primitive cannot add it. */
    c->fused = o->fuse_bias && forward_desc(&p->forward, p, c->b, true) == dnnl_success;
    if (c->fused && is_reference(p->forward)) {
        onednn.primitive_desc_destroy(p->forward);
        p->forward = NULL;
        c->fused = false;
    }
    if (!c->fused)
        DNNL_TRY(forward_desc(&p->forward, p, c->b, false), diag, "plan a convolution");
    c->add = c->fused && o->fuse_add;

    dnnl_primitive_desc_t copy;
    DNNL_TRY(onednn.primitive_desc_clone(&copy, p->forward), diag, "plan a convolution");
    VQZ_TRY(make_primitive(&c->forward, c->b, copy, diag));
    VQZ_TRY(make_weights(&c->weights, &c->weights_data, c->b, p->forward, dnnl_query_weights_md,
                         diag));
    VQZ_TRY(make_reorder(&c->reorder, c->b, c->user, c->weights, p->attr, diag));
    VQZ_TRY(make_memory(&c->src, c->b, &p->src, DNNL_MEMORY_NONE, diag));
    VQZ_TRY(make_memory(&c->dst, c->b, &p->dst, DNNL_MEMORY_NONE, diag));
    VQZ_TRY(make_memory(&c->added, c->b, &p->added, DNNL_MEMORY_NONE, diag));
    return make_memory(&c->bias, c->b, &p->bias, DNNL_MEMORY_NONE, diag);
}

static vqz_status plan_backward(conv *c, plan *p, vqz_diag *diag) {
    dnnl_convolution_desc_t desc;
    dnnl_primitive_desc_t pd, copy;
    VQZ_TRY(make_memory(&c->grad_src, c->b, &p->grad_src, DNNL_MEMORY_NONE, diag));
    VQZ_TRY(make_memory(&c->grad_dst, c->b, &p->grad_dst, DNNL_MEMORY_NONE, diag));

    DNNL_TRY(onednn.convolution_backward_data_desc_init(&desc, dnnl_convolution_direct,
                                                        &p->grad_src, &p->weights, &p->grad_dst,
                                                        p->strides, p->before, p->after),
             diag, "plan the gradient of a convolution");
    DNNL_TRY(onednn.primitive_desc_create(&pd, &desc, p->attr, c->b->engine, p->forward), diag,
             "plan the gradient of a convolution");
    vqz_status status = make_weights(&c->back_weights, &c->back_weights_data, c->b, pd,
                                     dnnl_query_weights_md, diag);
    if (status != VQZ_OK || onednn.primitive_desc_clone(&copy, pd) != dnnl_success) {
        onednn.primitive_desc_destroy(pd);
        return status != VQZ_OK ? status : dnnl_fail(diag, dnnl_out_of_memory, "plan a gradient");
    }
    onednn.primitive_desc_destroy(pd);
    VQZ_TRY(make_primitive(&c->backward_data, c->b, copy, diag));
    VQZ_TRY(make_reorder(&c->reorder_back, c->b, c->user, c->back_weights, p->attr, diag));

    DNNL_TRY(onednn.convolution_backward_weights_desc_init(&desc, dnnl_convolution_direct, &p->src,
                                                           &p->grad_weights, NULL, &p->grad_dst,
                                                           p->strides, p->before, p->after),
             diag, "plan the weight gradient of a convolution");
    DNNL_TRY(onednn.primitive_desc_create(&pd, &desc, p->attr, c->b->engine, p->forward), diag,
             "plan the weight gradient of a convolution");
    status = make_weights(&c->grad_weights, &c->grad_weights_data, c->b, pd,
                          dnnl_query_diff_weights_md, diag);
    if (status != VQZ_OK) {
        onednn.primitive_desc_destroy(pd);
        return status;
    }
    VQZ_TRY(make_primitive(&c->backward_weights, c->b, pd, diag));
    return make_reorder(&c->reorder_grad, c->b, c->grad_weights, c->user, p->attr, diag);
}

static vqz_status plan_all(conv *c, plan *p, vqz_diag *diag) {
    const conv_options *o = p->options;
    DNNL_TRY(describe(p, c->b), diag, "describe a convolution");
    DNNL_TRY(make_attributes(p), diag, "describe a convolution");
    const dnnl_dims_t dims = {o->cout, o->cin, o->kernel, o->kernel};
    dnnl_memory_desc_t user;
    DNNL_TRY(onednn.memory_desc_init_by_tag(&user, 4, dims, dnnl_f32, dnnl_ohwi), diag,
             "describe weights");
    VQZ_TRY(make_memory(&c->user, c->b, &user, DNNL_MEMORY_NONE, diag));
    VQZ_TRY(plan_forward(c, p, diag));
    return o->training && !c->winograd_gradients ? plan_backward(c, p, diag) : VQZ_OK;
}

vqz_status conv_create(conv **c, backend *b, const conv_options *options, vqz_diag *diag) {
    conv *made = calloc(1, sizeof *made);
    if (!made)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "not enough memory to plan a convolution");
    made->b = b;
    plan p = {.options = options};
    bool automatic = options->method == CONV_AUTO, always = options->method == CONV_WINOGRAD;
    /* Direct gradients are planned from a direct forward pass; where that does not pay, nor do they. */
    made->winograd_gradients =
        options->training && (always || (automatic && winograd_pays(b, options, true)));
    made->winograd_forward = always || (automatic && winograd_pays(b, options, false) &&
                                        made->winograd_gradients == options->training);
    vqz_status status = VQZ_OK;
    if (made->winograd_forward || made->winograd_gradients)
        status = winograd_create(&made->winograd, b, options, diag);
    if (made->winograd_forward)
        made->fused = options->fuse_bias;
    else if (status == VQZ_OK)
        status = plan_all(made, &p, diag);
    if (p.forward)
        onednn.primitive_desc_destroy(p.forward);
    if (p.attr)
        onednn.primitive_attr_destroy(p.attr);
    if (p.fused_attr)
        onednn.primitive_attr_destroy(p.fused_attr);
    if (status != VQZ_OK) {
        conv_free(made);
        return status;
    }
    *c = made;
    return VQZ_OK;
}

void conv_free(conv *c) {
    if (!c)
        return;
    primitive *primitives[] = {&c->forward, &c->backward_data, &c->backward_weights,
                               &c->reorder, &c->reorder_back, &c->reorder_grad};
    for (size_t i = 0; i < sizeof primitives / sizeof *primitives; i++) {
        if (primitives[i]->primitive)
            onednn.primitive_destroy(primitives[i]->primitive);
        if (primitives[i]->scratchpad)
            onednn.memory_destroy(primitives[i]->scratchpad);
    }
    dnnl_memory_t memories[] = {c->src, c->dst, c->grad_src, c->grad_dst, c->added, c->bias,
                                c->user, c->weights, c->back_weights, c->grad_weights};
    for (size_t i = 0; i < sizeof memories / sizeof *memories; i++)
        if (memories[i])
            onednn.memory_destroy(memories[i]);
    winograd_free(c->winograd);
    backend_release(c->weights_data);
    backend_release(c->back_weights_data);
    backend_release(c->grad_weights_data);
    free(c);
}

bool conv_fused(const conv *c) {
    return c->fused;
}

/* ---- execution ---- */

/* oneDNN takes sources by the same non-const handle as destinations. */
static dnnl_status_t point(dnnl_memory_t memory, const void *data) {
    return onednn.memory_set_data_handle(memory, (void *)(uintptr_t)data);
}

enum { MAX_ARGS = 6 };

static vqz_status execute(const backend *b, const primitive *p, int count,
                          const dnnl_exec_arg_t *list) {
    dnnl_exec_arg_t args[MAX_ARGS];
    memcpy(args, list, (size_t)count * sizeof *args);
    if (p->scratchpad) {
        DNNL_TRY(point(p->scratchpad, b->scratchpad), NULL, "use its scratchpad");
        args[count++] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, p->scratchpad};
    }
    DNNL_TRY(onednn.primitive_execute(p->primitive, b->stream, count, args), NULL, "run");
    DNNL_TRY(onednn.stream_wait(b->stream), NULL, "run");
    return VQZ_OK;
}

static vqz_status reorder(const backend *b, const primitive *p, dnnl_memory_t from,
                          dnnl_memory_t to) {
    return execute(b, p, 2, (const dnnl_exec_arg_t[]){{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
}

vqz_status conv_forward(conv *c, const float *weights, const float *bias, const void *src,
                        const void *add, void *dst) {
    if (c->winograd_forward) {
        winograd_forward(c->winograd, weights, bias, src, add, dst);
        return VQZ_OK;
    }
    DNNL_TRY(point(c->user, weights), NULL, "read weights");
    DNNL_TRY(point(c->src, src), NULL, "read a tensor");
    DNNL_TRY(point(c->dst, dst), NULL, "write a tensor");
    VQZ_TRY(reorder(c->b, &c->reorder, c->user, c->weights));
    dnnl_exec_arg_t args[MAX_ARGS] = {
        {DNNL_ARG_SRC, c->src}, {DNNL_ARG_WEIGHTS, c->weights}, {DNNL_ARG_DST, c->dst}};
    int count = 3;
    if (c->fused) {
        DNNL_TRY(point(c->bias, bias), NULL, "read biases");
        args[count++] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, c->bias};
    }
    if (c->add) {
        DNNL_TRY(point(c->added, add), NULL, "read a tensor");
        args[count++] = (dnnl_exec_arg_t){DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1,
                                          c->added};
    }
    return execute(c->b, &c->forward, count, args);
}

vqz_status conv_backward_data(conv *c, const float *weights, const void *grad_dst,
                              void *grad_src) {
    if (c->winograd_gradients) {
        winograd_backward_data(c->winograd, weights, grad_dst, grad_src);
        return VQZ_OK;
    }
    DNNL_TRY(point(c->user, weights), NULL, "read weights");
    DNNL_TRY(point(c->grad_dst, grad_dst), NULL, "read a tensor");
    DNNL_TRY(point(c->grad_src, grad_src), NULL, "write a tensor");
    VQZ_TRY(reorder(c->b, &c->reorder_back, c->user, c->back_weights));
    return execute(c->b, &c->backward_data, 3,
                   (const dnnl_exec_arg_t[]){{DNNL_ARG_DIFF_DST, c->grad_dst},
                                             {DNNL_ARG_WEIGHTS, c->back_weights},
                                             {DNNL_ARG_DIFF_SRC, c->grad_src}});
}

vqz_status conv_backward_weights(conv *c, const void *src, const void *grad_dst,
                                 float *grad_weights) {
    if (c->winograd_gradients) {
        winograd_backward_weights(c->winograd, src, grad_dst, grad_weights);
        return VQZ_OK;
    }
    DNNL_TRY(point(c->src, src), NULL, "read a tensor");
    DNNL_TRY(point(c->grad_dst, grad_dst), NULL, "read a tensor");
    VQZ_TRY(execute(c->b, &c->backward_weights, 3,
                    (const dnnl_exec_arg_t[]){{DNNL_ARG_SRC, c->src},
                                              {DNNL_ARG_DIFF_DST, c->grad_dst},
                                              {DNNL_ARG_DIFF_WEIGHTS, c->grad_weights}}));
    DNNL_TRY(point(c->user, grad_weights), NULL, "write a gradient");
    return reorder(c->b, &c->reorder_grad, c->grad_weights, c->user);
}
