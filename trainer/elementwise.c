/*
 * elementwise.c - the passes between convolutions: bias, addition, activation, their gradients, and
 * space-to-depth.  Values are worked on in float32, a cache-resident block at a time; bfloat16 is
 * rounded to nearest even.  Every thread takes one contiguous share of the pixels, so that sums are
 * formed in the same order in every run with the same number of threads.
 */
#include "trainer/tensor.h"
#include "trainer/wide.h"
#include <assert.h>
#include <math.h>
#include <omp.h>
#include <string.h>

enum { BLOCK = 1024 }; /* floats worked on at a time: whole pixels, so one pixel may have more */

WIDE static void widen(float *restrict dst, const uint16_t *restrict src, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)src[i] << 16;
        memcpy(&dst[i], &bits, sizeof bits);
    }
}

/* Infinities survive; a NaN stays one. */
WIDE static void narrow(uint16_t *restrict dst, const float *restrict src, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &src[i], sizeof bits);
        uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16, quiet = (bits >> 16) | 0x40;
        dst[i] = (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? quiet : rounded);
    }
}

WIDE static void add_to(float *restrict dst, const float *restrict src, size_t n) {
    for (size_t i = 0; i < n; i++)
        dst[i] += src[i];
}

WIDE static void add_vector(float *restrict dst, const float *restrict vector, size_t pixels,
                            size_t channels) {
    for (size_t p = 0; p < pixels; p++, dst += channels)
        for (size_t c = 0; c < channels; c++)
            dst[c] += vector[c];
}

WIDE static void activate(float *dst, float slope, size_t n) {
    for (size_t i = 0; i < n; i++)
        dst[i] = dst[i] > 0 ? dst[i] : slope * dst[i];
}

/* Slopes are not negative: an output that is not positive came from an input that was not. */
WIDE static void activate_gradient(float *restrict dst, const float *restrict output, float slope,
                                   size_t n) {
    for (size_t i = 0; i < n; i++)
        dst[i] = output[i] > 0 ? dst[i] : slope * dst[i];
}

WIDE static void sum_pixels(double *restrict sums, const float *restrict src, size_t pixels,
                            size_t channels) {
    float block[TENSOR_MAX_CHANNELS];
    memcpy(block, src, channels * sizeof *block);
    for (size_t p = 1; p < pixels; p++) {
        src += channels;
        for (size_t c = 0; c < channels; c++)
            block[c] += src[c];
    }
    for (size_t c = 0; c < channels; c++)
        sums[c] += (double)block[c];
}

/* A NaN is not counted: comparisons with it are false. */
WIDE static void max_pixels(float *restrict max_abs, const float *restrict src, size_t pixels,
                            size_t channels) {
    for (size_t p = 0; p < pixels; p++, src += channels)
        for (size_t c = 0; c < channels; c++) {
            float a = fabsf(src[c]);
            max_abs[c] = a > max_abs[c] ? a : max_abs[c];
        }
}

static const void *at(const void *data, tensor_type type, size_t offset) {
    return (const char *)data + offset * tensor_type_size(type);
}

/* n values as floats: in place when they are floats already, else widened into the buffer. */
static const float *load(const void *data, tensor_type type, size_t offset, size_t n,
                         float *buffer) {
    if (type == TENSOR_FLOAT32)
        return (const float *)data + offset;
    widen(buffer, (const uint16_t *)data + offset, n);
    return buffer;
}

/* Where a block of results is worked on: in its place when it is of floats, else in the buffer. */
static float *work_at(void *data, tensor_type type, size_t offset, float *buffer) {
    return type == TENSOR_FLOAT32 ? (float *)data + offset : buffer;
}

static void load_copy(float *value, const void *data, tensor_type type, size_t offset, size_t n) {
    if (type != TENSOR_FLOAT32)
        widen(value, (const uint16_t *)data + offset, n);
    else if ((const float *)data + offset != value)
        memcpy(value, (const float *)data + offset, n * sizeof *value);
}

static void store(void *data, tensor_type type, size_t offset, const float *src, size_t n) {
    if (type != TENSOR_FLOAT32)
        narrow((uint16_t *)data + offset, src, n);
    else if ((float *)data + offset != src)
        memcpy((float *)data + offset, src, n * sizeof *src);
}

