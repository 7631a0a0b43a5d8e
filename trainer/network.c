/*
 * network.c - runs a network_spec forward and backward: what is computed when, and in which buffer.
 *
 * Everything is decided at creation.  Registers live in one arena: in training all of them to the
 * end of the pass, else only from where they are written to where they are last read.  Gradients
 * live in a second arena.  The backward pass visits the layers from last to first.  A register that
 * several layers read has one gradient part for each of them; the parts are summed by the pass that
 * applies the derivative of the activation, which also sums the bias gradients, so that skip
 * connections cost no pass of their own.  Every part has one reader, which may overwrite it; only
 * the caller's gradient of the output is left alone.
 *
 * With bfloat16, what lies behind the last convolution stays float32: the output is not rounded.
 */
#include "trainer/network.h"
#include "trainer/tensor.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_REGISTERS = NETWORK_MAX_LAYERS + 1,
    MAX_PARTS = 2 * NETWORK_MAX_LAYERS + 1, /* a layer hands on at most two; one is the output's */
    MAX_BUFFERS = 2 * NETWORK_MAX_LAYERS + 1,
    OUTPUT_GRADIENT = 0 /* the caller's buffer, float32 */
};

/* Memory that is used from time `first` to time `last`, both included. */
typedef struct buffer {
    size_t size, offset;
    int first, last;
} buffer;

/* The backward pass of one layer, with buffers by index. */
typedef struct step {
    int first_part, part_count; /* in network.parts */
    int grad;                   /* gradient before the activation */
    bool in_place;              /* grad is the single part as it is */
    int data;                   /* gradient of src (for ACT: grad itself), -1 for none */
} step;

struct network {
    network_spec spec;
    backend *b;
    bool training;
    tensor_type compute;
    tensor_shape shape[MAX_REGISTERS];
    tensor_type type[MAX_REGISTERS];
    bool learns[MAX_REGISTERS]; /* depends on parameters: needs a gradient */
    bool dead[MAX_REGISTERS];   /* does not reach the output: has no gradient */
    buffer registers[MAX_REGISTERS];
    buffer buffers[MAX_BUFFERS];
    int buffer_count;
    step steps[NETWORK_MAX_LAYERS];
    int parts[MAX_PARTS], part_count;
    int input_first_part, input_part_count;
    conv *convs[NETWORK_MAX_LAYERS];
    char *register_arena, *gradient_arena;
    double *partial; /* work memory of the bias gradients */
    const float *grad_output; /* during a backward pass */
    int *levels;              /* of the last forward */
    bool ran;
};

/* ---- planning ---- */

static vqz_status plan_shapes(network *n, int batch, int height, int width, vqz_diag *diag) {
    n->shape[0] = (tensor_shape){batch, height, width, n->spec.input_channels};
    for (int i = 0; i < n->spec.layer_count; i++) {
        const layer *l = &n->spec.layers[i];
        tensor_shape *dst = &n->shape[i + 1];
        *dst = n->shape[l->src];
        dst->channels = l->cout;
        if (l->kind == LAYER_CONV) {
            dst->height = (dst->height + l->stride - 1) / l->stride;
            dst->width = (dst->width + l->stride - 1) / l->stride;
        } else if (l->kind == LAYER_S2D) {
            if (dst->height % l->block || dst->width % l->block)
                return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                                 "layer %d cuts %d x %d positions into blocks of %d; use a "
                                 "multiple of it", i, dst->width, dst->height, l->block);
            dst->height /= l->block;
            dst->width /= l->block;
        } else if (l->kind == LAYER_D2S) {
            dst->height *= l->block;
            dst->width *= l->block;
        }
        if (l->kind == LAYER_CONV && l->add >= 0 &&
            (n->shape[l->add].height != dst->height || n->shape[l->add].width != dst->width))
            return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                             "layer %d adds a register of another size; use pictures whose sides "
                             "are multiples of the network's stride", i);
        size_t count;
        if (!vqzi_mul((size_t)batch * (size_t)l->cout, (size_t)dst->height * (size_t)dst->width,
                      &count) || count > SIZE_MAX / 64)
            return vqzi_fail(diag, VQZ_ERROR_LIMIT, "the network is too large for this machine");
    }
    return VQZ_OK;
}

