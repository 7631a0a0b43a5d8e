/*
 * test_network.c - the network against a naive forward pass in double: values, and gradients
 * against its central finite differences; bfloat16 against float32; the same bits in every run.
 * SEED=n replays a run.
 */
#include "trainer/network.h"
#include "trainer/random.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka wants the headers above first. */
#include <cmocka.h>

enum { THREADS = 2, MAX_CHECKS = 60 };

static uint64_t test_seed(void) {
    const char *text = getenv("SEED");
    return text ? strtoull(text, NULL, 0) : 1;
}

/* ---- the reference ---- */

typedef struct reference {
    int batch, height[NETWORK_MAX_LAYERS + 1], width[NETWORK_MAX_LAYERS + 1];
    double *value[NETWORK_MAX_LAYERS + 1];
} reference;

static double activated(double x, layer_activation activation, int slope) {
    if (x > 0 || activation == ACT_NONE)
        return x;
    return activation == ACT_RELU ? 0 : ldexp(x, -slope);
}

static void reference_conv(reference *r, const layer *l, int dst, const double *parameters,
                           const int *levels, int n) {
    int h = r->height[l->src], w = r->width[l->src], pad = (l->kernel - 1) / 2;
    for (int y = 0; y < r->height[dst]; y++)
        for (int x = 0; x < r->width[dst]; x++)
            for (int oc = 0; oc < l->cout; oc++) {
                int set = l->bias_sets > 1 ? levels[n] : 0;
                double sum = parameters[l->biases + (size_t)(set * l->cout + oc)];
                for (int ky = 0; ky < l->kernel; ky++)
                    for (int kx = 0; kx < l->kernel; kx++) {
                        int sy = y * l->stride + ky - pad, sx = x * l->stride + kx - pad;
                        if (sy < 0 || sy >= h || sx < 0 || sx >= w)
                            continue;
                        const double *src = r->value[l->src] + ((n * h + sy) * w + sx) * l->cin;
                        const double *weight = parameters + l->weights +
                                               ((oc * l->kernel + ky) * l->kernel + kx) * l->cin;
                        for (int ic = 0; ic < l->cin; ic++)
                            sum += weight[ic] * src[ic];
                    }
                int at = ((n * r->height[dst] + y) * r->width[dst] + x) * l->cout + oc;
                if (l->add >= 0)
                    sum += r->value[l->add][at];
                r->value[dst][at] = activated(sum, l->activation, l->slope);
            }
}

/* Space to depth from the picture (h, w, c), or its inverse. */
static void reference_s2d(const double *src, double *dst, int h, int w, int c, int block, int n,
                          bool inverse) {
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            for (int i = 0; i < c; i++) {
                int wide = ((n * h + y) * w + x) * c + i;
                int channel = (y % block * block + x % block) * c + i;
                int deep = ((n * (h / block) + y / block) * (w / block) + x / block) * c * block *
                           block + channel;
                dst[inverse ? wide : deep] = src[inverse ? deep : wide];
            }
}

static void reference_forward(reference *r, const network_spec *spec, const double *parameters,
                              const int *levels) {
    for (int i = 0; i < spec->layer_count; i++) {
        const layer *l = &spec->layers[i];
        const double *src = r->value[l->src];
        double *dst = r->value[i + 1];
        for (int n = 0; n < r->batch; n++) {
            if (l->kind == LAYER_CONV) {
                reference_conv(r, l, i + 1, parameters, levels, n);
            } else if (l->kind == LAYER_ACT) {
                int count = r->height[i + 1] * r->width[i + 1] * l->cout;
                for (int k = n * count; k < (n + 1) * count; k++)
                    dst[k] = activated(src[k], l->activation, l->slope);
            } else if (l->kind == LAYER_S2D) {
                reference_s2d(src, dst, r->height[l->src], r->width[l->src], l->cin, l->block, n,
                              false);
            } else {
                reference_s2d(src, dst, r->height[i + 1], r->width[i + 1], l->cout, l->block, n,
                              true);
            }
        }
    }
}

