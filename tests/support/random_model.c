/*
 * random_model.c - see random_model.h.
 */
#include "tests/support/random_model.h"
#include "tests/support/random_prior.h"

#include "format/container.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t test_random_next(test_random *random) {
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

int32_t test_random_range(test_random *random, int32_t low, int32_t high) {
    uint64_t span = (uint64_t)((int64_t)high - low) + 1;
    return (int32_t)(low + (int64_t)(test_random_next(random) % span));
}

bool test_coin(test_random *random) {
    return (test_random_next(random) >> 40 & 1) != 0;
}

void *test_allocate(size_t count, size_t size) {
    void *memory = calloc(count > 0 ? count : 1, size);
    if (memory == NULL) {
        fprintf(stderr, "random_model: out of memory\n");
        exit(1);
    }
    return memory;
}

void random_model_options_init(random_model_options *options, uint64_t seed) {
    *options = (random_model_options){.seed = seed,
                                      .channels = 3,
                                      .stride = 8,
                                      .levels = 3,
                                      .latent_channels = 6,
                                      .planes = 4,
                                      .max_codes = 32,
                                      .hidden = 8,
                                      .overlap = true,
                                      .shuffle = true,
                                      .residual = true,
                                      .dictionaries = true,
                                      .pixel_shift = 4};
}

void random_model_options_draw(random_model_options *options, uint64_t seed) {
    static const uint32_t channels[3] = {1, 3, 4}, codes[5] = {2, 16, 256, 300, 4096};
    test_random random = {seed ^ 0x5eed};
    *options =
        (random_model_options){.seed = seed,
                               .channels = channels[test_random_range(&random, 0, 2)],
                               .stride = 1u << test_random_range(&random, 1, 4),
                               .levels = (uint32_t)test_random_range(&random, 1, 5),
                               .latent_channels = (uint32_t)test_random_range(&random, 1, 20),
                               .planes = (uint32_t)test_random_range(&random, 1, 6),
                               .max_codes = codes[test_random_range(&random, 0, 4)],
                               .hidden = (uint32_t)test_random_range(&random, 1, 12),
                               .overlap = test_coin(&random),
                               .shuffle = test_coin(&random),
                               .residual = test_coin(&random),
                               .dictionaries = test_coin(&random),
                               .pixel_shift = (uint32_t)test_random_range(&random, 0, 8),
                               .prior = test_coin(&random)};
}

/* ---- networks ---- */

typedef test_net_builder net_builder;

static vqzi_op *append(net_builder *builder, vqzi_op_kind kind, uint32_t src, uint32_t channels) {
    vqzi_op *op = &builder->net->ops[builder->net->op_count++];
    *op = (vqzi_op){.kind = (uint8_t)kind,
                    .src = (uint8_t)src,
                    .add = VQZI_NO_REGISTER,
                    .channels = (uint16_t)channels};
    return op;
}

static uint32_t last_register(const net_builder *builder) {
    return builder->net->op_count;
}

void test_set_activation(test_net_builder *builder, vqzi_op *op) {
    op->activation = (uint8_t)test_random_range(builder->random, VQZI_NONE, VQZI_LEAKY);
    if (op->activation == VQZI_LEAKY)
        op->slope = (uint8_t)test_random_range(builder->random, 1, 8);
}

