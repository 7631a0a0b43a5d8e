/*
 * naive_prior.c - see naive_prior.h.  Encoder and decoder are one walk over a tile's codes, so that
 * neither can know more than the other.
 */
#include "tests/support/naive_prior.h"
#include "tests/support/naive_parts.h"

#include <math.h>
#include <stdlib.h>

/* One rANS stream: symbols that wait to be written, or the state of a reader. */
typedef struct stream {
    bool decoding, damaged;
    struct {
        uint64_t start, frequency;
    } * symbols;
    size_t count, capacity;
    uint64_t x;
    vqzi_reader bytes;
} stream;

/* ---- rANS ---- */

static void refill(stream *s) {
    while (s->x < (uint64_t)1 << 55 && s->bytes.position < s->bytes.size)
        s->x = s->x << 8 | s->bytes.data[s->bytes.position++];
}

static void open_stream(stream *s, vqzi_reader bytes) {
    *s = (stream){.decoding = true, .bytes = bytes};
    if (bytes.size == 0)
        s->x = 1;
    else if (bytes.data[0] == 0 || (bytes.size == 1 && bytes.data[0] == 1))
        s->damaged = true;
    refill(s);
}

static void pass(stream *s, uint64_t start, uint64_t frequency) {
    if (s->decoding) {
        s->x = frequency * (s->x >> 16) + (s->x & 65535) - start;
        refill(s);
        return;
    }
    if (s->count == s->capacity) {
        s->capacity = 2 * s->capacity + 1000;
        s->symbols = realloc(s->symbols, s->capacity * sizeof *s->symbols);
        if (s->symbols == NULL)
            abort();
    }
    s->symbols[s->count].start = start;
    s->symbols[s->count++].frequency = frequency;
}

static void close_stream(stream *s, vqzi_buffer *out) {
    uint64_t x = 1;
    vqzi_buffer reversed = {0};
    for (size_t i = s->count; i-- > 0;) {
        uint64_t start = s->symbols[i].start, frequency = s->symbols[i].frequency;
        for (; x >= frequency << 47; x >>= 8)
            vqzi_buffer_byte(&reversed, (uint8_t)x);
        x = (x / frequency << 16) + x % frequency + start;
    }
    for (bool symbols = x > 1; symbols && x > 0; x >>= 8) /* a state of 1 is no bytes */
        vqzi_buffer_byte(&reversed, (uint8_t)x);
    for (size_t i = reversed.size; i-- > 0;)
        vqzi_buffer_byte(out, reversed.data[i]);
    vqzi_buffer_clear(&reversed);
    free(s->symbols);
}

/* All of these return what was coded: the argument when encoding. */
static int64_t code_bits(stream *s, int64_t value, int count) {
    if (count == 0)
        return 0;
    if (s->decoding)
        value = (int64_t)((s->x & 65535) >> (16 - count));
    pass(s, (uint64_t)value << (16 - count), (uint64_t)1 << (16 - count));
    return value;
}

static int64_t code_symbol(stream *s, int64_t symbol, const int64_t *frequencies) {
    int64_t start = 0, at = 0, slot = (int64_t)(s->x & 65535);
    for (; s->decoding ? start + frequencies[at] <= slot : at < symbol; at++)
        start += frequencies[at];
    pass(s, (uint64_t)start, (uint64_t)frequencies[at]);
    return at;
}

static int64_t code_excess(stream *s, int64_t excess, int b) {
    int n = 0;
    while (!s->decoding && excess >= (((int64_t)1 << (n + 1)) - 1) << b)
        n++;
    if (s->decoding)
        while (code_bits(s, 0, 1) == 0)
            if (++n + b > 12) {
                s->damaged = true;
                return 0;
            }
    for (int i = 0; !s->decoding && i <= n; i++)
        code_bits(s, i == n, 1);
    int64_t base = (((int64_t)1 << n) - 1) << b;
    return base + code_bits(s, excess - base, n + b);
}

/* ---- planes ---- */