static size_t reference_init(reference *r, const network_spec *spec, int batch, int height,
                             int width) {
    r->batch = batch;
    r->height[0] = height;
    r->width[0] = width;
    size_t count = 0;
    for (int i = 0; i <= spec->layer_count; i++) {
        int channels = spec->input_channels;
        if (i > 0) {
            const layer *l = &spec->layers[i - 1];
            int divide = l->kind == LAYER_CONV ? l->stride : l->kind == LAYER_S2D ? l->block : 1;
            int multiply = l->kind == LAYER_D2S ? l->block : 1;
            r->height[i] = (r->height[l->src] + divide - 1) / divide * multiply;
            r->width[i] = (r->width[l->src] + divide - 1) / divide * multiply;
            channels = l->cout;
        }
        count = (size_t)(batch * r->height[i] * r->width[i] * channels);
        r->value[i] = calloc(count, sizeof(double));
        assert_non_null(r->value[i]);
    }
    return count;
}

static void reference_clear(reference *r, const network_spec *spec) {
    for (int i = 0; i <= spec->layer_count; i++)
        free(r->value[i]);
}

/* ---- a network with its data, run at one precision ---- */

typedef struct run {
    size_t inputs, outputs, parameter_count;
    float *parameters, *input, *output, *grad_output, *grad_parameters, *grad_input;
    int levels[16];
} run;

static float *floats(size_t count) {
    float *made = calloc(count, sizeof *made);
    assert_non_null(made);
    return made;
}

static void run_init(run *r, const network_spec *spec, int batch, int height, int width,
                     size_t outputs, uint64_t seed) {
    random_state random;
    random_seed(&random, seed);
    assert_in_range(batch, 1, 16);
    r->inputs = (size_t)(batch * height * width * spec->input_channels);
    r->outputs = outputs;
    r->parameter_count = spec->parameter_count;
    r->parameters = floats(spec->parameter_count + 1);
    r->grad_parameters = floats(spec->parameter_count + 1);
    r->input = floats(r->inputs);
    r->grad_input = floats(r->inputs);
    r->output = floats(outputs);
    r->grad_output = floats(outputs);
    network_init_parameters(spec, 1.2f, &random, r->parameters);
    int sets = 1;
    for (int i = 0; i < spec->layer_count; i++) {
        const layer *l = &spec->layers[i];
        for (size_t k = 0; l->kind == LAYER_CONV && k < (size_t)(l->bias_sets * l->cout); k++)
            r->parameters[l->biases + k] = 0.2f * random_normal(&random);
        sets = l->bias_sets > sets ? l->bias_sets : sets;
    }
    for (size_t i = 0; i < r->inputs; i++)
        r->input[i] = random_normal(&random);
    for (size_t i = 0; i < outputs; i++)
        r->grad_output[i] = random_normal(&random);
    for (int i = 0; i < batch; i++)
        r->levels[i] = (int)random_below(&random, (uint32_t)sets);
}

static void run_clear(run *r) {
    free(r->parameters);
    free(r->grad_parameters);
    free(r->input);
    free(r->grad_input);
    free(r->output);
    free(r->grad_output);
}

static void must(vqz_status status, const vqz_diag *diag) {
    if (status != VQZ_OK)
        fail_msg("status %d: %s", (int)status, diag->message);
}

/* Forward and backward; what the arrays held before must not matter. */
static void run_once(run *r, const network_spec *spec, backend *b, int batch, int height,
                     int width) {
    vqz_diag diag = {""};
    network *net = NULL;
    must(network_create(&net, spec, b, batch, height, width, true, &diag), &diag);
    memset(r->grad_parameters, 0x7b, r->parameter_count * sizeof(float));
    memset(r->grad_input, 0x7b, r->inputs * sizeof(float));
    for (int repeat = 0; repeat < 2; repeat++) {
        must(network_forward(net, r->parameters, r->input, r->levels, r->output), &diag);
        must(network_backward(net, r->parameters, r->grad_output, r->grad_parameters,
                              r->grad_input),
             &diag);
    }
    network_free(net);
}