static void copy(void *dst, tensor_type dst_type, size_t dst_offset, const void *src,
                 tensor_type src_type, size_t src_offset, size_t n) {
    if (dst_type == src_type) {
        memcpy((char *)dst + dst_offset * tensor_type_size(dst_type), at(src, src_type, src_offset),
               n * tensor_type_size(dst_type));
        return;
    }
    for (size_t i = 0; i < n; i += BLOCK) {
        float buffer[TENSOR_MAX_CHANNELS];
        size_t count = VQZI_MIN(n - i, (size_t)BLOCK);
        store(dst, dst_type, dst_offset + i, load(src, src_type, src_offset + i, count, buffer),
              count);
    }
}

static float activation_slope(layer_activation activation, int slope) {
    return activation == ACT_LEAKY ? ldexpf(1.0f, -slope) : 0.0f;
}

/* The pixels of a tensor, cut into blocks that lie in one sample (and so have one bias set). */
typedef struct blocks {
    size_t channels, pixels; /* pixels of a sample */
    size_t per_block, per_sample, total;
} blocks;

static blocks make_blocks(const tensor_shape *s) {
    blocks k = {.channels = (size_t)s->channels, .pixels = (size_t)s->height * (size_t)s->width};
    assert(k.channels <= TENSOR_MAX_CHANNELS);
    k.per_block = VQZI_MAX(BLOCK / k.channels, (size_t)1);
    k.per_sample = (k.pixels + k.per_block - 1) / k.per_block;
    k.total = k.per_sample * (size_t)s->batch;
    return k;
}

/* Block i: its sample, first value and number of pixels. */
static void block_at(const blocks *k, size_t i, size_t *sample, size_t *offset, size_t *pixels) {
    *sample = i / k->per_sample;
    size_t first = i % k->per_sample * k->per_block;
    *offset = (*sample * k->pixels + first) * k->channels;
    *pixels = VQZI_MIN(k->per_block, k->pixels - first);
}

void epilogue(const backend *b, const epilogue_args *args) {
    const epilogue_args a = *args;
    const blocks k = make_blocks(&a.shape);
    const float slope = activation_slope(a.activation, a.slope);
#pragma omp parallel for schedule(static) num_threads(backend_threads(b))
    for (size_t i = 0; i < k.total; i++) {
        float buffer[TENSOR_MAX_CHANNELS], other[TENSOR_MAX_CHANNELS];
        size_t sample, offset, pixels;
        block_at(&k, i, &sample, &offset, &pixels);
        size_t n = pixels * k.channels;
        float *value = work_at(a.dst, a.dst_type, offset, buffer);
        load_copy(value, a.src, a.src_type, offset, n);
        if (a.biases) {
            size_t set = a.levels ? (size_t)a.levels[sample] : 0;
            add_vector(value, a.biases + set * k.channels, pixels, k.channels);
        }
        if (a.add)
            add_to(value, load(a.add, a.add_type, offset, n, other), n);
        if (a.activation != ACT_NONE)
            activate(value, slope, n);
        store(a.dst, a.dst_type, offset, value, n);
    }
}

