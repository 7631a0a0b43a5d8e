/*
 * vector_models.c - the models of the conformance vectors, good and bad.
 */
#include "tests/conformance/vectors.h"
#include "tests/support/random_prior.h"
#include "tests/support/varied_model.h"

#include <stdlib.h>
#include <string.h>

/* ---- good ones ---- */

/* Four tables again and again: they compress. */
static void few_tables(vqzi_model *model, const random_model_options *options,
                       test_random *random) {
    enum { CLASS = VQZI_PHASES * VQZI_SYMBOLS };
    (void)options, (void)random;
    for (int i = 4; i < VQZI_CLASSES; i++)
        memcpy(model->prior.frequencies + i * CLASS, model->prior.frequencies + i % 4 * CLASS,
               CLASS * sizeof(uint16_t));
}

/* Codebooks and rates that compress. */
static void straight_books(vqzi_model *model, const random_model_options *options,
                           test_random *random) {
    for (uint32_t p = 0; p < model->plane_count; p++) {
        vqzi_plane *plane = &model->planes[p];
        size_t values = (size_t)plane->codes * plane->dims;
        for (size_t i = 0; i < plane->books * values; i++)
            plane->codebook[i] = (int16_t)((int32_t)(i % values) - (int32_t)(values / 2));
        memset(plane->rates, 16, (size_t)model->levels * plane->codes);
    }
    if (model->prior.stage_count > 0)
        few_tables(model, options, random);
}

static void every_layer(vqzi_model *model, const random_model_options *options,
                        test_random *random) {
    extend_synthesis(model, options, random, false);
    extend_synthesis(model, options, random, true);
}

/* The largest entries, steps and outputs; pixels without fraction. */
static void extremes(vqzi_model *model, const random_model_options *options, test_random *random) {
    vqzi_op *last = &model->synthesis.ops[model->synthesis.op_count - 1];
    (void)options;
    model->step_shift = 15;
    for (uint32_t i = 0; i < (uint32_t)model->levels * model->latent_channels; i++)
        model->steps[i] = i % 2 == 0 ? 32767 : 1;
    for (uint32_t p = 0; p < model->plane_count; p++) {
        vqzi_plane *plane = &model->planes[p];
        for (size_t i = 0; i < (size_t)plane->books * plane->codes * plane->dims; i++)
            plane->codebook[i] = test_coin(random) ? INT16_MAX : INT16_MIN;
    }
    last->bits = 16;
    for (uint32_t c = 0; c < last->channels; c++)
        last->shift[c] = 0;
}

/* One ordered plane of 16 codes whose mean is always 0 and whose class always 0, with every symbol
   alike and no bits behind them: streams can be written by hand. */
static void flat(vqzi_model *model, const random_model_options *options, test_random *random) {
    vqzi_prior *prior = &model->prior;
    (void)options, (void)random;
    for (int i = 0; i < VQZI_CLASSES * VQZI_PHASES * VQZI_SYMBOLS; i++)
        prior->frequencies[i] = 65536 / VQZI_SYMBOLS;
    memset(prior->class_bits, 0, sizeof prior->class_bits);
    for (uint32_t i = 0; i < VQZI_STAGE_OPS; i++) {
        vqzi_op *op = &prior->stages[0].net.ops[i];
        size_t inputs = vqzi_net_channels(&prior->stages[0].net, op->src);
        memset(op->weights, 0, inputs * op->kernel * op->kernel * op->channels * sizeof(int16_t));
        memset(op->biases, 0, (size_t)op->bias_sets * op->channels * sizeof(int32_t));
    }
}