static double loss_at(reference *ref, const network_spec *spec, const double *parameters,
                      const run *r) {
    reference_forward(ref, spec, parameters, r->levels);
    double loss = 0;
    for (size_t i = 0; i < r->outputs; i++)
        loss += ref->value[spec->layer_count][i] * (double)r->grad_output[i];
    return loss;
}

static double largest(const float *values, size_t count) {
    double max = 0;
    for (size_t i = 0; i < count; i++)
        max = fmax(max, fabs((double)values[i]));
    return max;
}

/* Entries that a transposed convolution lacks are not parameters. */
static bool masked(const network_spec *spec, size_t index) {
    float *ones = floats(spec->parameter_count);
    for (size_t i = 0; i < spec->parameter_count; i++)
        ones[i] = 1;
    network_mask(spec, ones);
    bool is_masked = ones[index] == 0;
    free(ones);
    return is_masked;
}

/* Central differences of the reference around *x, against what the backward pass said. */
static void check_slope(double *x, double got, double scale, reference *ref,
                        const network_spec *spec, const double *parameters, const run *r,
                        const char *what, size_t index) {
    const double eps = 1e-6;
    double kept = *x;
    *x = kept + eps;
    double above = loss_at(ref, spec, parameters, r);
    *x = kept - eps;
    double below = loss_at(ref, spec, parameters, r);
    *x = kept;
    double want = (above - below) / (2 * eps);
    if (!(fabs(got - want) <= 1e-5 * scale + 1e-6))
        fail_msg("gradient of %s %zu is %.9g, finite difference %.9g", what, index, got, want);
}

static void check_network(const network_spec *spec, int batch, int height, int width) {
    reference ref;
    run r;
    vqz_diag diag = {""};
    backend *b = NULL;
    must(backend_create(&b, PRECISION_FLOAT32, THREADS, &diag), &diag);
    size_t outputs = reference_init(&ref, spec, batch, height, width);
    run_init(&r, spec, batch, height, width, outputs, test_seed());
    run_once(&r, spec, b, batch, height, width);

    double *parameters = calloc(spec->parameter_count + 1, sizeof *parameters);
    assert_non_null(parameters);
    for (size_t i = 0; i < spec->parameter_count; i++)
        parameters[i] = (double)r.parameters[i];
    for (size_t i = 0; i < r.inputs; i++)
        ref.value[0][i] = (double)r.input[i];
    reference_forward(&ref, spec, parameters, r.levels);
    double scale = largest(r.output, outputs);
    assert_true(scale > 0.1);
    for (size_t i = 0; i < outputs; i++)
        if (!(fabs((double)r.output[i] - ref.value[spec->layer_count][i]) <= 1e-5 * scale))
            fail_msg("output %zu is %.9g, reference %.9g", i, (double)r.output[i],
                     ref.value[spec->layer_count][i]);

    random_state random;
    random_seed(&random, test_seed() + 1);
    scale = largest(r.grad_parameters, spec->parameter_count);
    for (int layer_index = 0; layer_index < spec->layer_count; layer_index++) {
        const layer *l = &spec->layers[layer_index];
        if (l->kind != LAYER_CONV)
            continue;
        uint32_t weights = (uint32_t)(l->biases - l->weights);
        uint32_t all = weights + (uint32_t)(l->bias_sets * l->cout);
        for (int check = 0; check < MAX_CHECKS; check++) {
            uint32_t within = check % 3 ? random_below(&random, weights)
                                        : weights + random_below(&random, all - weights);
            size_t index = l->weights + within;
            if (masked(spec, index))
                assert_true(r.grad_parameters[index] == 0);
            else
                check_slope(&parameters[index], (double)r.grad_parameters[index], scale, &ref, spec,
                            parameters, &r, "parameter", index);
        }
    }
    scale = largest(r.grad_input, r.inputs);
    assert_true(scale > 0.01);
    for (int check = 0; check < MAX_CHECKS; check++) {
        size_t index = random_below(&random, (uint32_t)r.inputs);
        check_slope(&ref.value[0][index], (double)r.grad_input[index], scale, &ref, spec,
                    parameters, &r, "input", index);
    }
    free(parameters);
    reference_clear(&ref, spec);
    run_clear(&r);
    backend_free(b);
}

