/*
 * prior_encode.c - a tile's latents -> its codes and their streams; see prior.h.
 *
 * Codes are chosen one after the other, each when all that its distribution depends on is known, for
 * the least (latent - entry)^2 + lambda * bits.  A code is context for others, which the choice does
 * not see; the passes of higher efforts look at a stage again when its first choices are there.
 *
 * All arithmetic is on integers, so that every machine writes the same file.
 */
#include "codec/prior_stage.h"

#include <stdlib.h>

enum {
    EFFORT_RATE = 2, /* from here on choices look at the rate, */
    EFFORT_MEAN = 5, /* and at codes nearer to the mean and at 0 */
    SMALL_VALUE = 2  /* up to which 0 is worth a look */
};

/* ---- scalars ---- */

static uint32_t floor_log2(uint32_t value) {
    return 31 - (uint32_t)__builtin_clz(value);
}

/* r as its symbol and, of an escape, the excess. */
typedef struct scalar_symbol {
    uint32_t symbol, excess;
} scalar_symbol;

static inline scalar_symbol symbol_of(const vqzi_prior_guess *guess, int32_t r) {
    int32_t symbol = (r >> guess->bits) + 7;
    if (symbol <= 0)
        return (scalar_symbol){0, (uint32_t)(-6 * (1 << guess->bits) - 1 - r)};
    if (symbol >= VQZI_SYMBOLS - 1)
        return (scalar_symbol){VQZI_SYMBOLS - 1, (uint32_t)(r - 8 * (1 << guess->bits))};
    return (scalar_symbol){(uint32_t)symbol, 0};
}

static inline bool is_escape(uint32_t symbol) {
    return symbol == 0 || symbol == VQZI_SYMBOLS - 1;
}

/* Bits of a code, 1 / 2^COST_BITS each. */
static inline uint32_t scalar_cost(const vqzi_prepared_prior *prepared,
                                   const vqzi_prior_plane *plane, const vqzi_prior_guess *guess,
                                   int32_t code) {
    int32_t r = vqzi_prior_mirror(guess, code - plane->half - guess->near);
    scalar_symbol found = symbol_of(guess, r);
    uint32_t cost = prepared->costs[guess->table][found.symbol];
    if (is_escape(found.symbol))
        cost += 2 * floor_log2((found.excess >> guess->bits) + 1) << VQZI_COST_BITS;
    return cost;
}

static void put_scalar(vqzi_rans_encoder *rans, const vqzi_prepared_prior *prepared,
                       const vqzi_prior_plane *plane, const vqzi_prior_guess *guess,
                       int32_t code) {
    int32_t r = vqzi_prior_mirror(guess, code - plane->half - guess->near);
    scalar_symbol found = symbol_of(guess, r);
    const uint16_t *starts = prepared->starts[guess->table] + found.symbol;
    uint32_t bits = guess->bits;
    vqzi_rans_put(rans, starts[0], (uint16_t)(starts[1] - starts[0]));
    if (!is_escape(found.symbol)) {
        vqzi_rans_put_bits(rans, (uint32_t)r & ((1u << bits) - 1), bits);
        return;
    }
    uint32_t n = floor_log2((found.excess >> bits) + 1);
    for (uint32_t i = 0; i < n; i++)
        vqzi_rans_put_bits(rans, 0, 1);
    vqzi_rans_put_bits(rans, 1, 1);
    vqzi_rans_put_bits(rans, found.excess - (((1u << n) - 1) << bits), n + bits);
}

/* The code whose entry is nearest to y, the lower one of two. */
static int32_t nearest_scalar(const vqzi_prior_plane *plane, int32_t y) {
    const vqzi_prior_value *values = plane->values;
    int32_t best = 0;
    if (!plane->sorted) { /* no trainer writes such planes */
        for (int32_t k = 1; k < plane->codes; k++)
            if (abs(values[k].latent - y) < abs(values[best].latent - y))
                best = k;
        return best;
    }
    /* the last entry not above y */
    for (uint32_t left = plane->codes; left > 1;) {
        uint32_t half = left / 2;
        best += values[best + (int32_t)half].latent <= y ? (int32_t)half : 0;
        left -= half;
    }
    if (best + 1 < plane->codes && values[best + 1].latent - y < y - values[best].latent)
        best++;
    return best;
}

