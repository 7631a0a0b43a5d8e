/*
 * model_check.c - every rule that a model obeys (format/model.h, spec/vqm-format.md "Rules").
 *
 * This is the only gate between hostile bytes and the code that runs a model: nothing behind it
 * checks again.  The rules are tested in an order in which each relies only on those before it.
 */
#include "format/container.h"
#include "format/model_parts.h"

#include <string.h>

#define INVALID(diag, ...) vqzi_fail(diag, VQZ_ERROR_MODEL_INVALID, __VA_ARGS__)

/* The accumulator of no output channel may leave int32, whatever the picture. */
static vqz_status check_overflow(const vqzi_net_rules *context, uint32_t index) {
    const vqzi_op *op = &context->net->ops[index];
    vqzi_register source = vqzi_net_register(context->net, op->src);
    size_t taps = (size_t)op->kernel * op->kernel * source.channels;
    const int16_t *weight = op->weights;
    for (uint32_t c = 0; c < op->channels; c++) {
        int32_t sum = 0; /* at most 25 * VQZI_MAX_CHANNELS * 2^15, below 2^30 */
        int64_t bias = 0;
        for (size_t i = 0; i < taps; i++, weight++)
            sum += *weight < 0 ? -*weight : *weight;
        for (uint32_t set = 0; set < op->bias_sets; set++) {
            int64_t b = op->biases[set * (size_t)op->channels + c];
            bias = VQZI_MAX(bias, b < 0 ? -b : b);
        }
        uint32_t shift = op->shift[c];
        int64_t bound = ((int64_t)sum << (source.bits - 1)) + bias +
                        (shift > 0 ? (int64_t)1 << (shift - 1) : 0) + (1 << 15);
        if (bound > INT32_MAX)
            return INVALID(
                context->diag,
                "%s op %u channel %u could overflow its 32-bit accumulator (bound %lld); "
                "scale its weights down",
                context->name, index, c, (long long)bound);
    }
    return VQZ_OK;
}

static vqz_status check_conv(const vqzi_net_rules *context, uint32_t index) {
    const vqzi_net *net = context->net;
    const vqzi_op *op = &net->ops[index];
    vqz_diag *diag = context->diag;
    const char *name = context->name;
    if (op->kernel < 1 || op->kernel > 5 || op->stride < 1 || op->stride > 2 ||
        op->kernel < op->stride)
        return INVALID(diag,
                       "%s op %u has kernel %u and stride %u; kernels are 1 to 5, strides 1 or 2 "
                       "and no larger than the kernel",
                       name, index, op->kernel, op->stride);
    if (op->bits < 2 || op->bits > 16)
        return INVALID(diag, "%s op %u saturates to %u bits, outside 2 to 16", name, index,
                       op->bits);
    uint32_t most = index + 1 == net->op_count ? context->outputs : VQZI_MAX_CHANNELS;
    if (op->channels < 1 || op->channels > most)
        return INVALID(diag, "%s op %u has %u channels, outside 1 to %u", name, index, op->channels,
                       most);
    if (op->bias_sets != 1 && op->bias_sets != context->levels)
        return INVALID(diag, "%s op %u has %u bias sets; the model has %u levels", name, index,
                       op->bias_sets, context->levels);
    if (op->shift == NULL || op->weights == NULL || op->biases == NULL)
        return INVALID(diag, "%s op %u lacks a tensor", name, index);
    for (uint32_t c = 0; c < op->channels; c++)
        if (op->shift[c] > 30)
            return INVALID(diag, "%s op %u channel %u shifts by %u, more than 30", name, index, c,
                           op->shift[c]);
    if (op->add != VQZI_NO_REGISTER) {
        if (op->add > index)
            return INVALID(diag, "%s op %u adds register %u, which is not written yet", name, index,
                           op->add);
        vqzi_register add = vqzi_net_register(net, op->add);
        if (add.channels != op->channels || add.scale != vqzi_net_register(net, index + 1).scale)
            return INVALID(diag, "%s op %u adds register %u, which has another shape", name, index,
                           op->add);
    }
    return VQZ_OK;
}