/* ---- cases ---- */

static void test_kernels(void **state) {
    (void)state;
    /* Sizes beside the vector widths of kernels, odd sides, every padding. */
    static const int channels[][2] = {{3, 5}, {16, 16}, {3, 64}, {33, 20}};
    for (int kernel = 1; kernel <= 5; kernel++)
        for (int stride = 1; stride <= 2 && stride <= kernel; stride++)
            for (size_t c = 0; c < sizeof channels / sizeof *channels; c++) {
                network_spec spec;
                network_spec_init(&spec, channels[c][0]);
                network_conv(&spec, 0, channels[c][1], kernel, stride, ACT_NONE, 0, -1, 1);
                check_network(&spec, 2, 6, 9);
                check_network(&spec, 1, 5, 4);
            }
}

static void test_activations(void **state) {
    (void)state;
    for (int sets = 1; sets <= 3; sets += 2)
        for (int slope = 0; slope <= 3; slope++) {
            layer_activation activation = slope ? ACT_LEAKY : ACT_RELU;
            network_spec spec;
            network_spec_init(&spec, 4);
            int r = network_conv(&spec, 0, 18, 3, 1, activation, slope, -1, sets);
            r = network_conv(&spec, r, 7, 1, 1, ACT_NONE, 0, -1, 1);
            network_act(&spec, r, activation, slope);
            check_network(&spec, 3, 5, 6);
        }
}

static void test_add(void **state) {
    (void)state;
    for (int sets = 1; sets <= 4; sets += 3)
        for (int activation = ACT_NONE; activation <= ACT_LEAKY; activation++) {
            network_spec spec;
            network_spec_init(&spec, 16);
            int left = network_conv(&spec, 0, 24, 3, 2, ACT_NONE, 0, -1, 1);
            network_conv(&spec, 0, 24, 2, 2, (layer_activation)activation, 3, left, sets);
            check_network(&spec, 4, 6, 6);
        }
}

static void test_add_own_source(void **state) {
    (void)state;
    network_spec spec;
    network_spec_init(&spec, 8);
    network_conv(&spec, 0, 8, 3, 1, ACT_LEAKY, 2, 0, 1); /* act(conv(x) + x) */
    check_network(&spec, 2, 4, 5);
}

static void test_blocks(void **state) {
    (void)state;
    for (int block = 2; block <= 4; block++) {
        network_spec spec;
        network_spec_init(&spec, 3);
        int r = network_s2d(&spec, 0, block);
        r = network_conv(&spec, r, 2 * block * block, 3, 1, ACT_RELU, 0, -1, 1);
        network_d2s(&spec, r, block);
        check_network(&spec, 2, 2 * block, 3 * block);
    }
}

static void test_no_convolution(void **state) {
    (void)state;
    network_spec spec;
    network_spec_init(&spec, 3);
    network_act(&spec, network_s2d(&spec, 0, 2), ACT_RELU, 0);
    check_network(&spec, 2, 4, 4);
}

static void test_fan_out(void **state) {
    (void)state;
    /* A register with four readers of three kinds, one of which leads nowhere. */
    network_spec spec;
    network_spec_init(&spec, 5);
    int x = network_conv(&spec, 0, 16, 3, 1, ACT_LEAKY, 3, -1, 2);
    int a = network_act(&spec, x, ACT_RELU, 0);
    network_conv(&spec, x, 9, 3, 1, ACT_NONE, 0, -1, 1);
    int c = network_conv(&spec, a, 16, 1, 1, ACT_NONE, 0, x, 1);
    int d = network_conv(&spec, x, 16, 5, 1, ACT_RELU, 0, c, 2);
    network_conv(&spec, d, 16, 1, 1, ACT_NONE, 0, x, 1);
    check_network(&spec, 3, 5, 5);
}

