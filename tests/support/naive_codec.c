/*
 * naive_codec.c - see naive_codec.h.  Out-of-memory ends the test program.
 */
#include "tests/support/naive_codec.h"
#include "tests/support/naive_parts.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct tensor {
    int64_t height, width, channels;
    int64_t *data;
} tensor;

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count > 0 ? count : 1, size);
    if (!memory) {
        fprintf(stderr, "out of memory in the naive codec\n");
        exit(1);
    }
    return memory;
}

static tensor tensor_make(int64_t height, int64_t width, int64_t channels) {
    tensor t = {height, width, channels, NULL};
    t.data = allocate((size_t)(height * width * channels), sizeof *t.data);
    return t;
}

static int64_t *cell(const tensor *t, int64_t y, int64_t x, int64_t c) {
    return &t->data[(y * t->width + x) * t->channels + c];
}

int64_t naive_clamp(int64_t value, int bits) {
    int64_t high = ((int64_t)1 << (bits - 1)) - 1;
    return value > high ? high : value < -high - 1 ? -high - 1 : value;
}

static int64_t floor_div(int64_t a, int64_t b) {
    int64_t q = a / b;
    return a % b < 0 ? q - 1 : q;
}

/* Quality -> values interpolated between two levels. */
static int64_t between(int64_t low, int64_t high, int fraction) {
    return floor_div(low * (99 - fraction) + high * fraction + 49, 99);
}

static void levels_of(const vqzi_model *model, int quality, int *lower, int *upper, int *fraction,
                      int *nearest) {
    int t = (quality - 1) * (model->levels - 1);
    *lower = t / 99;
    *fraction = t % 99;
    *upper = *fraction ? *lower + 1 : *lower;
    *nearest = *lower + (*fraction >= 50 ? 1 : 0);
}

int64_t naive_activate(const vqzi_op *op, int64_t t) {
    if (t >= 0 || op->activation == VQZI_NONE)
        return t;
    return op->activation == VQZI_RELU ? 0 : t >> op->slope;
}

int64_t naive_bias(const vqzi_model *model, int quality, const vqzi_op *op, int channel) {
    int lower, upper, fraction, nearest;
    if (op->bias_sets == 1)
        return op->biases[channel];
    levels_of(model, quality, &lower, &upper, &fraction, &nearest);
    return between(op->biases[lower * op->channels + channel],
                   op->biases[upper * op->channels + channel], fraction);
}

static tensor conv(const vqzi_model *model, int quality, const vqzi_op *op, const tensor *src,
                   const tensor *add) {
    int k = op->kernel, pad = (k - 1) / 2;
    tensor dst = tensor_make((src->height + op->stride - 1) / op->stride,
                             (src->width + op->stride - 1) / op->stride, op->channels);
    for (int64_t y = 0; y < dst.height; y++)
        for (int64_t x = 0; x < dst.width; x++)
            for (int oc = 0; oc < op->channels; oc++) {
                int64_t acc = naive_bias(model, quality, op, oc);
                for (int ky = 0; ky < k; ky++)
                    for (int kx = 0; kx < k; kx++) {
                        int64_t sy = y * op->stride + ky - pad, sx = x * op->stride + kx - pad;
                        if (sy < 0 || sx < 0 || sy >= src->height || sx >= src->width)
                            continue;
                        const int16_t *w =
                            op->weights + ((size_t)(oc * k + ky) * k + kx) * src->channels;
                        for (int64_t ic = 0; ic < src->channels; ic++)
                            acc += w[ic] * *cell(src, sy, sx, ic);
                    }
                if (op->shift[oc] > 0)
                    acc = (acc + ((int64_t)1 << (op->shift[oc] - 1))) >> op->shift[oc];
                if (add)
                    acc += *cell(add, y, x, oc);
                *cell(&dst, y, x, oc) = naive_clamp(naive_activate(op, acc), op->bits);
            }
    return dst;
}