/* Types: float32 from the last convolution on, and for what is only added there. */
static void plan_types(network *n) {
    int last = n->spec.layer_count;
    for (int r = last; r >= 0; r--) {
        bool exact = r > 0, read = r == last;
        for (int i = r; i < last; i++) {
            const layer *l = &n->spec.layers[i];
            bool wide = n->type[i + 1] == TENSOR_FLOAT32;
            if (l->src == r)
                exact = exact && l->kind != LAYER_CONV && wide;
            if (l->kind == LAYER_CONV && l->add == r)
                exact = exact && wide;
            read = read || l->src == r || (l->kind == LAYER_CONV && l->add == r);
        }
        n->type[r] = exact && read ? TENSOR_FLOAT32 : n->compute;
    }
}

/* Places buffers, first fit, so that no two that live at once overlap; returns the arena's size. */
static size_t place(buffer *list, int count) {
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        size_t size = (list[i].size + 63) / 64 * 64;
        if (size == 0)
            continue;
        size_t offset = 0;
        for (bool moved = true; moved;) {
            moved = false;
            for (int j = 0; j < i; j++) {
                size_t end = list[j].offset + (list[j].size + 63) / 64 * 64;
                bool together = list[j].size && list[i].first <= list[j].last &&
                                list[j].first <= list[i].last;
                if (together && offset < end && list[j].offset < offset + size) {
                    offset = end;
                    moved = true;
                }
            }
        }
        list[i].offset = offset;
        total = VQZI_MAX(total, offset + size);
    }
    return total;
}

static vqz_status plan_registers(network *n, vqz_diag *diag) {
    int last = n->spec.layer_count;
    for (int r = 0; r <= last; r++) {
        n->dead[r] = r != last;
        n->registers[r] = (buffer){.size = tensor_shape_count(&n->shape[r]) *
                                           tensor_type_size(n->type[r]),
                                   .first = r, .last = n->training || r == last ? last + 1 : r};
    }
    for (int i = last - 1; i >= 0; i--) {
        const layer *l = &n->spec.layers[i];
        int reads[2] = {l->src, l->kind == LAYER_CONV ? l->add : -1};
        for (int k = 0; k < 2; k++) {
            if (reads[k] < 0)
                continue;
            buffer *src = &n->registers[reads[k]];
            src->last = VQZI_MAX(src->last, i + 1);
            n->dead[reads[k]] = n->dead[reads[k]] && n->dead[i + 1];
        }
    }
    for (int i = 0; i < last; i++) {
        const layer *l = &n->spec.layers[i];
        n->learns[i + 1] = l->kind == LAYER_CONV || n->learns[l->src];
    }
    void *arena = NULL;
    VQZ_TRY(backend_allocate(&arena, place(n->registers, last + 1), diag));
    n->register_arena = arena;
    return VQZ_OK;
}

/* Parts of the gradients of registers, while the backward pass is planned. */
typedef struct pending {
    int count[MAX_REGISTERS], part[MAX_REGISTERS][MAX_PARTS];
} pending;

static int new_buffer(network *n, int reg, int time) {
    assert(n->buffer_count < MAX_BUFFERS);
    n->buffers[n->buffer_count] = (buffer){
        .size = tensor_shape_count(&n->shape[reg]) * tensor_type_size(n->compute),
        .first = time, .last = time};
    return n->buffer_count++;
}

static void hand_on(pending *p, int reg, int part) {
    p->part[reg][p->count[reg]++] = part;
}

/* Takes the parts of a register into network.parts. */
static void collect(network *n, const pending *p, int reg, int time, int *first, int *count) {
    *first = n->part_count;
    *count = p->count[reg];
    for (int k = 0; k < *count; k++) {
        int part = p->part[reg][k];
        n->parts[n->part_count++] = part;
        n->buffers[part].last = time;
    }
}

