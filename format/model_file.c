/*
 * model_file.c - .vqm bytes <-> a model in memory (spec/vqm-format.md has the layout).
 *
 * A file is a short header, the card, and one zstd frame with the body.  The parser trusts nothing:
 * the body's size is held against the limits and against what the frame can hold before memory is
 * asked for, a tensor is allocated only when its bytes are there, and the finished model passes
 * vqzi_model_check.
 */
#include "format/container.h"
#include "format/frame.h"
#include "format/model_parts.h"

#include <stdlib.h>
#include <string.h>

enum {
    VERSION_PLAIN = 1,
    VERSION_PRIOR = 2,  /* a prior follows the dictionaries */
    MAX_CARD = 1 << 20, /* bytes */
    WINDOW_LOG = 23,    /* a decoder never needs more than 8 MiB of history */
    COMPRESSION_LEVEL = 19
};

void vqzi_net_clear(vqzi_net *net) {
    for (uint32_t i = 0; net->ops != NULL && i < net->op_count; i++) {
        free(net->ops[i].shift);
        free(net->ops[i].weights);
        free(net->ops[i].biases);
    }
    free(net->ops);
    *net = (vqzi_net){0};
}

void vqzi_model_clear(vqzi_model *model) {
    vqzi_net_clear(&model->analysis);
    vqzi_net_clear(&model->synthesis);
    vqzi_prior_clear(&model->prior);
    for (uint32_t p = 0; model->planes != NULL && p < model->plane_count; p++) {
        free(model->planes[p].channels);
        free(model->planes[p].codebook);
        free(model->planes[p].rates);
    }
    free(model->planes);
    for (size_t i = 0;
         model->dictionaries != NULL && i < (size_t)model->levels * model->stream_count; i++)
        vqzi_dictionary_clear(&model->dictionaries[i]);
    free(model->dictionaries);
    free(model->steps);
    free(model->lambdas);
    free(model->card);
    *model = (vqzi_model){0};
}

/* ---- writing ---- */

void vqzi_put_planes(vqzi_buffer *body, const void *values, size_t count, size_t width) {
    for (size_t plane = 0; plane < width; plane++)
        for (size_t i = 0; i < count; i++) {
            uint32_t value =
                width == 2 ? ((const uint16_t *)values)[i] : ((const uint32_t *)values)[i];
            vqzi_buffer_byte(body, (uint8_t)(value >> (8 * plane)));
        }
}

void vqzi_put_net(vqzi_buffer *body, const vqzi_net *net) {
    vqzi_buffer_byte(body, (uint8_t)net->op_count);
    for (uint32_t i = 0; i < net->op_count; i++) {
        const vqzi_op *op = &net->ops[i];
        vqzi_buffer_byte(body, op->kind);
        vqzi_buffer_byte(body, op->src);
        if (op->kind == VQZI_S2D || op->kind == VQZI_D2S) {
            vqzi_buffer_byte(body, op->block);
            continue;
        }
        vqzi_buffer_byte(body, op->activation);
        vqzi_buffer_byte(body, op->activation == VQZI_LEAKY ? op->slope : 0);
        if (op->kind == VQZI_ACT)
            continue;
        vqzi_buffer_byte(body, op->add);
        vqzi_buffer_byte(body, op->kernel);
        vqzi_buffer_byte(body, op->stride);
        vqzi_buffer_byte(body, op->bits);
        vqzi_buffer_byte(body, op->bias_sets);
        vqzi_buffer_varint(body, op->channels);
        size_t inputs = vqzi_net_channels(net, op->src), kernel = op->kernel;
        vqzi_buffer_append(body, op->shift, op->channels);
        vqzi_put_planes(body, op->weights, op->channels * kernel * kernel * inputs, 2);
        vqzi_put_planes(body, op->biases, (size_t)op->bias_sets * op->channels, 4);
    }
}