static tensor shuffle(const vqzi_op *op, const tensor *src) {
    int64_t b = op->block;
    bool deep = op->kind == VQZI_S2D;
    tensor dst = tensor_make(deep ? src->height / b : src->height * b,
                             deep ? src->width / b : src->width * b, op->channels);
    const tensor *fine = deep ? src : &dst, *coarse = deep ? &dst : src;
    for (int64_t y = 0; y < fine->height; y++)
        for (int64_t x = 0; x < fine->width; x++)
            for (int64_t c = 0; c < fine->channels; c++) {
                int64_t packed = (y % b * b + x % b) * fine->channels + c;
                if (deep)
                    *cell(coarse, y / b, x / b, packed) = *cell(fine, y, x, c);
                else
                    *cell(fine, y, x, c) = *cell(coarse, y / b, x / b, packed);
            }
    return dst;
}

static tensor run(const vqzi_model *model, int quality, const vqzi_net *net, tensor input) {
    tensor registers[VQZI_MAX_OPS + 1] = {input};
    for (uint32_t i = 0; i < net->op_count; i++) {
        const vqzi_op *op = &net->ops[i];
        const tensor *src = &registers[op->src];
        if (op->kind == VQZI_CONV) {
            registers[i + 1] = conv(model, quality, op, src,
                                    op->add == VQZI_NO_REGISTER ? NULL : &registers[op->add]);
        } else if (op->kind == VQZI_ACT) {
            registers[i + 1] = tensor_make(src->height, src->width, src->channels);
            for (int64_t j = 0; j < src->height * src->width * src->channels; j++)
                registers[i + 1].data[j] = naive_activate(op, src->data[j]);
        } else {
            registers[i + 1] = shuffle(op, src);
        }
    }
    for (uint32_t r = 0; r < net->op_count; r++)
        free(registers[r].data);
    return registers[net->op_count];
}

int64_t naive_step(const vqzi_model *model, int quality, uint32_t channel) {
    int lower, upper, fraction, nearest;
    size_t d = model->latent_channels;
    levels_of(model, quality, &lower, &upper, &fraction, &nearest);
    return between(model->steps[(size_t)lower * d + channel],
                   model->steps[(size_t)upper * d + channel], fraction);
}

int64_t naive_entry(const vqzi_model *model, int quality, const vqzi_plane *plane, uint32_t code,
                     uint32_t dim) {
    int lower, upper, fraction, nearest;
    levels_of(model, quality, &lower, &upper, &fraction, &nearest);
    size_t book = plane->books > 1 ? (size_t)nearest : 0;
    int64_t step = naive_step(model, quality, plane->channels[dim]);
    int64_t e = plane->codebook[(book * plane->codes + code) * plane->dims + dim] * step;
    if (model->step_shift > 0)
        e = (e + ((int64_t)1 << (model->step_shift - 1))) >> model->step_shift;
    return naive_clamp(e, model->latent_bits);
}

uint32_t naive_latent_side(const vqzi_model *model, uint32_t pixels) {
    return (pixels + model->stride - 1) / model->stride;
}

static tensor load(const vqzi_model *model, const vqz_image *image) {
    uint32_t stride = model->stride, channels = image->channels;
    tensor t = tensor_make((int64_t)naive_latent_side(model, image->height) * stride,
                           (int64_t)naive_latent_side(model, image->width) * stride,
                           model->channels);
    for (int64_t y = 0; y < t.height; y++)
        for (int64_t x = 0; x < t.width; x++)
            for (int64_t c = 0; c < t.channels; c++) {
                int64_t py = VQZI_MIN(y, (int64_t)image->height - 1);
                int64_t px = VQZI_MIN(x, (int64_t)image->width - 1);
                const uint8_t *pixel =
                    image->pixels + (size_t)py * image->stride + (size_t)px * channels;
                int value = pixel[channels < 3 ? 0 : VQZI_MIN(c, 2)];
                int alpha = channels % 2 == 0 ? pixel[channels - 1] : 255;
                if (c == 3)
                    value = alpha;
                else if (t.channels == 4 && alpha == 0)
                    value = 128;
                *cell(&t, y, x, c) = value - 128;
            }
    return t;
}