static void plan_gradients(network *n, pending *p) {
    int layers = n->spec.layer_count;
    n->buffer_count = 1; /* OUTPUT_GRADIENT, of size 0 here */
    hand_on(p, layers, OUTPUT_GRADIENT);
    for (int i = layers - 1; i >= 0; i--) {
        const layer *l = &n->spec.layers[i];
        step *s = &n->steps[i];
        int time = layers - 1 - i;
        if (n->dead[i + 1])
            continue;
        collect(n, p, i + 1, time, &s->first_part, &s->part_count);
        const int *parts = n->parts + s->first_part;
        tensor_type single = parts[0] == OUTPUT_GRADIENT ? TENSOR_FLOAT32 : n->compute;
        s->in_place = s->part_count == 1 && l->activation == ACT_NONE && single == n->compute;
        s->grad = s->in_place ? parts[0] : -1;
        for (int k = 0; k < s->part_count && s->grad < 0; k++)
            if (parts[k] != OUTPUT_GRADIENT)
                s->grad = parts[k];
        if (s->grad < 0)
            s->grad = new_buffer(n, i + 1, time);
        s->data = l->kind == LAYER_ACT ? s->grad : new_buffer(n, l->src, time);
        n->buffers[s->grad].last = time;
        hand_on(p, l->src, s->data);
        if (l->kind == LAYER_CONV && l->add >= 0)
            hand_on(p, l->add, s->grad);
    }
    collect(n, p, 0, layers, &n->input_first_part, &n->input_part_count);
}

static vqz_status plan_backward(network *n, vqz_diag *diag) {
    pending *p = calloc(1, sizeof *p);
    if (!p)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "not enough memory to plan a network");
    plan_gradients(n, p);
    free(p);
    void *arena = NULL;
    VQZ_TRY(backend_allocate(&arena, place(n->buffers, n->buffer_count), diag));
    n->gradient_arena = arena;
    size_t sums = 0;
    for (int i = 0; i < n->spec.layer_count; i++) {
        const layer *l = &n->spec.layers[i];
        if (l->kind == LAYER_CONV)
            sums = VQZI_MAX(sums, (size_t)l->bias_sets * (size_t)l->cout);
    }
    VQZ_TRY(backend_allocate(&arena, sums * (size_t)backend_threads(n->b) * sizeof *n->partial,
                             diag));
    n->partial = arena;
    return VQZ_OK;
}

static vqz_status plan_convolutions(network *n, vqz_diag *diag) {
    for (int i = 0; i < n->spec.layer_count; i++) {
        const layer *l = &n->spec.layers[i];
        if (l->kind != LAYER_CONV)
            continue;
        const tensor_shape *src = &n->shape[l->src];
        VQZ_TRY(conv_create(&n->convs[i], n->b,
                            &(conv_options){.batch = src->batch,
                                            .height = src->height,
                                            .width = src->width,
                                            .cin = l->cin,
                                            .cout = l->cout,
                                            .kernel = l->kernel,
                                            .stride = l->stride,
                                            .src_type = n->type[l->src],
                                            .dst_type = n->type[i + 1],
                                            .grad_type = n->compute,
                                            .training = n->training,
                                            .fuse_bias = l->bias_sets == 1,
                                            .fuse_add = l->add >= 0,
                                            .add_type = l->add >= 0 ? n->type[l->add] : n->compute,
                                            .activation = l->activation,
                                            .slope = l->slope,
                                            .transposed = l->transposed},
                            diag));
    }
    return VQZ_OK;
}

static vqz_status plan_network(network *n, int batch, int height, int width, vqz_diag *diag) {
    VQZ_TRY(plan_shapes(n, batch, height, width, diag));
    plan_types(n);
    VQZ_TRY(plan_registers(n, diag));
    void *levels = NULL;
    VQZ_TRY(backend_allocate(&levels, (size_t)batch * sizeof *n->levels, diag));
    n->levels = levels;
    if (n->training)
        VQZ_TRY(plan_backward(n, diag));
    return plan_convolutions(n, diag);
}

vqz_status network_create(network **net, const network_spec *spec, backend *b, int batch,
                          int height, int width, bool training, vqz_diag *diag) {
    assert(spec->layer_count > 0);
    if (batch < 1 || height < 1 || width < 1 || batch > 65535 || height > 65535 || width > 65535)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "a network cannot run on %d pictures of %d x %d", batch, width, height);
    network *n = calloc(1, sizeof *n);
    if (!n)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "not enough memory to plan a network");
    backend_enter(b);
    n->spec = *spec;
    n->b = b;
    n->training = training;
    n->compute = backend_precision(b) == PRECISION_BFLOAT16 ? TENSOR_BFLOAT16 : TENSOR_FLOAT32;
    vqz_status status = plan_network(n, batch, height, width, diag);
    if (status != VQZ_OK) {
        network_free(n);
        return status;
    }
    *net = n;
    return VQZ_OK;
}