/* clang-format off */
const good_model good_models[] = {
    {"tiny", "gray, stride 2; what bad models and files are made from",
     {.channels = 1, .stride = 2, .levels = 2, .latent_channels = 3, .planes = 2, .max_codes = 3,
      .hidden = 2, .shuffle = true, .residual = true, .pixel_shift = 4}, straight_books},
    {"codes300", "gray, one plane of 300 codes: two streams, the second of two symbols",
     {.channels = 1, .stride = 2, .levels = 1, .latent_channels = 1, .planes = 1, .max_codes = 300,
      .hidden = 2, .pixel_shift = 4}, straight_books},
    {"gray", "gray, stride 2, 1 level",
     {.channels = 1, .stride = 2, .levels = 1, .latent_channels = 3, .planes = 2, .max_codes = 16,
      .hidden = 4, .residual = true, .pixel_shift = 4}, NULL},
    {"rgb", "RGB, stride 4, 3 levels, planes that add up, dictionaries",
     {.channels = 3, .stride = 4, .levels = 3, .latent_channels = 4, .planes = 4, .max_codes = 40,
      .hidden = 4, .overlap = true, .shuffle = true, .residual = true, .dictionaries = true,
      .pixel_shift = 4}, NULL},
    {"rgba", "RGBA, stride 2, 2 levels",
     {.channels = 4, .stride = 2, .levels = 2, .latent_channels = 4, .planes = 3, .max_codes = 200,
      .hidden = 4, .shuffle = true, .pixel_shift = 3}, straight_books},
    {"codes4096", "RGB, stride 8, 4096 codes, dictionaries",
     {.channels = 3, .stride = 8, .levels = 1, .latent_channels = 3, .planes = 2, .max_codes = 4096,
      .hidden = 3, .residual = true, .dictionaries = true, .pixel_shift = 6}, straight_books},
    {"stride16", "gray, stride 16",
     {.channels = 1, .stride = 16, .levels = 2, .latent_channels = 4, .planes = 2, .max_codes = 16,
      .hidden = 3, .shuffle = true, .pixel_shift = 2}, NULL},
    {"stride32", "RGB, stride 32",
     {.channels = 3, .stride = 32, .levels = 2, .latent_channels = 4, .planes = 2, .max_codes = 16,
      .hidden = 3, .residual = true, .pixel_shift = 5}, NULL},
    {"levels16", "RGB, stride 2, 16 levels",
     {.channels = 3, .stride = 2, .levels = 16, .latent_channels = 2, .planes = 2, .max_codes = 8,
      .hidden = 2, .pixel_shift = 4}, NULL},
    {"layers", "RGB, stride 8; S2D and stride 2 in the synthesis too, every activation",
     {.channels = 3, .stride = 8, .levels = 2, .latent_channels = 3, .planes = 2,
      .max_codes = 16, .hidden = 3, .shuffle = true, .residual = true, .pixel_shift = 4},
     every_layer},
    {"extremes",
     "RGB, stride 4; largest and smallest steps and entries, 16 bits of output, pixel_shift 0",
     {.channels = 3, .stride = 4, .levels = 2, .latent_channels = 4, .planes = 3, .max_codes = 16,
      .hidden = 4, .overlap = true, .residual = true}, extremes},
    {"channels256", "gray, stride 16, 256 latent channels, 64 planes",
     {.channels = 1, .stride = 16, .levels = 1, .latent_channels = 256, .planes = 64,
     .max_codes = 4,
      .hidden = 1, .pixel_shift = 8}, straight_books},
    {"flat", "prior, gray, stride 2, one ordered plane of 16 codes, all symbols alike",
     {.channels = 1, .stride = 2, .levels = 2, .latent_channels = 1, .planes = 1, .max_codes = 16,
      .hidden = 2, .pixel_shift = 4, .prior = true, .ordered = true}, flat},
    {"prior-gray", "prior, gray, stride 2",
     {.channels = 1, .stride = 2, .levels = 2, .latent_channels = 4, .planes = 4, .max_codes = 24,
      .hidden = 4, .residual = true, .pixel_shift = 4, .prior = true}, few_tables},
    {"prior-rgb", "prior, RGB, stride 8, 5 levels, planes ordered and not, dictionaries",
     {.channels = 3, .stride = 8, .levels = 5, .latent_channels = 6, .planes = 5, .max_codes = 32,
      .hidden = 4, .shuffle = true, .residual = true, .dictionaries = true, .pixel_shift = 4,
      .prior = true}, few_tables},
    {"prior-rgba", "prior, RGBA, stride 4",
     {.channels = 4, .stride = 4, .levels = 2, .latent_channels = 3, .planes = 3, .max_codes = 16,
      .hidden = 4, .shuffle = true, .pixel_shift = 5, .prior = true}, few_tables},
    {"prior-4096", "prior, RGB, stride 16, one ordered plane of 4096 codes: long excesses",
     {.channels = 3, .stride = 16, .levels = 2, .latent_channels = 1, .planes = 1,
     .max_codes = 4096,
      .hidden = 3, .pixel_shift = 4, .prior = true, .ordered = true}, straight_books},
    {"prior-logits", "prior, gray, stride 4, one plane of 300 codes that is not ordered",
     {.channels = 1, .stride = 4, .levels = 2, .latent_channels = 2, .planes = 1, .max_codes = 300,
      .hidden = 2, .pixel_shift = 4, .prior = true}, straight_books},
    {"prior-stages", "prior, gray, stride 32, 40 planes in many stages",
     {.channels = 1, .stride = 32, .levels = 1, .latent_channels = 40, .planes = 40, .max_codes = 5,
      .hidden = 1, .pixel_shift = 4, .prior = true}, few_tables},
    {0}};