uint16_t *naive_encode(const vqzi_model *model, int quality, const vqz_image *image) {
    int lower, upper, fraction, nearest;
    tensor latents = run(model, quality, &model->analysis, load(model, image));
    size_t positions = (size_t)(latents.height * latents.width);
    uint16_t *indices = allocate(positions * model->plane_count, sizeof *indices);
    levels_of(model, quality, &lower, &upper, &fraction, &nearest);
    int64_t lambda = between(model->lambdas[lower], model->lambdas[upper], fraction);

    for (uint32_t p = 0; p < model->plane_count; p++) {
        const vqzi_plane *plane = &model->planes[p];
        int64_t *entries = allocate((size_t)plane->codes * plane->dims, sizeof *entries);
        for (uint32_t k = 0; k < plane->codes; k++)
            for (uint32_t i = 0; i < plane->dims; i++)
                entries[k * plane->dims + i] = naive_entry(model, quality, plane, k, i);
        for (size_t at = 0; at < positions; at++) {
            int64_t *latent = latents.data + at * model->latent_channels, best = INT64_MAX;
            uint32_t code = 0;
            for (uint32_t k = 0; k < plane->codes; k++) {
                int64_t cost = lambda * plane->rates[(size_t)nearest * plane->codes + k] / 8;
                cost = VQZI_MIN(cost, (int64_t)1 << 29);
                for (uint32_t i = 0; i < plane->dims; i++) {
                    int64_t r = naive_clamp(latent[plane->channels[i]], model->latent_bits);
                    int64_t difference = r - entries[k * plane->dims + i];
                    cost += difference * difference;
                }
                if (cost < best) {
                    best = cost;
                    code = k;
                }
            }
            indices[p * positions + at] = (uint16_t)code;
            for (uint32_t i = 0; i < plane->dims; i++)
                latent[plane->channels[i]] -= entries[code * plane->dims + i];
        }
        free(entries);
    }
    free(latents.data);
    return indices;
}

void naive_decode(const vqzi_model *model, int quality, const uint16_t *indices,
                  const vqz_image *image) {
    tensor latents = tensor_make(naive_latent_side(model, image->height),
                                 naive_latent_side(model, image->width), model->latent_channels);
    size_t positions = (size_t)(latents.height * latents.width);
    for (uint32_t p = 0; p < model->plane_count; p++)
        for (size_t at = 0; at < positions; at++)
            for (uint32_t i = 0; i < model->planes[p].dims; i++)
                latents.data[at * model->latent_channels + model->planes[p].channels[i]] +=
                    naive_entry(model, quality, &model->planes[p], indices[p * positions + at], i);
    for (size_t i = 0; i < positions * model->latent_channels; i++)
        latents.data[i] = naive_clamp(latents.data[i], model->latent_bits);

    tensor out = run(model, quality, &model->synthesis, latents);
    for (int64_t y = 0; y < image->height; y++)
        for (int64_t x = 0; x < image->width; x++) {
            uint8_t *pixel = image->pixels + (size_t)y * image->stride +
                             (size_t)x * image->channels;
            int values[4] = {0};
            for (int64_t c = 0; c < out.channels; c++) {
                int64_t v = *cell(&out, y, x, c);
                if (model->pixel_shift > 0)
                    v = (v + ((int64_t)1 << (model->pixel_shift - 1))) >> model->pixel_shift;
                v += 128;
                values[c] = (int)(v < 0 ? 0 : v > 255 ? 255 : v);
            }
            if (image->channels >= 3)
                for (int c = 0; c < 3; c++)
                    pixel[c] = (uint8_t)values[c];
            else
                pixel[0] = (uint8_t)(model->channels == 1
                                         ? values[0]
                                         : (values[0] + values[1] + values[2] + 1) / 3);
            if (model->channels == 4 && image->channels % 2 == 0)
                pixel[image->channels - 1] = (uint8_t)values[3];
        }
    free(out.data);
}