void vqzi_put_body(vqzi_buffer *body, const vqzi_model *model) {
    const uint8_t fields[6] = {model->channels,    model->stride,      model->levels,
                               model->latent_bits, model->pixel_shift, model->step_shift};
    vqzi_buffer_append(body, fields, sizeof fields);
    vqzi_buffer_varint(body, model->latent_channels);
    vqzi_put_net(body, &model->analysis);
    vqzi_put_net(body, &model->synthesis);
    vqzi_put_planes(body, model->steps, (size_t)model->levels * model->latent_channels, 2);
    vqzi_put_planes(body, model->lambdas, model->levels, 4);
    vqzi_buffer_byte(body, (uint8_t)model->plane_count);
    for (uint32_t p = 0; p < model->plane_count; p++) {
        const vqzi_plane *plane = &model->planes[p];
        vqzi_buffer_varint(body, plane->codes);
        vqzi_buffer_byte(body, plane->dims);
        vqzi_buffer_byte(body, plane->books);
        vqzi_buffer_byte(body, plane->ordered);
        vqzi_buffer_append(body, plane->channels, plane->dims);
        vqzi_put_planes(body, plane->codebook, (size_t)plane->books * plane->codes * plane->dims,
                        2);
        vqzi_buffer_append(body, plane->rates, (size_t)model->levels * plane->codes);
    }
    for (size_t i = 0; i < (size_t)model->levels * model->stream_count; i++) {
        static const vqzi_dictionary none = {0};
        const vqzi_dictionary *d = model->dictionaries != NULL ? &model->dictionaries[i] : &none;
        vqzi_buffer_varint(body, d->size);
        vqzi_buffer_append(body, d->data, d->size);
    }
    if (model->prior.stage_count > 0)
        vqzi_put_prior(body, &model->prior, model->latent_channels);
}

/* Appends body as one zstd frame. */
static vqz_status put_frame(vqzi_buffer *file, const vqzi_buffer *body) {
    size_t bound = ZSTD_compressBound(body->size);
    uint8_t *frame = malloc(bound);
    ZSTD_CCtx *zstd = ZSTD_createCCtx();
    size_t size = 0;
    bool ok =
        frame != NULL && zstd != NULL &&
        !ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, COMPRESSION_LEVEL)) &&
        !ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_windowLog, WINDOW_LOG));
    if (ok) {
        size = ZSTD_compress2(zstd, frame, bound, body->data, body->size);
        ok = !ZSTD_isError(size);
    }
    if (ok)
        vqzi_buffer_append(file, frame, size);
    ZSTD_freeCCtx(zstd);
    free(frame);
    return ok ? vqzi_buffer_status(file) : VQZ_ERROR_MEMORY;
}

vqz_status vqzi_model_serialise(vqzi_model *model, void **data, size_t *size, vqz_diag *diag) {
    /* What a reader accepts is for its limits to say; the rules hold for every writer. */
    const vqz_limits unlimited = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
    VQZ_TRY(vqzi_model_check(model, &unlimited, diag));
    size_t card_size = model->card != NULL ? strlen(model->card) : 0;
    if (card_size > MAX_CARD)
        return vqzi_fail(diag, VQZ_ERROR_MODEL_INVALID,
                         "the model card has %zu bytes; at most %d fit", card_size, MAX_CARD);
    vqzi_buffer body = {0}, file = {0};
    uint8_t hash[VQZI_HASH_SIZE];
    vqzi_put_body(&body, model);
    vqz_status status = vqzi_buffer_status(&body);
    if (status == VQZ_OK) {
        vqzi_sha256(hash, body.data, body.size);
        vqzi_buffer_append(&file, "VQM", 3);
        vqzi_buffer_byte(&file, model->prior.stage_count > 0 ? VERSION_PRIOR : VERSION_PLAIN);
        vqzi_buffer_varint(&file, body.size);
        vqzi_buffer_append(&file, hash, sizeof hash);
        vqzi_buffer_varint(&file, card_size);
        vqzi_buffer_append(&file, model->card, card_size);
        status = put_frame(&file, &body);
    }
    vqzi_buffer_clear(&body);
    if (status != VQZ_OK) {
        vqzi_buffer_clear(&file);
        return vqzi_fail(diag, status, "out of memory while writing the model");
    }
    memcpy(model->hash, hash, sizeof hash);
    *data = file.data;
    *size = file.size;
    return VQZ_OK;
}