void network_free(network *net) {
    if (!net)
        return;
    for (int i = 0; i < NETWORK_MAX_LAYERS; i++)
        conv_free(net->convs[i]);
    backend_release(net->register_arena);
    backend_release(net->gradient_arena);
    backend_release(net->partial);
    backend_release(net->levels);
    free(net);
}

void network_output_shape(const network *net, int *height, int *width, int *channels) {
    const tensor_shape *s = &net->shape[net->spec.layer_count];
    *height = s->height;
    *width = s->width;
    *channels = s->channels;
}

/* ---- execution ---- */

static void *register_data(const network *n, int reg) {
    return n->register_arena + n->registers[reg].offset;
}

static void convert(const network *n, const tensor_shape *shape, const void *src,
                    tensor_type src_type, void *dst, tensor_type dst_type) {
    epilogue(n->b, &(epilogue_args){.shape = *shape, .src = src, .src_type = src_type, .dst = dst,
                                    .dst_type = dst_type});
}

static vqz_status convolve(network *n, int i, const float *parameters) {
    const layer *l = &n->spec.layers[i];
    const void *add = l->add >= 0 ? register_data(n, l->add) : NULL;
    void *dst = register_data(n, i + 1);
    const float *biases = parameters + l->biases;
    VQZ_TRY(conv_forward(n->convs[i], parameters + l->weights, biases, register_data(n, l->src),
                         add, dst));
    if (!conv_fused(n->convs[i]))
        epilogue(n->b, &(epilogue_args){.shape = n->shape[i + 1],
                                        .src = dst,
                                        .src_type = n->type[i + 1],
                                        .add = add,
                                        .add_type = add ? n->type[l->add] : n->compute,
                                        .dst = dst,
                                        .dst_type = n->type[i + 1],
                                        .biases = biases,
                                        .levels = l->bias_sets > 1 ? n->levels : NULL,
                                        .activation = l->activation,
                                        .slope = l->slope});
    return VQZ_OK;
}

vqz_status network_forward(network *net, const float *parameters, const float *input,
                           const int *levels, float *output) {
    const network_spec *spec = &net->spec;
    int last = spec->layer_count;
    for (int s = 0; s < net->shape[0].batch; s++)
        net->levels[s] = levels ? levels[s] : 0;
    for (int i = 0; i < last; i++)
        for (int s = 0; spec->layers[i].bias_sets > 1 && s < net->shape[0].batch; s++)
            if (net->levels[s] < 0 || net->levels[s] >= spec->layers[i].bias_sets)
                return VQZ_ERROR_ARGUMENT;
    backend_enter(net->b);
    convert(net, &net->shape[0], input, TENSOR_FLOAT32, register_data(net, 0), net->type[0]);
    for (int i = 0; i < last; i++) {
        const layer *l = &spec->layers[i];
        const void *src = register_data(net, l->src);
        void *dst = register_data(net, i + 1);
        switch (l->kind) {
        case LAYER_CONV:
            VQZ_TRY(convolve(net, i, parameters));
            break;
        case LAYER_ACT:
            epilogue(net->b, &(epilogue_args){.shape = net->shape[i + 1],
                                              .src = src,
                                              .src_type = net->type[l->src],
                                              .dst = dst,
                                              .dst_type = net->type[i + 1],
                                              .activation = l->activation,
                                              .slope = l->slope});
            break;
        case LAYER_S2D:
            space_to_depth(net->b, &net->shape[l->src], l->block, false, src, net->type[l->src],
                           dst, net->type[i + 1]);
            break;
        case LAYER_D2S:
            space_to_depth(net->b, &net->shape[i + 1], l->block, true, src, net->type[l->src], dst,
                           net->type[i + 1]);
            break;
        }
    }
    convert(net, &net->shape[last], register_data(net, last), net->type[last], output,
            TENSOR_FLOAT32);
    net->ran = true;
    return VQZ_OK;
}

static void *gradient_data(const network *n, int index) {
    return n->gradient_arena + n->buffers[index].offset;
}