/* x -> 4x4 stride 2, residual block, and back: the classic shape in small. */
static void classic_spec(network_spec *spec) {
    network_spec_init(spec, 3);
    int r = network_conv(spec, 0, 16, 4, 2, ACT_RELU, 0, -1, 1);
    r = network_conv(spec, r, 32, 4, 2, ACT_RELU, 0, -1, 1);
    r = network_conv(spec, r, 32, 3, 1, ACT_NONE, 0, -1, 1);
    for (int block = 0; block < 2; block++) {
        int a = network_act(spec, r, ACT_RELU, 0);
        a = network_conv(spec, a, 16, 3, 1, ACT_RELU, 0, -1, 1);
        r = network_conv(spec, a, 32, 1, 1, ACT_NONE, 0, r, 1);
    }
    r = network_act(spec, r, ACT_RELU, 0);
    r = network_conv(spec, r, 16, 1, 1, ACT_NONE, 0, -1, 1);
    r = network_transposed_conv(spec, r, 16, ACT_RELU, 0);
    network_transposed_conv(spec, r, 3, ACT_NONE, 0);
}

/* A linear path beside a network with quality levels: the photo shape in small. */
static void photo_spec(network_spec *spec) {
    network_spec_init(spec, 3);
    int linear = network_conv(spec, network_s2d(spec, 0, 8), 16, 1, 1, ACT_NONE, 0, -1, 1);
    int r = network_conv(spec, network_s2d(spec, 0, 4), 16, 3, 1, ACT_LEAKY, 3, -1, 1);
    int a = network_conv(spec, r, 16, 3, 1, ACT_LEAKY, 3, -1, 1);
    r = network_conv(spec, a, 16, 3, 1, ACT_NONE, 0, r, 1);
    r = network_conv(spec, r, 32, 3, 2, ACT_LEAKY, 3, -1, 7);
    a = network_conv(spec, r, 32, 3, 1, ACT_LEAKY, 3, -1, 1);
    r = network_conv(spec, a, 32, 3, 1, ACT_LEAKY, 3, r, 1);
    network_conv(spec, r, 16, 1, 1, ACT_NONE, 0, linear, 1);
}

static void test_whole_networks(void **state) {
    (void)state;
    network_spec spec;
    classic_spec(&spec);
    check_network(&spec, 2, 8, 12);
    photo_spec(&spec);
    check_network(&spec, 3, 16, 24);
}