/* ---- reading ---- */

vqz_status vqzi_get_byte(vqzi_reader *body, uint8_t *value) {
    const uint8_t *bytes;
    VQZ_TRY(vqzi_read_bytes(body, 1, &bytes));
    *value = *bytes;
    return VQZ_OK;
}

vqz_status vqzi_get_bytes(vqzi_reader *body, size_t count, uint8_t **values) {
    const uint8_t *bytes;
    VQZ_TRY(vqzi_read_bytes(body, count, &bytes));
    *values = malloc(count > 0 ? count : 1);
    if (*values == NULL)
        return VQZ_ERROR_MEMORY;
    if (count > 0)
        memcpy(*values, bytes, count);
    return VQZ_OK;
}

/* *values is malloc'ed once the bytes are known to be there. */
vqz_status vqzi_get_planes(vqzi_reader *body, size_t count, size_t width, void **values) {
    const uint8_t *bytes;
    size_t size;
    if (!vqzi_mul(count, width, &size))
        return VQZ_ERROR_TRUNCATED;
    VQZ_TRY(vqzi_read_bytes(body, size, &bytes));
    void *result = malloc(size > 0 ? size : 1);
    if (result == NULL)
        return VQZ_ERROR_MEMORY;
    if (width == 2) {
        uint16_t *to = result;
        for (size_t i = 0; i < count; i++)
            to[i] = (uint16_t)(bytes[i] | bytes[count + i] << 8);
    } else {
        uint32_t *to = result;
        for (size_t i = 0; i < count; i++)
            to[i] = (uint32_t)bytes[i] | (uint32_t)bytes[count + i] << 8 |
                    (uint32_t)bytes[2 * count + i] << 16 | (uint32_t)bytes[3 * count + i] << 24;
    }
    *values = result;
    return VQZ_OK;
}

static vqz_status get_conv(vqzi_reader *body, vqzi_op *op, size_t inputs, uint32_t most) {
    uint64_t channels;
    VQZ_TRY(vqzi_get_byte(body, &op->add));
    VQZ_TRY(vqzi_get_byte(body, &op->kernel));
    VQZ_TRY(vqzi_get_byte(body, &op->stride));
    VQZ_TRY(vqzi_get_byte(body, &op->bits));
    VQZ_TRY(vqzi_get_byte(body, &op->bias_sets));
    VQZ_TRY(vqzi_read_varint(body, most, &channels));
    op->channels = (uint16_t)channels;
    size_t taps = (size_t)op->kernel * op->kernel * inputs; /* below 2^26 */
    void *weights = NULL, *biases = NULL;
    VQZ_TRY(vqzi_get_bytes(body, op->channels, &op->shift));
    VQZ_TRY(vqzi_get_planes(body, op->channels * taps, 2, &weights));
    op->weights = weights;
    VQZ_TRY(vqzi_get_planes(body, (size_t)op->bias_sets * op->channels, 4, &biases));
    op->biases = biases;
    return VQZ_OK;
}

static vqz_status get_op(vqzi_reader *body, vqzi_net *net, uint32_t index, uint32_t most) {
    vqzi_op *op = &net->ops[index];
    op->add = VQZI_NO_REGISTER;
    VQZ_TRY(vqzi_get_byte(body, &op->kind));
    VQZ_TRY(vqzi_get_byte(body, &op->src));
    if (op->src > index)
        return VQZ_ERROR_MODEL_INVALID; /* the sizes below follow from the source's channels */
    uint32_t inputs = vqzi_net_channels(net, op->src), outputs = inputs;
    if (op->kind == VQZI_S2D || op->kind == VQZI_D2S) {
        VQZ_TRY(vqzi_get_byte(body, &op->block));
        uint32_t area = (uint32_t)op->block * op->block;
        if (area == 0)
            return VQZ_ERROR_MODEL_INVALID;
        outputs = op->kind == VQZI_S2D ? inputs * area : inputs / area;
        if (outputs > VQZI_MAX_CHANNELS)
            return VQZ_ERROR_MODEL_INVALID;
    } else if (op->kind == VQZI_CONV || op->kind == VQZI_ACT) {
        VQZ_TRY(vqzi_get_byte(body, &op->activation));
        VQZ_TRY(vqzi_get_byte(body, &op->slope));
        if (op->activation != VQZI_LEAKY && op->slope != 0)
            return VQZ_ERROR_MODEL_INVALID;
    } else {
        return VQZ_ERROR_MODEL_INVALID;
    }
    op->channels = (uint16_t)outputs;
    return op->kind == VQZI_CONV ? get_conv(body, op, inputs, most) : VQZ_OK;
}