static gradient_part get_part(const network *n, int index) {
    if (index == OUTPUT_GRADIENT)
        return (gradient_part){n->grad_output, TENSOR_FLOAT32};
    return (gradient_part){gradient_data(n, index), n->compute};
}

/* Sums the parts of a register's gradient, through the activation that wrote it. */
static void sum_parts(network *n, int reg, int first_part, int part_count, const layer *l,
                      void *dst, tensor_type dst_type, float *grad_biases) {
    gradient_part parts[MAX_PARTS];
    for (int k = 0; k < part_count; k++)
        parts[k] = get_part(n, n->parts[first_part + k]);
    gradient(n->b, &(gradient_args){.shape = n->shape[reg],
                                    .parts = parts,
                                    .part_count = part_count,
                                    .output = register_data(n, reg),
                                    .output_type = n->type[reg],
                                    .activation = l ? l->activation : ACT_NONE,
                                    .slope = l ? l->slope : 0,
                                    .dst = dst,
                                    .dst_type = dst_type,
                                    .grad_biases = grad_biases,
                                    .sets = l && l->kind == LAYER_CONV ? l->bias_sets : 0,
                                    .levels = n->levels,
                                    .partial = n->partial});
}

static vqz_status layer_backward(network *n, int i, const float *parameters, float *grad_parameters,
                                 bool want_data) {
    const layer *l = &n->spec.layers[i];
    const step *s = &n->steps[i];
    bool is_conv = l->kind == LAYER_CONV;
    const void *grad = get_part(n, s->grad).data;
    if (!s->in_place || is_conv)
        sum_parts(n, i + 1, s->first_part, s->part_count, l,
                  s->in_place ? NULL : gradient_data(n, s->grad), n->compute,
                  is_conv ? grad_parameters + l->biases : NULL);
    if (is_conv)
        VQZ_TRY(conv_backward_weights(n->convs[i], register_data(n, l->src), grad,
                                      grad_parameters + l->weights));
    if (!want_data || l->kind == LAYER_ACT)
        return VQZ_OK;
    void *data = gradient_data(n, s->data);
    if (is_conv)
        return conv_backward_data(n->convs[i], parameters + l->weights, grad, data);
    bool deep = l->kind == LAYER_S2D; /* the gradient is the deep tensor */
    space_to_depth(n->b, &n->shape[deep ? l->src : i + 1], l->block, deep, grad, n->compute, data,
                   n->compute);
    return VQZ_OK;
}

vqz_status network_backward(network *net, const float *parameters, const float *grad_output,
                            float *grad_parameters, float *grad_input) {
    const network_spec *spec = &net->spec;
    if (!net->training || !net->ran)
        return VQZ_ERROR_ARGUMENT;
    backend_enter(net->b);
    net->grad_output = grad_output;
    for (int i = spec->layer_count - 1; i >= 0; i--) {
        const layer *l = &spec->layers[i];
        if (net->dead[i + 1]) {
            size_t count = (size_t)l->cout * (size_t)l->bias_sets + l->biases - l->weights;
            if (l->kind == LAYER_CONV)
                memset(grad_parameters + l->weights, 0, count * sizeof *grad_parameters);
        } else if (net->learns[i + 1] || grad_input) {
            VQZ_TRY(layer_backward(net, i, parameters, grad_parameters,
                                   net->learns[l->src] || grad_input));
        }
    }
    if (grad_input && net->input_part_count > 0)
        sum_parts(net, 0, net->input_first_part, net->input_part_count, NULL, grad_input,
                  TENSOR_FLOAT32, NULL);
    else if (grad_input)
        memset(grad_input, 0, tensor_shape_count(&net->shape[0]) * sizeof *grad_input);
    network_mask(spec, grad_parameters);
    return VQZ_OK;
}

vqz_status network_register_max(const network *net, int reg, float *max_abs) {
    /* Without training, registers share memory and only the output is certain to be there. */
    if (!net->ran || reg < 0 || reg > net->spec.layer_count ||
        (!net->training && reg != net->spec.layer_count))
        return VQZ_ERROR_ARGUMENT;
    backend_enter(net->b);
    channel_max(&net->shape[reg], register_data(net, reg), net->type[reg], max_abs);
    return VQZ_OK;
}