static int64_t code_ordered(const vqzi_model *model, int quality, stream *s,
                            const vqzi_plane *plane, int64_t code, int64_t m, int64_t spread) {
    const vqzi_prior *prior = &model->prior;
    int64_t low = -(plane->codes / 2), high = plane->codes - 1 - plane->codes / 2;
    int64_t gain = prior->mean_gains[plane->channels[0]];
    int64_t step = naive_step(model, quality, plane->channels[0]);
    int64_t mean8 = (m * (gain / step) + (1 << 17)) >> 18;
    mean8 = VQZI_MAX(8 * low, VQZI_MIN(8 * high, mean8));
    int64_t class = VQZI_MAX(0, VQZI_MIN(VQZI_CLASSES - 1, (spread + 32) >> 6));
    int64_t near = (mean8 + 4) >> 3, phase = mean8 - 8 * near, sign = phase < 0 ? -1 : 1;
    int64_t r = sign * (code - plane->codes / 2 - near), frequencies[VQZI_SYMBOLS];
    for (int i = 0; i < VQZI_SYMBOLS; i++)
        frequencies[i] =
            prior->frequencies[(class * VQZI_PHASES + sign * phase) * VQZI_SYMBOLS + i];
    int b = prior->class_bits[class];
    int64_t unit = (int64_t)1 << b, symbol = VQZI_MAX(0, VQZI_MIN(15, (r >> b) + 7));
    symbol = code_symbol(s, symbol, frequencies);
    if (symbol == 0)
        r = -6 * unit - 1 - code_excess(s, -6 * unit - 1 - r, b);
    else if (symbol == 15)
        r = 8 * unit + code_excess(s, r - 8 * unit, b);
    else
        r = (symbol - 7) * unit + code_bits(s, r & (unit - 1), b);
    int64_t v = near + sign * r;
    if (v < low || v > high) {
        s->damaged = true;
        v = 0;
    }
    return v + plane->codes / 2;
}

static int64_t code_unordered(stream *s, const vqzi_plane *plane, int64_t code,
                              const int64_t *logits) {
    int64_t frequencies[VQZI_MAX_CODES], sum = 0, left = 65536, first = 0;
    for (int k = 1; k < plane->codes; k++)
        if (logits[k] > logits[first])
            first = k;
    for (int k = 0; k < plane->codes; k++) {
        int64_t below = logits[first] - logits[k], shift = below / 256;
        frequencies[k] = (int64_t)floor(pow(2, 15 - (double)(below % 256) / 256) + 0.5);
        frequencies[k] = shift >= 16 ? 0 : frequencies[k] >> shift;
        sum += frequencies[k];
    }
    for (int k = 0; k < plane->codes; k++) {
        frequencies[k] = 1 + frequencies[k] * (65536 - plane->codes) / sum;
        left -= frequencies[k];
    }
    frequencies[first] += left;
    return code_symbol(s, code, frequencies);
}

/* ---- networks ---- */

/* One position of a convolution; src: (kernel, kernel, inputs) values */
static void convolve(const vqzi_model *model, int quality, const vqzi_op *op, const int64_t *src,
                     int64_t count, int64_t *dst) {
    for (int oc = 0; oc < op->channels; oc++) {
        int64_t t = naive_bias(model, quality, op, oc);
        for (int64_t i = 0; i < count; i++)
            t += op->weights[oc * count + i] * src[i];
        if (op->shift[oc] > 0)
            t = (t + ((int64_t)1 << (op->shift[oc] - 1))) >> op->shift[oc];
        dst[oc] = naive_clamp(naive_activate(op, t), op->bits);
    }
}