/* A convolution whose output spreads over about `bits` bits when its input does over its own. */
vqzi_op *test_convolve(test_net_builder *builder, uint32_t src, uint32_t channels, uint32_t kernel,
                         uint32_t stride, uint32_t bits) {
    test_random *random = builder->random;
    vqzi_register source = vqzi_net_register(builder->net, src);
    vqzi_op *op = append(builder, VQZI_CONV, src, channels);
    op->kernel = (uint8_t)kernel;
    op->stride = (uint8_t)stride;
    op->bits = (uint8_t)bits;
    op->bias_sets = (uint8_t)(test_coin(random) ? builder->options->levels : 1);
    size_t taps = (size_t)kernel * kernel * source.channels;
    op->shift = test_allocate(channels, 1);
    op->weights = test_allocate(channels * taps, sizeof *op->weights);
    op->biases = test_allocate((size_t)op->bias_sets * channels, sizeof *op->biases);
    /* half of the range for the products, the rest for bias and rounding */
    int64_t most = ((int64_t)1 << 30) / ((int64_t)taps << (source.bits - 1));
    int32_t limit = (int32_t)VQZI_MAX(1, VQZI_MIN(most, 2000));
    for (uint32_t c = 0; c < channels; c++) {
        uint64_t power = 0;
        for (size_t i = 0; i < taps; i++) {
            int32_t weight = test_random_range(random, -limit, limit);
            op->weights[c * taps + i] = (int16_t)weight;
            power += (uint64_t)((int64_t)weight * weight);
        }
        /* the typical accumulator is about sqrt(power) * 2^(source bits - 2) */
        uint32_t log = 0;
        while (log < 31 && (power >> 2 * log) > 1)
            log++;
        int32_t shift = (int32_t)(log + source.bits) - (int32_t)bits;
        shift += test_random_range(random, -1, 0);
        shift = VQZI_MIN(20, VQZI_MAX(0, shift));
        op->shift[c] = (uint8_t)shift;
        int32_t bias =
            (int32_t)VQZI_MIN((int64_t)1 << 28, (int64_t)1 << (shift + (int32_t)bits - 3));
        for (uint32_t set = 0; set < op->bias_sets; set++)
            op->biases[set * channels + c] = test_random_range(random, -bias, bias);
    }
    return op;
}

/* conv k x k, activation, conv 1 x 1, plus the input */
static void residual_block(net_builder *builder) {
    uint32_t start = last_register(builder);
    vqzi_register shape = vqzi_net_register(builder->net, start);
    vqzi_op *op = test_convolve(builder, start, shape.channels,
                           (uint32_t)test_random_range(builder->random, 1, 5), 1, 12);
    test_set_activation(builder, op);
    op = test_convolve(builder, last_register(builder), shape.channels, 1, 1, 12);
    op->add = (uint8_t)start;
    test_set_activation(builder, append(builder, VQZI_ACT, last_register(builder), shape.channels));
}

static void build_analysis(net_builder *builder, const vqzi_model *model) {
    uint32_t left = vqzi_log2(model->stride), hidden = builder->options->hidden;
    test_set_activation(builder, test_convolve(builder, 0, hidden, 3, 1, 12));
    while (left > 0) {
        uint32_t src = last_register(builder);
        if (builder->options->shuffle && test_coin(builder->random)) {
            uint32_t log =
                (uint32_t)test_random_range(builder->random, 1, (int32_t)VQZI_MIN(left, 2));
            append(builder, VQZI_S2D, src, vqzi_net_channels(builder->net, src) << (2 * log))
                ->block = (uint8_t)(1u << log);
            left -= log;
            test_convolve(builder, last_register(builder), hidden, 1, 1, 12);
        } else {
            uint32_t kernel = (uint32_t)test_random_range(builder->random, 2, 5);
            test_set_activation(builder, test_convolve(builder, src, hidden, kernel, 2, 12));
            left--;
        }
        if (builder->options->residual && left < 3)
            residual_block(builder);
    }
    test_convolve(builder, last_register(builder), model->latent_channels,
             (uint32_t)test_random_range(builder->random, 1, 3), 1, model->latent_bits);
}