static vqz_status check_shuffle(const vqzi_net_rules *context, uint32_t index) {
    const vqzi_op *op = &context->net->ops[index];
    uint32_t channels = vqzi_net_channels(context->net, op->src), area = op->block * op->block;
    if (op->block != 2 && op->block != 4 && op->block != 8)
        return INVALID(context->diag, "%s op %u has block %u; blocks are 2, 4 or 8", context->name,
                       index, op->block);
    if (op->kind == VQZI_D2S && channels % area != 0)
        return INVALID(context->diag, "%s op %u spreads %u channels over %u positions",
                       context->name, index, channels, area);
    uint32_t expected = op->kind == VQZI_S2D ? channels * area : channels / area;
    if (expected > VQZI_MAX_CHANNELS || op->channels != expected)
        return INVALID(context->diag, "%s op %u has %u channels instead of %u (at most %d)",
                       context->name, index, op->channels, expected, VQZI_MAX_CHANNELS);
    return VQZ_OK;
}

static vqz_status check_op(const vqzi_net_rules *context, uint32_t index) {
    const vqzi_op *op = &context->net->ops[index];
    vqz_diag *diag = context->diag;
    const char *name = context->name;
    if (op->kind < VQZI_CONV || op->kind > VQZI_D2S)
        return INVALID(diag, "%s op %u is of unknown kind %u", name, index, op->kind);
    if (op->src > index)
        return INVALID(diag, "%s op %u reads register %u, which is not written yet", name, index,
                       op->src);
    if (op->kind == VQZI_CONV || op->kind == VQZI_ACT) {
        if (op->activation > VQZI_LEAKY)
            return INVALID(diag, "%s op %u has unknown activation %u", name, index, op->activation);
        if (op->activation == VQZI_LEAKY && (op->slope < 1 || op->slope > 8))
            return INVALID(diag, "%s op %u has slope %u, outside 1 to 8", name, index, op->slope);
    }
    if (op->kind == VQZI_CONV) {
        VQZ_TRY(check_conv(context, index));
    } else if (op->kind == VQZI_ACT) {
        if (op->channels != vqzi_net_channels(context->net, op->src))
            return INVALID(diag, "%s op %u changes the number of channels", name, index);
    } else {
        VQZ_TRY(check_shuffle(context, index));
    }
    int32_t scale = vqzi_net_register(context->net, index + 1).scale;
    if (scale < context->first || scale > context->last)
        return INVALID(diag, "%s op %u leaves the scales between pixels and latents", name, index);
    return op->kind == VQZI_CONV ? check_overflow(context, index) : VQZ_OK;
}

vqz_status vqzi_net_check(const vqzi_net_rules *context) {
    const vqzi_net *net = context->net;
    if (net->op_count < 1 || net->op_count > VQZI_MAX_OPS || net->ops == NULL)
        return INVALID(context->diag, "%s has %u ops, outside 1 to %d", context->name,
                       net->op_count, VQZI_MAX_OPS);
    for (uint32_t i = 0; i < net->op_count; i++)
        VQZ_TRY(check_op(context, i));
    return VQZ_OK;
}

/* Both nets fit each other and the picture. */
static vqz_status check_nets(const vqzi_model *model, vqz_diag *diag) {
    int32_t depth = (int32_t)vqzi_log2(model->stride);
    vqzi_net_rules analysis = {&model->analysis,  "analysis", model->levels, 0, depth,
                               VQZI_MAX_CHANNELS, diag};
    vqzi_net_rules synthesis = {&model->synthesis, "synthesis", model->levels, -depth, 0,
                                VQZI_MAX_CHANNELS, diag};
    if (model->analysis.input_bits != 8 || model->analysis.input_channels != model->channels)
        return INVALID(diag, "analysis does not start at 8-bit pixels of %u channels",
                       model->channels);
    if (model->synthesis.input_bits != model->latent_bits ||
        model->synthesis.input_channels != model->latent_channels)
        return INVALID(diag, "synthesis does not start at %u-bit latents of %u channels",
                       model->latent_bits, model->latent_channels);
    VQZ_TRY(vqzi_net_check(&analysis));
    VQZ_TRY(vqzi_net_check(&synthesis));
    vqzi_register end = vqzi_net_register(&model->analysis, model->analysis.op_count);
    if (end.channels != model->latent_channels || end.bits != model->latent_bits ||
        end.scale != depth)
        return INVALID(diag,
                       "analysis ends with %u channels of %u bits at 1/%u; the latents have %u "
                       "channels of %u bits at 1/%u",
                       end.channels, end.bits, 1u << end.scale, model->latent_channels,
                       model->latent_bits, model->stride);
    end = vqzi_net_register(&model->synthesis, model->synthesis.op_count);
    if (end.channels != model->channels || end.scale != -depth)
        return INVALID(diag, "synthesis does not end at full resolution with %u channels",
                       model->channels);
    return VQZ_OK;
}