/* latents: (rows, columns, D) of the tile as far as they are known; outputs of position (y, x) */
static void evaluate(const vqzi_model *model, int quality, const vqzi_net *net,
                     const naive_tile *tile, const int64_t *latents, int64_t y, int64_t x,
                     int64_t *outputs) {
    static int64_t context[25 * VQZI_MAX_LATENT_CHANNELS], first[VQZI_MAX_CHANNELS],
        second[VQZI_MAX_CHANNELS];
    const vqzi_prior *prior = &model->prior;
    int k = net->ops[0].kernel, inputs = net->input_channels;
    for (int tap = 0; tap < k * k; tap++)
        for (int c = 0; c < inputs; c++) {
            int64_t sy = y + tap / k - k / 2, sx = x + tap % k - k / 2, value = 0;
            if (sy >= 0 && sx >= 0 && sy < tile->rows && sx < tile->columns)
                value = latents[(sy * tile->columns + sx) * model->latent_channels + c] *
                        prior->gains[c];
            if (prior->gain_shift > 0)
                value = (value + ((int64_t)1 << (prior->gain_shift - 1))) >> prior->gain_shift;
            context[tap * inputs + c] = naive_clamp(value, VQZI_CONTEXT_BITS);
        }
    convolve(model, quality, &net->ops[0], context, k * k * inputs, first);
    convolve(model, quality, &net->ops[1], first, net->ops[0].channels, second);
    convolve(model, quality, &net->ops[2], second, net->ops[1].channels, outputs);
}

/* The codes of a stage, read from the stream or written to it. */
static void walk_stage(const vqzi_model *model, int quality, uint32_t stage, uint32_t first_plane,
                       const naive_tile *tile, int64_t *latents, stream *s) {
    static int64_t outputs[VQZI_STAGE_OUTPUTS];
    const vqzi_stage *it = &model->prior.stages[stage];
    for (uint32_t y = 0; y < tile->rows; y++)
        for (uint32_t x = 0; x < tile->columns && !s->damaged; x++) {
            int64_t *latent = latents + ((size_t)y * tile->columns + x) * model->latent_channels;
            const int64_t *next = outputs;
            evaluate(model, quality, &it->net, tile, latents, y, x, outputs);
            for (uint32_t p = first_plane; p < first_plane + it->planes; p++) {
                const vqzi_plane *plane = &model->planes[p];
                uint16_t *code = tile->codes[p] + y * tile->pitch + x;
                int64_t coded;
                if (plane->ordered)
                    coded = code_ordered(model, quality, s, plane, *code, next[0], next[1]);
                else
                    coded = code_unordered(s, plane, *code, next);
                next += plane->ordered ? 2 : plane->codes;
                *code = (uint16_t)coded;
                for (uint32_t i = 0; i < plane->dims; i++)
                    latent[plane->channels[i]] =
                        naive_entry(model, quality, plane, (uint32_t)coded, i);
            }
        }
}

static int64_t *make_latents(const vqzi_model *model, const naive_tile *tile) {
    int64_t *latents =
        calloc((size_t)tile->rows * tile->columns * model->latent_channels, sizeof *latents);
    if (latents == NULL)
        abort();
    return latents;
}

void naive_prior_encode(const vqzi_model *model, int quality, const naive_tile *tile,
                        uint32_t scans, vqzi_buffer *streams) {
    int64_t *latents = make_latents(model, tile);
    stream s = {0};
    for (uint32_t stage = 0, plane = 0; stage < model->prior.stage_count; stage++) {
        walk_stage(model, quality, stage, plane, tile, latents, &s);
        plane += model->prior.stages[stage].planes;
        if (scans > 1 || stage + 1 == model->prior.stage_count) {
            close_stream(&s, &streams[scans > 1 ? stage : 0]);
            s = (stream){0};
        }
    }
    free(latents);
}

bool naive_prior_decode(const vqzi_model *model, int quality, const naive_tile *tile,
                        uint32_t scans, const vqzi_reader *streams) {
    int64_t *latents = make_latents(model, tile);
    stream s;
    bool good = true;
    for (uint32_t stage = 0, plane = 0; stage < model->prior.stage_count && good; stage++) {
        if (scans > 1 || stage == 0)
            open_stream(&s, streams[stage]);
        walk_stage(model, quality, stage, plane, tile, latents, &s);
        plane += model->prior.stages[stage].planes;
        good = !s.damaged;
        if (scans > 1 || stage + 1 == model->prior.stage_count)
            good = good && s.x == 1 && s.bytes.position == s.bytes.size;
    }
    free(latents);
    return good;
}
