/*
 * bench_network.c - speed of a training step's networks: forward and backward of the classic and
 * the photo networks, in both precisions.  One pass costs three times the forward MACs (forward,
 * data gradient, weight gradient); pixels are those of the picture.
 *
 *   bench_network [threads] [seconds per line]
 */
#include "trainer/network.h"
#include "trainer/random.h"
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

enum { BATCH_MAX = 64 };

static int residual_stack(network_spec *spec, int r) {
    for (int block = 0; block < 2; block++) {
        int a = network_act(spec, r, ACT_RELU, 0);
        a = network_conv(spec, a, 32, 3, 1, ACT_RELU, 0, -1, 1);
        r = network_conv(spec, a, 128, 1, 1, ACT_NONE, 0, r, 1);
    }
    return network_act(spec, r, ACT_RELU, 0);
}

static void classic_analysis(network_spec *spec) {
    network_spec_init(spec, 3);
    int r = network_conv(spec, 0, 64, 4, 2, ACT_RELU, 0, -1, 1);
    r = network_conv(spec, r, 128, 4, 2, ACT_RELU, 0, -1, 1);
    r = network_conv(spec, r, 128, 3, 1, ACT_NONE, 0, -1, 1);
    network_conv(spec, residual_stack(spec, r), 64, 1, 1, ACT_NONE, 0, -1, 1);
}

static void classic_synthesis(network_spec *spec) {
    network_spec_init(spec, 64);
    int r = residual_stack(spec, network_conv(spec, 0, 128, 3, 1, ACT_NONE, 0, -1, 1));
    r = network_transposed_conv(spec, r, 64, ACT_RELU, 0);
    network_transposed_conv(spec, r, 3, ACT_NONE, 0);
}

static int leaky_residual(network_spec *spec, int r, int channels, layer_activation last) {
    int a = network_conv(spec, r, channels, 3, 1, ACT_LEAKY, 3, -1, 1);
    return network_conv(spec, a, channels, 3, 1, last, 3, r, 1);
}

static void photo_analysis(network_spec *spec) {
    network_spec_init(spec, 3);
    int linear = network_conv(spec, network_s2d(spec, 0, 8), 64, 1, 1, ACT_NONE, 0, -1, 1);
    int r = network_conv(spec, network_s2d(spec, 0, 4), 64, 3, 1, ACT_LEAKY, 3, -1, 1);
    r = leaky_residual(spec, r, 64, ACT_NONE);
    r = network_conv(spec, r, 128, 3, 2, ACT_LEAKY, 3, -1, 7);
    r = leaky_residual(spec, r, 128, ACT_NONE);
    r = leaky_residual(spec, r, 128, ACT_LEAKY);
    network_conv(spec, r, 64, 1, 1, ACT_NONE, 0, linear, 1);
}

static void photo_synthesis(network_spec *spec) {
    network_spec_init(spec, 64);
    int linear = network_d2s(spec, network_conv(spec, 0, 192, 1, 1, ACT_NONE, 0, -1, 1), 2);
    int r = network_conv(spec, 0, 96, 3, 1, ACT_LEAKY, 3, -1, 7);
    r = leaky_residual(spec, r, 96, ACT_NONE);
    r = network_d2s(spec, network_conv(spec, r, 128, 3, 1, ACT_NONE, 0, -1, 1), 2);
    r = leaky_residual(spec, r, 32, ACT_NONE);
    network_d2s(spec, network_conv(spec, r, 48, 3, 1, ACT_NONE, 0, linear, 1), 4);
}

static void *need(void *memory) {
    if (!memory) {
        fprintf(stderr, "bench_network: not enough memory\n");
        exit(1);
    }
    return memory;
}

static void need_ok(vqz_status status, const char *message) {
    if (status != VQZ_OK) {
        fprintf(stderr, "bench_network: %s: %s\n", vqz_status_string(status), message);
        exit(1);
    }
}