/* What a search of all codebooks for one latent position takes. */
static uint64_t search_macs(const vqzi_model *model) {
    uint64_t total = 0;
    for (uint32_t p = 0; p < model->plane_count; p++)
        total += (uint64_t)model->planes[p].codes * model->planes[p].dims;
    return total;
}

/* The work of an encoder is the analysis and the search of the codebooks, that of a decoder the
   synthesis and the prior. */
static vqz_status check_work(const vqzi_model *model, const vqz_limits *limits, vqz_diag *diag) {
    uint32_t area = model->stride * (uint32_t)model->stride;
    uint64_t encode = vqzi_net_macs_per_input_position_x1000(&model->analysis) / 1000;
    uint64_t decode = vqzi_net_macs_per_input_position_x1000(&model->synthesis) / 1000;
    encode += search_macs(model) / area;
    decode = (decode + vqzi_prior_macs_per_position(model)) / area;
    if (encode > limits->max_macs_per_pixel || decode > limits->max_macs_per_pixel)
        return vqzi_fail(
            diag, VQZ_ERROR_LIMIT,
            "the model needs %llu (encoder) and %llu (decoder) multiplications a pixel; "
            "the limit is %llu, raise max_macs_per_pixel",
            (unsigned long long)encode, (unsigned long long)decode,
            (unsigned long long)limits->max_macs_per_pixel);
    return VQZ_OK;
}

static vqz_status check_plane(const vqzi_model *model, uint32_t index, vqz_diag *diag) {
    const vqzi_plane *plane = &model->planes[index];
    if (plane->codes < 2 || plane->codes > VQZI_MAX_CODES)
        return INVALID(diag, "plane %u has %u codes, outside 2 to %d", index, plane->codes,
                       VQZI_MAX_CODES);
    if (plane->dims < 1 || plane->dims > VQZI_MAX_PLANE_DIMS)
        return INVALID(diag, "plane %u has %u dimensions, outside 1 to %d", index, plane->dims,
                       VQZI_MAX_PLANE_DIMS);
    if (plane->books != 1 && plane->books != model->levels)
        return INVALID(diag, "plane %u has %u codebooks; the model has %u levels", index,
                       plane->books, model->levels);
    if (plane->ordered > 1 || (plane->ordered == 1 && plane->dims != 1))
        return INVALID(diag,
                       "plane %u of %u dimensions has the order flag %u; only planes of one "
                       "dimension have an order",
                       index, plane->dims, plane->ordered);
    if (plane->channels == NULL || plane->codebook == NULL || plane->rates == NULL)
        return INVALID(diag, "plane %u lacks a tensor", index);
    for (uint32_t i = 0; i < plane->dims; i++)
        if (plane->channels[i] >= model->latent_channels ||
            (i > 0 && plane->channels[i] <= plane->channels[i - 1]))
            return INVALID(diag, "plane %u lists channel %u out of order or beyond the latent's %u",
                           index, plane->channels[i], model->latent_channels);
    return VQZ_OK;
}

static vqz_status check_quantiser(const vqzi_model *model, vqz_diag *diag) {
    if (model->plane_count < 1 || model->plane_count > VQZI_MAX_PLANES || model->planes == NULL)
        return INVALID(diag, "the model has %u planes, outside 1 to %d", model->plane_count,
                       VQZI_MAX_PLANES);
    uint32_t streams = 0;
    for (uint32_t p = 0; p < model->plane_count; p++) {
        VQZ_TRY(check_plane(model, p, diag));
        streams += vqzi_plane_streams(&model->planes[p]);
    }
    if (model->stream_count != streams)
        return INVALID(diag, "the model counts %u streams; its planes make %u", model->stream_count,
                       streams);
    if (model->steps == NULL || model->lambdas == NULL)
        return INVALID(diag, "the model lacks its steps or its lambdas");
    for (size_t i = 0; i < (size_t)model->levels * model->latent_channels; i++)
        if (model->steps[i] < 1 || model->steps[i] > 32767)
            return INVALID(diag, "step %zu is %u, outside 1 to 32767", i, model->steps[i]);
    for (uint32_t i = 0; i < model->levels; i++)
        if (model->lambdas[i] >= 1u << 28)
            return INVALID(diag, "lambda %u is %u, not below 2^28", i, model->lambdas[i]);
    return VQZ_OK;
}

uint64_t vqzi_net_bytes(const vqzi_net *net) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < net->op_count; i++) {
        const vqzi_op *op = &net->ops[i];
        if (op->kind == VQZI_CONV)
            total +=
                op->channels * (1 + 4ull * op->bias_sets +
                                2ull * op->kernel * op->kernel * vqzi_net_channels(net, op->src));
    }
    return total;
}