vqz_status vqzi_get_net(vqzi_reader *body, vqzi_net *net, uint8_t bits, uint32_t channels,
                        uint32_t outputs) {
    uint8_t count;
    net->input_bits = bits;
    net->input_channels = (uint16_t)channels;
    VQZ_TRY(vqzi_get_byte(body, &count));
    if (count < 1 || count > VQZI_MAX_OPS)
        return VQZ_ERROR_MODEL_INVALID;
    net->ops = calloc(count, sizeof *net->ops);
    if (net->ops == NULL)
        return VQZ_ERROR_MEMORY;
    net->op_count = count;
    for (uint32_t i = 0; i < count; i++)
        VQZ_TRY(get_op(body, net, i, i + 1 == count ? outputs : VQZI_MAX_CHANNELS));
    return VQZ_OK;
}

static vqz_status get_plane(vqzi_reader *body, const vqzi_model *model, vqzi_plane *plane) {
    uint64_t codes;
    void *codebook;
    VQZ_TRY(vqzi_read_varint(body, VQZI_MAX_CODES, &codes));
    plane->codes = (uint16_t)codes;
    VQZ_TRY(vqzi_get_byte(body, &plane->dims));
    VQZ_TRY(vqzi_get_byte(body, &plane->books));
    VQZ_TRY(vqzi_get_byte(body, &plane->ordered));
    VQZ_TRY(vqzi_get_bytes(body, plane->dims, &plane->channels));
    VQZ_TRY(vqzi_get_planes(body, (size_t)plane->books * plane->codes * plane->dims, 2, &codebook));
    plane->codebook = codebook;
    return vqzi_get_bytes(body, (size_t)model->levels * plane->codes, &plane->rates);
}

static vqz_status get_quantiser(vqzi_reader *body, vqzi_model *model) {
    uint8_t planes;
    void *tensor;
    VQZ_TRY(vqzi_get_planes(body, (size_t)model->levels * model->latent_channels, 2, &tensor));
    model->steps = tensor;
    VQZ_TRY(vqzi_get_planes(body, model->levels, 4, &tensor));
    model->lambdas = tensor;
    VQZ_TRY(vqzi_get_byte(body, &planes));
    if (planes < 1 || planes > VQZI_MAX_PLANES)
        return VQZ_ERROR_MODEL_INVALID;
    model->planes = calloc(planes, sizeof *model->planes);
    if (model->planes == NULL)
        return VQZ_ERROR_MEMORY;
    model->plane_count = planes;
    for (uint32_t p = 0; p < planes; p++) {
        VQZ_TRY(get_plane(body, model, &model->planes[p]));
        model->stream_count += vqzi_plane_streams(&model->planes[p]);
    }
    size_t count = (size_t)model->levels * model->stream_count;
    model->dictionaries = calloc(count > 0 ? count : 1, sizeof *model->dictionaries);
    if (model->dictionaries == NULL)
        return VQZ_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++) {
        uint64_t size;
        VQZ_TRY(vqzi_read_varint(body, VQZI_MAX_DICTIONARY, &size));
        if (size > 0)
            VQZ_TRY(vqzi_get_bytes(body, (size_t)size, &model->dictionaries[i].data));
        model->dictionaries[i].size = (size_t)size;
    }
    return VQZ_OK;
}