/* clang-format on */

/* ---- changed ones ---- */

static vqzi_op *find_op(vqzi_net *net, uint8_t kind) {
    for (uint32_t i = 0; i < net->op_count; i++)
        if (net->ops[i].kind == kind)
            return &net->ops[i];
    abort();
}

static vqzi_op *find_add(vqzi_net *net) {
    for (uint32_t i = 0; i < net->op_count; i++)
        if (net->ops[i].kind == VQZI_CONV && net->ops[i].add != VQZI_NO_REGISTER)
            return &net->ops[i];
    abort();
}

#define CONV  find_op(&m->synthesis, VQZI_CONV)
#define STAGE (&m->prior.stages[0].net)

/* name, base, what is wrong, how */
#define FAULTS(FAULT)                                                                              \
    FAULT(channels, "tiny", "2 channels", m->channels = 2)                                         \
    FAULT(stride, "tiny", "a stride of 6", m->stride = 6)                                          \
    FAULT(stride_scale, "tiny", "a stride that the nets do not have", m->stride = 4)               \
    FAULT(latent_bits, "tiny", "14 latent bits", m->latent_bits = 14)                              \
    FAULT(pixel_shift, "tiny", "pixel_shift 9", m->pixel_shift = 9)                                \
    FAULT(step_shift, "tiny", "step_shift 16", m->step_shift = 16)                                 \
    FAULT(no_ops, "tiny", "a net without ops", m->synthesis.op_count = 0)                          \
    FAULT(kind, "tiny", "an op of kind 5", CONV->kind = 5)                                         \
    FAULT(source, "tiny", "an op that reads what it writes (rule 1)", CONV->src = 1)               \
    FAULT(add, "tiny", "an add register that is not there yet (rule 1)",                           \
          find_add(&m->synthesis)->add = 60)                                                       \
    FAULT(add_shape, "tiny", "an add register of another shape (rule 3)",                          \
          find_add(&m->analysis)->add = 0)                                                         \
    FAULT(activation, "tiny", "activation 3", CONV->activation = 3)                                \
    FAULT(slope, "tiny", "a leaky ReLU of slope 9",                                                \
          (CONV->slope = 9, CONV->activation = VQZI_LEAKY))                                        \
    FAULT(conv_stride, "tiny", "a convolution of stride 3", CONV->stride = 3)                      \
    FAULT(scale, "tiny", "a synthesis that shrinks (rule 4)", CONV->stride = 2)                    \
    FAULT(bits, "tiny", "17 bits", CONV->bits = 17)                                                \
    FAULT(kernel_stride, "tiny", "a kernel smaller than its stride (rule 3)",                      \
          find_op(&m->synthesis, VQZI_D2S)[-1].stride = 2)                                         \
    FAULT(synthesis_end, "tiny", "a synthesis without its last layer (rule 4)",                    \
          m->synthesis.op_count--)                                                                 \
    FAULT(block_channels, "tiny", "D2S of channels that its block does not divide (rule 2)",       \
          find_op(&m->synthesis, VQZI_D2S)->block = 8)                                             \
    FAULT(shift, "tiny", "a shift of 31", CONV->shift[0] = 31)                                     \
    FAULT(bias_sets, "tiny", "no bias sets", CONV->bias_sets = 0)                                  \
    FAULT(overflow, "tiny", "a bias that overflows (rule 6)", CONV->biases[0] = INT32_MIN)         \
    FAULT(end_bits, "tiny", "an analysis that ends with other bits (rule 5)",                      \
          m->analysis.ops[m->analysis.op_count - 1].bits--)                                        \
    FAULT(block, "tiny", "a block of 3", find_op(&m->synthesis, VQZI_D2S)->block = 3)              \
    FAULT(step, "tiny", "a step of 0", m->steps[0] = 0)                                            \
    FAULT(step_large, "tiny", "a step of 32768", m->steps[1] = 32768)                              \
    FAULT(lambda, "tiny", "a lambda of 2^28", m->lambdas[0] = 1u << 28)                            \
    FAULT(no_planes, "tiny", "no planes", m->plane_count = 0)                                      \
    FAULT(one_code, "tiny", "a plane of one code", m->planes[0].codes = 1)                         \
    FAULT(dims, "tiny", "a plane of no dims", m->planes[0].dims = 0)                               \
    FAULT(books, "tiny", "a plane without books", m->planes[0].books = 0)                          \
    FAULT(plane_channel, "tiny", "a plane with channel D", m->planes[0].channels[1] = 3)           \
    FAULT(plane_channels, "tiny", "a plane with a channel twice", m->planes[0].channels[1] = 0)    \
    FAULT(ordered_vector, "tiny", "an ordered plane of two dims", m->planes[0].ordered = 1)        \
    FAULT(ordered, "tiny", "ordered is 2", m->planes[1].ordered = 2)                               \
    FAULT(gain_shift, "flat", "gain_shift 16", m->prior.gain_shift = 16)                           \
    FAULT(mean_gain, "flat", "a mean gain of 2^31", m->prior.mean_gains[0] = 1u << 31)             \
    FAULT(mean_gain_unordered, "flat", "a mean gain of a plane that is not ordered",               \
          (m->planes[0].ordered = 0, m->prior.mean_gains[0] = 1))                                  \
    FAULT(class_bits, "flat", "class_bits 9", m->prior.class_bits[39] = 9)                         \
    FAULT(frequency_zero, "flat", "a frequency of 0",                                              \
          (m->prior.frequencies[0] = 0, m->prior.frequencies[1] = 8192))                           \
    FAULT(frequency_sum, "flat", "frequencies that sum to 2^16 + 1", m->prior.frequencies[0]++)    \
    FAULT(plane_order, "prior-gray", "planes that do not take channels in order (rule 8)",         \
          (m->planes[0].channels[0] = 1, m->planes[1].channels[0] = 0))                            \
    FAULT(plane_missing, "prior-gray", "a channel that belongs to no plane (rule 8)",              \
          (m->plane_count--, m->stream_count--))                                                   \
    FAULT(stage_missing, "prior-gray", "planes that belong to no stage", m->prior.stage_count--)   \
    FAULT(stage_ops, "flat", "a stage of two ops (rule 9)", STAGE->op_count = 2)                   \
    FAULT(stage_kernel, "flat", "a stage with a kernel of 1 (rule 9)", STAGE->ops[0].kernel = 1)   \
    FAULT(stage_planes, "flat", "a stage of two planes where there is one",                        \
          m->prior.stages[0].planes = 2)                                                           \
    FAULT(stage_empty, "flat", "a stage without planes", m->prior.stages[0].planes = 0)            \
    FAULT(stage_outputs, "flat", "a stage with too few outputs (rule 9)",                          \
          (m->planes[0].ordered = 0, m->prior.mean_gains[0] = 0))                                  \
    FAULT(stage_stride, "flat", "a stage with a stride (rule 9)", STAGE->ops[0].stride = 2)        \
    FAULT(stage_source, "flat", "a stage that skips an op (rule 9)", STAGE->ops[2].src = 1)        \
    FAULT(stage_add, "flat", "a stage with an add register (rule 9)", STAGE->ops[1].add = 1)       \
    FAULT(causality, "flat", "a weight at the position itself (rule 10)",                          \
          STAGE->ops[0].weights[STAGE->ops[0].kernel * STAGE->ops[0].kernel / 2] = 1)