static void build_synthesis(net_builder *builder, const vqzi_model *model) {
    uint32_t left = vqzi_log2(model->stride), hidden = builder->options->hidden;
    test_set_activation(builder, test_convolve(builder, 0, hidden,
                                     (uint32_t)test_random_range(builder->random, 1, 5), 1, 12));
    while (left > 0) {
        uint32_t log = (uint32_t)test_random_range(builder->random, 1, (int32_t)VQZI_MIN(left, 3));
        if (builder->options->residual && left < 4)
            residual_block(builder);
        test_convolve(builder, last_register(builder), hidden << (2 * log), 1, 1, 12);
        append(builder, VQZI_D2S, last_register(builder), hidden)->block = (uint8_t)(1u << log);
        left -= log;
    }
    uint32_t bits = VQZI_MIN(16u, 8u + model->pixel_shift);
    test_convolve(builder, last_register(builder), model->channels,
             (uint32_t)test_random_range(builder->random, 1, 3), 1, bits);
}

/* ---- quantiser ---- */

static int compare_values(const void *a, const void *b) {
    return *(const int16_t *)a - *(const int16_t *)b;
}

static void build_plane(vqzi_plane *plane, const vqzi_model *model, test_random *random,
                        const random_model_options *options, uint32_t index) {
    uint32_t d = model->latent_channels;
    uint8_t listed[VQZI_MAX_LATENT_CHANNELS] = {0};
    uint32_t begin = d * index / model->plane_count, end = d * (index + 1) / model->plane_count;
    /* without overlap the channels are dealt out in turn; a plane that gets none takes one anyway
     */
    uint32_t dims = 0, own = index * 7 % d;
    for (uint32_t c = 0; c < d; c++) {
        if (options->prior)
            listed[c] = c >= begin && c < end;
        else if (options->overlap)
            listed[c] = test_coin(random) || c == own;
        else
            listed[c] = c % options->planes == index;
        dims += listed[c];
    }
    if (dims == 0)
        dims = listed[own] = 1;
    dims = VQZI_MIN(dims, (uint32_t)VQZI_MAX_PLANE_DIMS);
    plane->dims = (uint8_t)dims;
    plane->channels = test_allocate(dims, 1);
    for (uint32_t c = 0, i = 0; c < d && i < dims; c++)
        if (listed[c])
            plane->channels[i++] = (uint8_t)c;
    plane->codes =
        (uint16_t)(index == 0
                       ? options->max_codes
                       : (uint32_t)test_random_range(random, 2, (int32_t)options->max_codes));
    plane->books = (uint8_t)(test_coin(random) ? options->levels : 1);
    plane->ordered = dims == 1 && (!options->prior || options->ordered || test_coin(random));
    size_t values = (size_t)plane->codes * dims;
    plane->codebook = test_allocate(plane->books * values, sizeof *plane->codebook);
    for (size_t i = 0; i < plane->books * values; i++)
        plane->codebook[i] = (int16_t)test_random_range(random, -400, 400);
    for (uint32_t book = 0; plane->ordered && book < plane->books; book++)
        qsort(plane->codebook + book * values, values, sizeof *plane->codebook, compare_values);
    plane->rates = test_allocate((size_t)options->levels * plane->codes, 1);
    for (size_t i = 0; i < (size_t)options->levels * plane->codes; i++)
        plane->rates[i] = (uint8_t)test_random_range(random, 1, 120);
}

/* Skewed symbols, as streams are: the smaller, the more frequent. */
static void train_dictionary(vqzi_dictionary *dictionary, uint32_t alphabet, test_random *random) {
    enum { SAMPLES = 40, SAMPLE_SIZE = 64 };
    uint8_t samples[SAMPLES * SAMPLE_SIZE];
    size_t sizes[SAMPLES];
    void *data;
    for (int i = 0; i < SAMPLES; i++)
        sizes[i] = SAMPLE_SIZE;
    for (int i = 0; i < SAMPLES * SAMPLE_SIZE; i++) {
        uint32_t limit = (uint32_t)test_random_range(random, 0, (int32_t)alphabet - 1);
        limit = (uint32_t)test_random_range(random, 0, (int32_t)limit);
        samples[i] = (uint8_t)test_random_range(random, 0, (int32_t)limit);
    }
    if (vqzi_dictionary_train(samples, sizes, SAMPLES, 512, &data, &dictionary->size) != VQZ_OK) {
        fprintf(stderr, "random_model: training a dictionary failed\n");
        exit(1);
    }
    dictionary->data = data;
}