static vqz_status get_body(vqzi_reader *body, vqzi_model *model, uint8_t version) {
    uint64_t channels;
    VQZ_TRY(vqzi_get_byte(body, &model->channels));
    VQZ_TRY(vqzi_get_byte(body, &model->stride));
    VQZ_TRY(vqzi_get_byte(body, &model->levels));
    VQZ_TRY(vqzi_get_byte(body, &model->latent_bits));
    VQZ_TRY(vqzi_get_byte(body, &model->pixel_shift));
    VQZ_TRY(vqzi_get_byte(body, &model->step_shift));
    VQZ_TRY(vqzi_read_varint(body, VQZI_MAX_LATENT_CHANNELS, &channels));
    model->latent_channels = (uint16_t)channels;
    VQZ_TRY(vqzi_get_net(body, &model->analysis, 8, model->channels, VQZI_MAX_CHANNELS));
    VQZ_TRY(vqzi_get_net(body, &model->synthesis, model->latent_bits, model->latent_channels,
                         VQZI_MAX_CHANNELS));
    VQZ_TRY(get_quantiser(body, model));
    if (version == VERSION_PRIOR)
        VQZ_TRY(vqzi_get_prior(body, model));
    return body->position == body->size ? VQZ_OK : VQZ_ERROR_CORRUPT;
}

/* The zstd frame -> malloc'ed body of exactly body_size bytes. */
static vqz_status unpack_body(const uint8_t *frame, size_t frame_size, size_t body_size,
                              uint8_t **body, vqz_diag *diag) {
    ZSTD_frameHeader header;
    size_t missing = ZSTD_getFrameHeader(&header, frame, frame_size);
    if (!ZSTD_isError(missing) && missing > 0)
        return vqzi_fail(diag, VQZ_ERROR_TRUNCATED, "the model file ends too early");
    if (ZSTD_isError(missing) || header.frameType != ZSTD_frame || header.dictID != 0 ||
        header.windowSize > 1ull << WINDOW_LOG)
        return vqzi_fail(diag, VQZ_ERROR_MODEL_INVALID, "the model's body is no usable zstd frame");
    size_t used = ZSTD_findFrameCompressedSize(frame, frame_size);
    if (ZSTD_isError(used))
        return vqzi_fail(diag, VQZ_ERROR_TRUNCATED, "the model file ends too early or is damaged");
    if (used != frame_size)
        return vqzi_fail(diag, VQZ_ERROR_MODEL_INVALID, "the model file has %zu bytes too many",
                         frame_size - used);
    /* a few bytes must not make us reserve a gigabyte: a block of 4 bytes holds at most 128 KiB */
    if (body_size > ZSTD_decompressBound(frame, frame_size))
        return vqzi_fail(diag, VQZ_ERROR_MODEL_INVALID, "the model file is damaged (body size)");
    uint8_t *result = malloc(body_size > 0 ? body_size : 1);
    if (result == NULL)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for a model of %zu bytes",
                         body_size);
    size_t got = ZSTD_decompress(result, body_size, frame, frame_size);
    if (got != body_size) {
        free(result);
        if (ZSTD_isError(got) && vqzi_frame_status(got) == VQZ_ERROR_MEMORY)
            return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for a model");
        return vqzi_fail(diag, VQZ_ERROR_MODEL_INVALID, "the model file is damaged (zstd)");
    }
    *body = result;
    return VQZ_OK;
}

/* Everything before the frame. */
static vqz_status get_file_header(vqzi_reader *file, uint64_t *body_size, const uint8_t **hash,
                                  const uint8_t **card, uint64_t *card_size) {
    VQZ_TRY(vqzi_read_varint(file, INT64_MAX, body_size));
    VQZ_TRY(vqzi_read_bytes(file, VQZI_HASH_SIZE, hash));
    VQZ_TRY(vqzi_read_varint(file, MAX_CARD, card_size));
    VQZ_TRY(vqzi_read_bytes(file, (size_t)*card_size, card));
    return memchr(*card, 0, (size_t)*card_size) == NULL ? VQZ_OK : VQZ_ERROR_CORRUPT;
}