/* Bytes of all tensors.  The counts have been checked: the sum is far from 2^64. */
static uint64_t tensor_bytes(const vqzi_model *model) {
    uint64_t total = (uint64_t)model->levels * (model->latent_channels * 2u + 4u);
    total += vqzi_net_bytes(&model->analysis) + vqzi_net_bytes(&model->synthesis);
    for (uint32_t p = 0; p < model->plane_count; p++) {
        const vqzi_plane *plane = &model->planes[p];
        total += plane->codes * (2ull * plane->books * plane->dims + model->levels) + plane->dims;
    }
    for (uint32_t i = 0; model->dictionaries != NULL && i < model->levels * model->stream_count;
         i++)
        total += model->dictionaries[i].size;
    if (model->prior.stage_count > 0)
        total += model->latent_channels * 6u + VQZI_CLASSES * VQZI_PHASES * VQZI_SYMBOLS * 2u;
    for (uint32_t i = 0; i < model->prior.stage_count; i++)
        total += vqzi_net_bytes(&model->prior.stages[i].net);
    return total;
}

vqz_status vqzi_model_check_rules(const vqzi_model *model, const vqz_limits *limits,
                                  vqz_diag *diag) {
    vqz_limits defaults;
    if (limits == NULL) {
        vqz_limits_init(&defaults);
        limits = &defaults;
    }
    if (model->channels != 1 && model->channels != 3 && model->channels != 4)
        return INVALID(diag, "the model has %u picture channels; 1, 3 and 4 are possible",
                       model->channels);
    uint32_t stride = model->stride;
    if (stride < 2 || stride > VQZI_MAX_STRIDE || (stride & (stride - 1)) != 0)
        return INVALID(diag, "the model has stride %u; powers of two from 2 to %d are possible",
                       stride, VQZI_MAX_STRIDE);
    if (model->levels < 1 || model->levels > VQZI_MAX_LEVELS)
        return INVALID(diag, "the model has %u levels, outside 1 to %d", model->levels,
                       VQZI_MAX_LEVELS);
    if (model->latent_bits < 2 || model->latent_bits > VQZI_MAX_LATENT_BITS)
        return INVALID(diag, "the latents have %u bits, outside 2 to %d", model->latent_bits,
                       VQZI_MAX_LATENT_BITS);
    if (model->latent_channels < 1 || model->latent_channels > VQZI_MAX_LATENT_CHANNELS)
        return INVALID(diag, "the latents have %u channels, outside 1 to %d",
                       model->latent_channels, VQZI_MAX_LATENT_CHANNELS);
    if (model->pixel_shift > 8 || model->step_shift > 15)
        return INVALID(diag, "pixel shift %u or step shift %u exceeds 8 or 15", model->pixel_shift,
                       model->step_shift);
    VQZ_TRY(check_nets(model, diag));
    VQZ_TRY(check_quantiser(model, diag));
    VQZ_TRY(vqzi_prior_check(model, diag));
    VQZ_TRY(check_work(model, limits, diag));
    uint64_t bytes = tensor_bytes(model);
    if (bytes > limits->max_memory / 2)
        return vqzi_fail(diag, VQZ_ERROR_LIMIT,
                         "the model takes %llu bytes, more than half of the memory limit of %llu",
                         (unsigned long long)bytes, (unsigned long long)limits->max_memory);
    return VQZ_OK;
}

static vqz_status check_dictionaries(const vqzi_model *model, vqz_diag *diag) {
    if (model->dictionaries == NULL)
        return VQZ_OK;
    uint32_t streams = model->stream_count;
    for (uint32_t i = 0; i < model->levels * streams; i++) {
        const vqzi_dictionary *dictionary = &model->dictionaries[i];
        if (dictionary->size == 0)
            continue;
        vqz_status status = dictionary->data == NULL || dictionary->size > VQZI_MAX_DICTIONARY
                                ? VQZ_ERROR_MODEL_INVALID
                                : vqzi_dictionary_check(dictionary->data, dictionary->size);
        if (status != VQZ_OK)
            return vqzi_fail(diag, status, "the zstd dictionary of level %u, stream %u: %s",
                             i / streams, i % streams, vqz_status_string(status));
    }
    return VQZ_OK;
}

vqz_status vqzi_model_check(const vqzi_model *model, const vqz_limits *limits, vqz_diag *diag) {
    VQZ_TRY(vqzi_model_check_rules(model, limits, diag));
    return check_dictionaries(model, diag);
}