#define DEFINE(name, base, text, statement)                                                        \
    static void fault_##name(vqzi_model *m) {                                                      \
        statement;                                                                                 \
    }
FAULTS(DEFINE)

#define INVALID "model-invalid"

/* clang-format off */
const changed_model changed_models[] = {
#define ENTRY(name, base, text, statement)                                                         \
    {"bad", "model-" #name, base, INVALID, text, fault_##name, {0}, false},
    FAULTS(ENTRY)
    {"bad", "model-body_longer", "tiny", INVALID, "a byte behind the end of the body", NULL,
     {END, 0, BYTES("\0")}, true},
    {"bad", "model-body_cut", "tiny", INVALID, "a body without its last byte", NULL,
     {-1, 1, BYTES("")}, true},
    {"bad", "model-dictionary", "tiny", INVALID, "a dictionary that is none", NULL,
     {-1, 1, BYTES("\x08garbage!")}, true},
    {"bad", "model-prior_longer", "flat", INVALID, "a byte behind the end of the prior", NULL,
     {END, 0, BYTES("\0")}, true},
    {"bad", "model-frame_magic", "tiny", INVALID, "a frame with another magic", NULL,
     {39, 1, BYTES("\x29")}, false},
    {"bad", "model-frame_bit", "tiny", INVALID, "a frame with the reserved bit", NULL,
     {43, 1, BYTES("\x68")}, false},
    {"bad", "model-frame_dictionary", "tiny", INVALID, "a frame with a dictionary", NULL,
     {43, 1, BYTES("\x61\x01")}, false},
    {"bad", "model-frame_window", "tiny", INVALID, "a window above 2^23", NULL,
     {43, 1, BYTES("\x40\x69")}, false},
    {"models", "tiny-window", "tiny", NULL, "the largest window, 2^23", NULL,
     {43, 1, BYTES("\x40\x68")}, false},
    {"bad", "model-bound", "tiny", INVALID, "a size that the frame's blocks cannot hold", NULL,
     {4, 2, BYTES("\x80\x80\x80\x08")}, false},
    {"bad", "model-magic", "tiny", "format", "another magic", NULL, {0, 1, BYTES("v")}, false},
    {"bad", "model-size", "tiny", INVALID, "a size that the body does not have", NULL,
     {4, 1, BYTES("\x81")}, false},
    {"bad", "model-hash", "tiny", INVALID, "a body that is not that of the hash", NULL,
     {6, 1, BYTES("\0")}, false},
    {"bad", "model-card_zero", "tiny", INVALID, "a zero byte in the card", NULL,
     {38, 1, BYTES("\1\0")}, false},
    {"bad", "model-behind", "tiny", INVALID, "a byte behind the frame", NULL,
     {END, 0, BYTES("\0")}, false},
    {"bad", "model-cut", "tiny", "truncated", "a file without its last bytes", NULL,
     {-10, 10, BYTES("")}, false},
    {"bad", "model-plain_as_prior", "tiny", INVALID, "version 2 without a prior", NULL,
     {3, 1, BYTES("\2")}, false},
    {"bad", "model-prior_as_plain", "flat", INVALID, "version 1 with a prior", NULL,
     {3, 1, BYTES("\1")}, false},
    {"unsupported", "model-version3", "tiny", "version", "version 3", NULL, {3, 1, BYTES("\3")},
     false},
    {0}};
/* clang-format on */