static bool has_hash(const vqzi_reader *body, const uint8_t hash[VQZI_HASH_SIZE]) {
    uint8_t actual[VQZI_HASH_SIZE];
    vqzi_sha256(actual, body->data, body->size);
    return memcmp(actual, hash, sizeof actual) == 0;
}

static vqz_status set_card(vqzi_model *model, const uint8_t *card, size_t size) {
    model->card = malloc(size + 1);
    if (model->card == NULL)
        return VQZ_ERROR_MEMORY;
    memcpy(model->card, card, size);
    model->card[size] = '\0';
    return VQZ_OK;
}

/* known: the body of vqzi_model_parse_known, or NULL */
static vqz_status parse(vqzi_model *model, const void *data, size_t size, const uint8_t *known,
                        const vqz_limits *limits, vqz_diag *diag) {
    vqz_limits defaults;
    if (limits == NULL) {
        vqz_limits_init(&defaults);
        limits = &defaults;
    }
    vqzi_reader file = {data, size, 0};
    const uint8_t *magic, *hash, *card;
    uint64_t body_size, card_size;
    if (vqzi_read_bytes(&file, 4, &magic) != VQZ_OK || memcmp(magic, "VQM", 3) != 0)
        return vqzi_fail(diag, VQZ_ERROR_FORMAT, "this is not a .vqm model file");
    if (magic[3] != VERSION_PLAIN && magic[3] != VERSION_PRIOR)
        return vqzi_fail(diag, VQZ_ERROR_VERSION,
                         "the model file has version %u; this library knows versions %d and %d",
                         magic[3], VERSION_PLAIN, VERSION_PRIOR);
    vqz_status status = get_file_header(&file, &body_size, &hash, &card, &card_size);
    if (status != VQZ_OK)
        return vqzi_fail(diag, status == VQZ_ERROR_TRUNCATED ? status : VQZ_ERROR_MODEL_INVALID,
                         "the header of the model file is damaged or cut short");
    /* body and tensors exist side by side for a moment */
    if (body_size > VQZI_MIN(limits->max_memory, SIZE_MAX) / 2)
        return vqzi_fail(diag, VQZ_ERROR_LIMIT,
                         "the model takes %llu bytes, more than half of the memory limit of %llu",
                         (unsigned long long)body_size, (unsigned long long)limits->max_memory);
    uint8_t *unpacked = NULL;
    if (known == NULL)
        VQZ_TRY(unpack_body(file.data + file.position, size - file.position, (size_t)body_size,
                            &unpacked, diag));
    vqzi_model result = {0};
    vqzi_reader body = {known != NULL ? known : unpacked, (size_t)body_size, 0};
    if (known == NULL && !has_hash(&body, hash)) {
        status = vqzi_fail(diag, VQZ_ERROR_MODEL_INVALID,
                           "the model file is damaged: its content does not match its hash");
        goto done;
    }
    status = get_body(&body, &result, magic[3]);
    if (status == VQZ_OK)
        status = set_card(&result, card, (size_t)card_size);
    if (status == VQZ_ERROR_MEMORY) {
        vqzi_fail(diag, status, "out of memory while reading the model");
        goto done;
    }
    if (status != VQZ_OK) {
        status = vqzi_fail(diag, VQZ_ERROR_MODEL_INVALID,
                           "the model breaks the format at byte %zu of its body", body.position);
        goto done;
    }
    status = known != NULL ? vqzi_model_check_rules(&result, limits, diag)
                           : vqzi_model_check(&result, limits, diag);
    if (status != VQZ_OK)
        goto done;
    memcpy(result.hash, hash, sizeof result.hash);
    *model = result;
    result = (vqzi_model){0};
done:
    vqzi_model_clear(&result);
    free(unpacked);
    return status;
}

vqz_status vqzi_model_parse(vqzi_model *model, const void *data, size_t size,
                            const vqz_limits *limits, vqz_diag *diag) {
    return parse(model, data, size, NULL, limits, diag);
}

vqz_status vqzi_model_parse_known(vqzi_model *model, const void *data, size_t size,
                                  const uint8_t *body, const vqz_limits *limits, vqz_diag *diag) {
    return parse(model, data, size, body, limits, diag);
}