/* Scatter form of a transposed 4x4 stride-2 convolution, one row and column cut on every side. */
static void test_transposed(void **state) {
    (void)state;
    enum { H = 3, W = 4, CIN = 5, COUT = 6 };
    random_state random;
    random_seed(&random, test_seed());
    static float kernel[COUT][4][4][CIN];
    static double want[2 * H][2 * W][COUT];
    network_spec spec;
    run r;
    vqz_diag diag = {""};
    backend *b = NULL;
    network_spec_init(&spec, CIN);
    network_transposed_conv(&spec, 0, COUT, ACT_NONE, 0);
    run_init(&r, &spec, 1, H, W, 2 * H * 2 * W * COUT, test_seed());
    memset(r.parameters, 0, spec.parameter_count * sizeof *r.parameters);
    memset(want, 0, sizeof want);
    for (int oc = 0; oc < COUT; oc++)
        for (int ky = 0; ky < 4; ky++)
            for (int kx = 0; kx < 4; kx++)
                for (int ic = 0; ic < CIN; ic++) {
                    /* Tap ky lands on row 2y + ky - 1: sub-row dy of the block at row y + 1 - t. */
                    int dy = (ky + 1) % 2, ty = (dy + 3 - ky) / 2, dx = (kx + 1) % 2;
                    int tx = (dx + 3 - kx) / 2, row = (dy * 2 + dx) * COUT + oc;
                    float value = random_normal(&random);
                    kernel[oc][ky][kx][ic] = value;
                    r.parameters[((row * 3 + ty) * 3 + tx) * CIN + ic] = value;
                }
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            for (int ky = 0; ky < 4; ky++)
                for (int kx = 0; kx < 4; kx++) {
                    int oy = 2 * y + ky - 1, ox = 2 * x + kx - 1;
                    if (oy < 0 || oy >= 2 * H || ox < 0 || ox >= 2 * W)
                        continue;
                    for (int oc = 0; oc < COUT; oc++)
                        for (int ic = 0; ic < CIN; ic++)
                            want[oy][ox][oc] += (double)kernel[oc][ky][kx][ic] *
                                                (double)r.input[(y * W + x) * CIN + ic];
                }
    float *unmasked = floats(spec.parameter_count);
    memcpy(unmasked, r.parameters, spec.parameter_count * sizeof *unmasked);
    network_mask(&spec, r.parameters);
    assert_memory_equal(unmasked, r.parameters, spec.parameter_count * sizeof *unmasked);
    must(backend_create(&b, PRECISION_FLOAT32, THREADS, &diag), &diag);
    run_once(&r, &spec, b, 1, H, W);
    const double *flat = &want[0][0][0];
    for (size_t i = 0; i < r.outputs; i++)
        assert_true(fabs((double)r.output[i] - flat[i]) < 1e-4);
    size_t zeros = 0;
    for (size_t i = 0; i < spec.layers[0].biases; i++)
        zeros += r.grad_parameters[i] == 0;
    assert_int_equal(zeros, 4 * COUT * 5 * CIN); /* 5 of 9 taps */
    free(unmasked);
    run_clear(&r);
    backend_free(b);
}

/* ---- precision, repeatability, misuse ---- */

static double distance(const float *a, const float *b, size_t count) {
    double error = 0, power = 0;
    for (size_t i = 0; i < count; i++) {
        error += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        power += (double)b[i] * (double)b[i];
    }
    return sqrt(error / power);
}

static void test_bfloat16(void **state) {
    (void)state;
    void (*const builders[])(network_spec *) = {classic_spec, photo_spec};
    backend *wide = NULL, *narrow = NULL;
    vqz_diag diag = {""};
    vqz_status status = backend_create(&narrow, PRECISION_BFLOAT16, THREADS, &diag);
    if (status == VQZ_ERROR_UNSUPPORTED)
        skip();
    must(status, &diag);
    must(backend_create(&wide, PRECISION_FLOAT32, THREADS, &diag), &diag);
    for (size_t i = 0; i < 2; i++) {
        network_spec spec;
        run f32, bf16;
        reference shapes;
        builders[i](&spec);
        size_t outputs = reference_init(&shapes, &spec, 4, 32, 32);
        run_init(&f32, &spec, 4, 32, 32, outputs, test_seed());
        run_init(&bf16, &spec, 4, 32, 32, outputs, test_seed());
        run_once(&f32, &spec, wide, 4, 32, 32);
        run_once(&bf16, &spec, narrow, 4, 32, 32);
        /* 2^-9 is the rounding error of one value, and a handful of layers add up.  A gradient
           changes by all of itself where rounding moves a value over the kink of its activation:
           one value in two hundred makes seven per cent. */
        double output = distance(bf16.output, f32.output, outputs);
        double parameter = distance(bf16.grad_parameters, f32.grad_parameters,
                                    spec.parameter_count);
        double input = distance(bf16.grad_input, f32.grad_input, f32.inputs);
        if (!(output > 0 && output < 0.01 && parameter < 0.12 && input < 0.16))
            fail_msg("network %zu: error of output %g, parameter gradients %g, input gradients %g",
                     i, output, parameter, input);
        reference_clear(&shapes, &spec);
        run_clear(&f32);
        run_clear(&bf16);
    }
    backend_free(wide);
    backend_free(narrow);
}