void gradient(const backend *b, const gradient_args *args) {
    const gradient_args a = *args;
    const blocks k = make_blocks(&a.shape);
    const float slope = activation_slope(a.activation, a.slope);
    const size_t sums = (size_t)a.sets * k.channels;
    int used = 1, first = 0;
    for (int p = 1; p < a.part_count; p++)
        if (a.parts[p].data == a.dst)
            first = p; /* it is added to where it lies */
#pragma omp parallel num_threads(backend_threads(b))
    {
        size_t thread = (size_t)omp_get_thread_num(), threads = (size_t)omp_get_num_threads();
        double *mine = a.grad_biases ? a.partial + thread * sums : NULL;
        if (mine)
            memset(mine, 0, sums * sizeof *mine);
#pragma omp single
        used = (int)threads;
        for (size_t i = k.total * thread / threads; i < k.total * (thread + 1) / threads; i++) {
            float buffer[TENSOR_MAX_CHANNELS], other[TENSOR_MAX_CHANNELS];
            size_t sample, offset, pixels;
            block_at(&k, i, &sample, &offset, &pixels);
            size_t n = pixels * k.channels;
            const float *sum;
            if (a.dst) {
                float *value = work_at(a.dst, a.dst_type, offset, buffer);
                load_copy(value, a.parts[first].data, a.parts[first].type, offset, n);
                for (int p = 0; p < a.part_count; p++)
                    if (p != first)
                        add_to(value, load(a.parts[p].data, a.parts[p].type, offset, n, other), n);
                if (a.activation != ACT_NONE)
                    activate_gradient(value, load(a.output, a.output_type, offset, n, other), slope,
                                      n);
                store(a.dst, a.dst_type, offset, value, n);
                sum = value;
            } else {
                sum = load(a.parts[0].data, a.parts[0].type, offset, n, buffer);
            }
            if (mine) {
                size_t set = a.levels && a.sets > 1 ? (size_t)a.levels[sample] : 0;
                sum_pixels(mine + set * k.channels, sum, pixels, k.channels);
            }
        }
    }
    if (a.grad_biases) {
        for (size_t i = 0; i < sums; i++) {
            double total = 0;
            for (int t = 0; t < used; t++)
                total += a.partial[(size_t)t * sums + i];
            a.grad_biases[i] = (float)total;
        }
    }
}

void space_to_depth(const backend *b, const tensor_shape *space, int block, bool inverse,
                    const void *src, tensor_type src_type, void *dst, tensor_type dst_type) {
    const size_t side = (size_t)block, run = side * (size_t)space->channels;
    const size_t rows = (size_t)space->batch * (size_t)space->height;
    const size_t across = (size_t)space->width / side, down = (size_t)space->height / side;
    /* Row (y, dy) of the picture is a run of every position (y, x) of the deep tensor. */
#pragma omp parallel for schedule(static) num_threads(backend_threads(b))
    for (size_t row = 0; row < rows; row++) {
        size_t sample = row / (size_t)space->height, y = row % (size_t)space->height;
        size_t wide = row * across * run;
        size_t deep = ((sample * down + y / side) * across * side + y % side) * run;
        for (size_t x = 0; x < across; x++, wide += run, deep += side * run) {
            if (inverse)
                copy(dst, dst_type, wide, src, src_type, deep, run);
            else
                copy(dst, dst_type, deep, src, src_type, wide, run);
        }
    }
}

void channel_max(const tensor_shape *shape, const void *src, tensor_type type, float *max_abs) {
    const blocks k = make_blocks(shape);
    memset(max_abs, 0, k.channels * sizeof *max_abs);
    for (size_t i = 0; i < k.total; i++) {
        float buffer[TENSOR_MAX_CHANNELS];
        size_t sample, offset, pixels;
        block_at(&k, i, &sample, &offset, &pixels);
        max_pixels(max_abs, load(src, type, offset, pixels * k.channels, buffer), pixels,
                   k.channels);
    }
}

/* ---- softmax ---- */

WIDE float softmax_terms(const float *restrict logits, int count, float *restrict terms,
                         float *largest) {
    enum { SUMS = 16 }; /* in a fixed order, whatever the width of a vector */
    float most[SUMS], sums[SUMS] = {0};
    int i = 0, whole = count / SUMS * SUMS;
    for (int j = 0; j < SUMS; j++)
        most[j] = logits[0];
    for (i = 0; i < whole; i += SUMS)
        for (int j = 0; j < SUMS; j++)
            most[j] = logits[i + j] > most[j] ? logits[i + j] : most[j];
    for (; i < count; i++)
        most[0] = logits[i] > most[0] ? logits[i] : most[0];
    for (int j = 1; j < SUMS; j++)
        most[0] = most[j] > most[0] ? most[j] : most[0];
    *largest = most[0];
    for (i = 0; i < count; i++)
        terms[i] = wide_exp_negative(logits[i] - most[0]);
    for (i = 0; i < whole; i += SUMS)
        for (int j = 0; j < SUMS; j++)
            sums[j] += terms[i + j];
    for (; i < count; i++)
        sums[0] += terms[i];
    for (int j = 1; j < SUMS; j++)
        sums[0] += sums[j];
    return sums[0];
}