static void build_quantiser(vqzi_model *model, const random_model_options *options,
                            test_random *random) {
    size_t d = model->latent_channels;
    model->steps = test_allocate(options->levels * d, sizeof *model->steps);
    model->lambdas = test_allocate(options->levels, sizeof *model->lambdas);
    for (size_t i = 0; i < options->levels * d; i++)
        model->steps[i] = (uint16_t)test_random_range(random, 1, 2000);
    for (uint32_t i = 0; i < options->levels; i++)
        model->lambdas[i] = (uint32_t)test_random_range(random, 0, 1000);
    model->plane_count = options->planes;
    if (options->prior) /* each has a channel of its own */
        model->plane_count = VQZI_MIN(options->planes, options->latent_channels);
    model->planes = test_allocate(model->plane_count, sizeof *model->planes);
    for (uint32_t p = 0; p < model->plane_count; p++) {
        build_plane(&model->planes[p], model, random, options, p);
        model->stream_count += vqzi_plane_streams(&model->planes[p]);
    }
    model->dictionaries =
        test_allocate((size_t)options->levels * model->stream_count, sizeof *model->dictionaries);
    for (uint32_t level = 0; options->dictionaries && level < options->levels; level++)
        for (uint32_t p = 0, stream = 0; p < model->plane_count; p++) {
            uint32_t codes = model->planes[p].codes;
            /* dictionaries for some streams only, as the trainer leaves them */
            if (p % 2 == 0)
                train_dictionary(&model->dictionaries[level * model->stream_count + stream],
                                 VQZI_MIN(codes, 256u), random);
            stream += vqzi_plane_streams(&model->planes[p]);
        }
}

void random_model(vqzi_model *model, const random_model_options *options) {
    test_random random = {options->seed};
    *model =
        (vqzi_model){.channels = (uint8_t)options->channels,
                     .stride = (uint8_t)options->stride,
                     .levels = (uint8_t)options->levels,
                     .latent_bits = (uint8_t)test_random_range(&random, 9, VQZI_MAX_LATENT_BITS),
                     .pixel_shift = (uint8_t)options->pixel_shift,
                     .step_shift = 8,
                     .latent_channels = (uint16_t)options->latent_channels};
    model->analysis = (vqzi_net){8, (uint16_t)options->channels, 0, NULL};
    model->synthesis = (vqzi_net){model->latent_bits, (uint16_t)options->latent_channels, 0, NULL};
    model->analysis.ops = test_allocate(VQZI_MAX_OPS, sizeof(vqzi_op));
    model->synthesis.ops = test_allocate(VQZI_MAX_OPS, sizeof(vqzi_op));
    build_analysis(&(net_builder){options, &random, &model->analysis}, model);
    build_synthesis(&(net_builder){options, &random, &model->synthesis}, model);
    build_quantiser(model, options, &random);
    if (options->prior)
        test_random_prior(model, options, &random);
    static const char card[] = "{\"name\": \"random\"}";
    model->card = test_allocate(sizeof card, 1);
    memcpy(model->card, card, sizeof card);
}

vqz_model *random_model_load(const random_model_options *options) {
    vqzi_model raw;
    void *bytes;
    size_t size;
    vqz_model *model = NULL;
    vqz_diag diag = {""};
    random_model(&raw, options);
    vqz_status status = vqzi_model_serialise(&raw, &bytes, &size, &diag);
    vqzi_model_clear(&raw);
    if (status == VQZ_OK) {
        status = vqz_model_load(&model, bytes, size, NULL, &diag);
        free(bytes);
    }
    if (status != VQZ_OK) {
        fprintf(stderr, "a random model does not load: %s\n", diag.message);
        exit(1);
    }
    return model;
}