static void test_same_bits(void **state) {
    (void)state;
    for (int p = PRECISION_FLOAT32; p <= PRECISION_BFLOAT16; p++) {
        backend *b = NULL;
        network_spec spec;
        run first, second;
        reference shapes;
        if (backend_create(&b, (precision)p, THREADS, NULL) == VQZ_ERROR_UNSUPPORTED)
            continue;
        photo_spec(&spec);
        size_t outputs = reference_init(&shapes, &spec, 5, 40, 48);
        run_init(&first, &spec, 5, 40, 48, outputs, test_seed());
        run_init(&second, &spec, 5, 40, 48, outputs, test_seed());
        for (int repeat = 0; repeat < 3; repeat++) {
            run_once(&first, &spec, b, 5, 40, 48);
            run_once(&second, &spec, b, 5, 40, 48);
            assert_memory_equal(first.output, second.output, outputs * sizeof(float));
            assert_memory_equal(first.grad_parameters, second.grad_parameters,
                                spec.parameter_count * sizeof(float));
            assert_memory_equal(first.grad_input, second.grad_input,
                                first.inputs * sizeof(float));
        }
        reference_clear(&shapes, &spec);
        run_clear(&first);
        run_clear(&second);
        backend_free(b);
    }
}

/* Reused buffers and a missing input gradient change nothing else. */
static void test_inference_and_no_input_gradient(void **state) {
    (void)state;
    backend *b = NULL;
    network *net = NULL, *light = NULL;
    network_spec spec;
    run r;
    reference shapes;
    vqz_diag diag = {""};
    must(backend_create(&b, PRECISION_FLOAT32, THREADS, &diag), &diag);
    photo_spec(&spec);
    size_t outputs = reference_init(&shapes, &spec, 2, 16, 16);
    run_init(&r, &spec, 2, 16, 16, outputs, test_seed());
    run_once(&r, &spec, b, 2, 16, 16);
    float *other = floats(outputs), *grads = floats(spec.parameter_count), max_abs[16];
    must(network_create(&light, &spec, b, 2, 16, 16, false, &diag), &diag);
    must(network_forward(light, r.parameters, r.input, r.levels, other), &diag);
    assert_true(distance(other, r.output, outputs) < 1e-6);
    assert_int_equal(network_backward(light, r.parameters, r.grad_output, grads, NULL),
                     VQZ_ERROR_ARGUMENT);

    must(network_register_max(light, spec.layer_count, max_abs), &diag);
    for (int c = 0; c < 16; c++) {
        float max = 0;
        for (size_t i = (size_t)c; i < outputs; i += 16)
            max = fmaxf(max, fabsf(other[i]));
        assert_true(max_abs[c] == max);
    }
    assert_int_equal(network_register_max(light, 1, max_abs), VQZ_ERROR_ARGUMENT);

    must(network_create(&net, &spec, b, 2, 16, 16, true, &diag), &diag);
    assert_int_equal(network_backward(net, r.parameters, r.grad_output, grads, NULL),
                     VQZ_ERROR_ARGUMENT); /* nothing ran yet */
    must(network_forward(net, r.parameters, r.input, r.levels, other), &diag);
    must(network_backward(net, r.parameters, r.grad_output, grads, NULL), &diag);
    assert_memory_equal(grads, r.grad_parameters, spec.parameter_count * sizeof *grads);
    int h, w, c;
    network_output_shape(net, &h, &w, &c);
    assert_true(h == 2 && w == 2 && c == 16);
    r.levels[1] = 7; /* there are seven sets */
    assert_int_equal(network_forward(net, r.parameters, r.input, r.levels, other),
                     VQZ_ERROR_ARGUMENT);
    free(other);
    free(grads);
    network_free(net);
    network_free(light);
    reference_clear(&shapes, &spec);
    run_clear(&r);
    backend_free(b);
}