static int32_t choose_scalar(const vqzi_prior_coder *coder, const vqzi_prior_plane *plane,
                             const vqzi_prior_guess *guess, int32_t y, int effort) {
    int32_t nearest = nearest_scalar(plane, y);
    if (effort < EFFORT_RATE)
        return nearest;
    int32_t zero = plane->half, mean = plane->half + guess->near;
    int32_t candidates[4] = {nearest, nearest, nearest, nearest};
    candidates[1] += (nearest < zero) - (nearest > zero);
    if (effort >= EFFORT_MEAN) {
        candidates[2] += (nearest < mean) - (nearest > mean);
        if (abs(nearest - zero) <= SMALL_VALUE)
            candidates[3] = zero;
    }
    int32_t best = nearest;
    uint64_t best_cost = UINT64_MAX;
    for (int i = 0; i < 4; i++) {
        int32_t k = candidates[i], error = y - plane->values[k].latent;
        if (i > 0 && k == nearest)
            continue;
        uint64_t cost = ((uint64_t)(error * error) << VQZI_COST_BITS) +
                        coder->lambda * scalar_cost(coder->prepared, plane, guess, k);
        if (cost < best_cost) {
            best_cost = cost;
            best = k;
        }
    }
    return best;
}

/* ---- planes of several dimensions ---- */

static uint32_t choose_class(const vqzi_prior_coder *coder, const vqzi_prior_plane *plane,
                             const uint16_t *frequencies, const int16_t *latents, int effort) {
    uint64_t lambda = effort < EFFORT_RATE ? 0 : coder->lambda, best_cost = UINT64_MAX;
    const vqzi_prior_value *value = plane->values;
    uint32_t best = 0;
    for (uint32_t k = 0; k < plane->codes; k++) {
        uint64_t error = 0;
        for (uint32_t i = 0; i < plane->dims; i++, value++)
            error += (uint32_t)((latents[i] - value->latent) * (latents[i] - value->latent));
        uint64_t cost = (error << VQZI_COST_BITS) +
                        lambda * vqzi_prior_cost(coder->prepared, frequencies[k]);
        if (cost < best_cost) {
            best_cost = cost;
            best = k;
        }
    }
    return best;
}

static void put_class(vqzi_rans_encoder *rans, const uint16_t *frequencies, uint32_t code) {
    uint32_t start = 0;
    for (uint32_t k = 0; k < code; k++)
        start += frequencies[k];
    vqzi_rans_put(rans, start, frequencies[code]);
}

/* ---- tiles ---- */

/* Chooses the codes of a position. */
static void encode_position(vqzi_prior_coder *coder, const vqzi_prior_tile *tile, uint32_t y,
                            uint32_t x, int effort, bool write) {
    const vqzi_prepared_prior *prepared = coder->prepared;
    const vqzi_prepared_stage *stage = coder->stage;
    const int16_t *outputs = vqzi_prior_outputs(coder, y, x);
    const int16_t *latents = tile->latents + y * tile->latent_pitch +
                             (size_t)x * prepared->model->latent_channels + stage->begin;
    int16_t *own = vqzi_prior_own(coder, y, x);
    for (uint32_t p = stage->first_plane; p < stage->first_plane + stage->planes; p++) {
        const vqzi_prior_plane *plane = &coder->planes[p];
        uint32_t code;
        if (plane->ordered) {
            vqzi_prior_guess guess = vqzi_prior_guess_scalar(plane, &prepared->model->prior,
                                                             outputs[0], outputs[1]);
            code = (uint32_t)choose_scalar(coder, plane, &guess, *latents, effort);
            if (write)
                put_scalar(&coder->rans, prepared, plane, &guess, (int32_t)code);
            outputs += 2;
        } else {
            vqzi_prior_logits(outputs, plane->codes, coder->frequencies);
            code = choose_class(coder, plane, coder->frequencies, latents, effort);
            if (write)
                put_class(&coder->rans, coder->frequencies, code);
            outputs += plane->codes;
        }
        for (uint32_t i = 0; i < plane->dims; i++)
            own[i] = plane->values[(size_t)code * plane->dims + i].context;
        tile->codes[p][y * tile->code_pitch + x] = (uint16_t)code;
        own += plane->dims;
        latents += plane->dims;
    }
}

static void encode_stage(vqzi_prior_coder *coder, const vqzi_prior_tile *tile, int effort,
                         bool write) {
    for (uint32_t y = 0; y < tile->rows; y++) {
        vqzi_prior_begin_row(coder, y);
        for (uint32_t x = 0; x < tile->columns; x++)
            encode_position(coder, tile, y, x, effort, write);
    }
}

vqz_status vqzi_prior_encode(vqzi_prior_coder *coder, const vqzi_prior_tile *tile, int effort,
                             uint32_t scans, vqzi_buffer *streams) {
    uint32_t stages = coder->prepared->stage_count;
    coder->rans.count = 0; /* what a failed call has left */
    vqzi_prior_begin_tile(coder, tile->rows, tile->columns);
    for (uint32_t i = 0; i < stages; i++) {
        vqzi_prior_begin_stage(coder, i);
        encode_stage(coder, tile, effort, streams != NULL);
        if (streams && (scans > 1 || i + 1 == stages))
            VQZ_TRY(vqzi_rans_finish(&coder->rans, &streams[scans > 1 ? i : 0]));
    }
    return VQZ_OK;
}