/* Seconds of one forward and backward pass on `batch` inputs of height x width. */
static double measure(void (*build)(network_spec *), backend *b, int batch, int height, int width,
                      double seconds, double *macs) {
    static network_spec spec;
    network *net = NULL;
    vqz_diag diag = {""};
    random_state random;
    int oh, ow, oc, levels[BATCH_MAX];
    build(&spec);
    *macs = network_macs(&spec, height, width) * batch;
    need_ok(network_create(&net, &spec, b, batch, height, width, true, &diag), diag.message);
    network_output_shape(net, &oh, &ow, &oc);
    size_t inputs = (size_t)batch * (size_t)height * (size_t)width * (size_t)spec.input_channels;
    size_t outputs = (size_t)batch * (size_t)oh * (size_t)ow * (size_t)oc;
    float *parameters = need(malloc(spec.parameter_count * sizeof *parameters));
    float *gradients = need(malloc(spec.parameter_count * sizeof *gradients));
    float *input = need(malloc(inputs * sizeof *input)), *grad_input = NULL;
    float *output = need(malloc(outputs * sizeof *output));
    if (spec.input_channels > 4) /* latents have a gradient, pictures need none */
        grad_input = need(malloc(inputs * sizeof *grad_input));
    random_seed(&random, 1);
    network_init_parameters(&spec, 1.0f, &random, parameters);
    for (size_t i = 0; i < inputs; i++)
        input[i] = random_normal(&random);
    for (int i = 0; i < batch; i++)
        levels[i] = i % 7;
    double start = 0, passed = 0;
    int passes = -2; /* two to warm up */
    do {
        if (passes == 0)
            start = omp_get_wtime();
        need_ok(network_forward(net, parameters, input, levels, output), "forward");
        need_ok(network_backward(net, parameters, output, gradients, grad_input), "backward");
        passes++;
        passed = omp_get_wtime() - start;
    } while (passes < 2 || passed < seconds);
    network_free(net);
    free(parameters);
    free(gradients);
    free(input);
    free(grad_input);
    free(output);
    return passed / passes;
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 2;
    double seconds = argc > 2 ? atof(argv[2]) : 2;
    static const struct {
        const char *name;
        void (*analysis)(network_spec *), (*synthesis)(network_spec *);
        int stride, batch, side;
    } cases[] = {{"classic", classic_analysis, classic_synthesis, 4, 32, 32},
                 {"classic", classic_analysis, classic_synthesis, 4, 8, 128},
                 {"photo", photo_analysis, photo_synthesis, 8, 16, 128}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int p = PRECISION_FLOAT32; p <= PRECISION_BFLOAT16; p++) {
            backend *b = NULL;
            vqz_diag diag = {""};
            vqz_status status = backend_create(&b, (precision)p, threads, &diag);
            if (status == VQZ_ERROR_UNSUPPORTED) {
                printf("%s\n", diag.message);
                continue;
            }
            need_ok(status, diag.message);
            int batch = cases[i].batch, side = cases[i].side, latent = side / cases[i].stride;
            double macs[2], analysis, synthesis;
            analysis = measure(cases[i].analysis, b, batch, side, side, seconds, &macs[0]);
            synthesis = measure(cases[i].synthesis, b, batch, latent, latent, seconds, &macs[1]);
            printf("%-8s %2d x %3d^2  %-8s analysis %6.1f ms %6.1f GMAC/s  synthesis %6.1f ms "
                   "%6.1f GMAC/s  both %6.1f GMAC/s %9.0f pixels/s\n",
                   cases[i].name, batch, side, p == PRECISION_FLOAT32 ? "float32" : "bfloat16",
                   analysis * 1e3, 3e-9 * macs[0] / analysis, synthesis * 1e3,
                   3e-9 * macs[1] / synthesis, 3e-9 * (macs[0] + macs[1]) / (analysis + synthesis),
                   (double)batch * side * side / (analysis + synthesis));
            backend_free(b);
        }
    return 0;
}