static void test_misfits(void **state) {
    (void)state;
    backend *b = NULL;
    network *net = NULL;
    network_spec spec;
    vqz_diag diag = {""};
    must(backend_create(&b, PRECISION_FLOAT32, 1, &diag), &diag);
    photo_spec(&spec);
    assert_int_equal(network_create(&net, &spec, b, 1, 16, 20, true, &diag), VQZ_ERROR_ARGUMENT);
    assert_non_null(strstr(diag.message, "blocks of 8"));
    assert_int_equal(network_create(&net, &spec, b, 0, 16, 16, true, &diag), VQZ_ERROR_ARGUMENT);
    assert_null(net);
    assert_int_equal(backend_create(&b, PRECISION_FLOAT32, 0, &diag), VQZ_ERROR_ARGUMENT);
    network_free(NULL);
    backend_free(b);
    backend_free(NULL);
}

static void test_description(void **state) {
    (void)state;
    network_spec spec;
    classic_spec(&spec);
    /* 4x4x3x16, 4x4x16x32, 3x3x32x32, 2 (3x3x32x16 + 16x32), 32x16, 3x3x16x64, 3x3x16x12 */
    double macs = 256 * 768 + 64.0 * (8192 + 9216 + 2 * (4608 + 512) + 512 + 9216) + 256 * 1728;
    assert_true(network_macs(&spec, 32, 32) == macs);
    random_state random;
    random_seed(&random, test_seed());
    float *parameters = floats(spec.parameter_count);
    network_init_parameters(&spec, 1.5f, &random, parameters);
    const layer *l = &spec.layers[1];
    double power = 0, sigma = 1.5 / sqrt(16 * 16);
    for (size_t i = l->weights; i < l->biases; i++) {
        power += (double)parameters[i] * (double)parameters[i];
        assert_true(fabs((double)parameters[i]) <= 2 * sigma * 1.0001);
    }
    /* A normal cut at two sigma keeps a variance of 0.774. */
    assert_true(fabs(power / (double)(l->biases - l->weights) / (sigma * sigma) - 0.774) < 0.05);
    for (int i = 0; i < l->cout; i++)
        assert_true(parameters[l->biases + (size_t)i] == 0);
    free(parameters);
}

static void test_gemm(void **state) {
    (void)state;
    enum { M = 7, N = 21, K = 19 };
    static float a[M * K], bt[N * K], c[M * N], before[M * N];
    backend *b = NULL;
    random_state random;
    vqz_diag diag = {""};
    random_seed(&random, test_seed());
    for (int i = 0; i < M * K; i++)
        a[i] = random_normal(&random);
    for (int i = 0; i < N * K; i++)
        bt[i] = random_normal(&random);
    for (int i = 0; i < M * N; i++)
        before[i] = c[i] = random_normal(&random);
    must(backend_create(&b, PRECISION_FLOAT32, THREADS, &diag), &diag);
    must(backend_gemm_nt(b, M, N, K, -2.0f, a, bt, 0.5f, c), &diag);
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) {
            double want = 0;
            for (int k = 0; k < K; k++)
                want += (double)a[m * K + k] * (double)bt[n * K + k];
            want = -2 * want + 0.5 * (double)before[m * N + n];
            assert_true(fabs((double)c[m * N + n] - want) < 1e-4);
        }
    must(backend_gemm_nt(b, 0, N, K, 1, a, bt, 0, c), &diag);
    backend_free(b);
}

int main(void) {
    print_message("SEED=%llu\n", (unsigned long long)test_seed());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernels),
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_add),
        cmocka_unit_test(test_add_own_source),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_no_convolution),
        cmocka_unit_test(test_fan_out),
        cmocka_unit_test(test_whole_networks),
        cmocka_unit_test(test_transposed),
        cmocka_unit_test(test_bfloat16),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_inference_and_no_input_gradient),
        cmocka_unit_test(test_misfits),
        cmocka_unit_test(test_description),
        cmocka_unit_test(test_gemm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
