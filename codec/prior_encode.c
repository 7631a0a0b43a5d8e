/*
 * prior_encode.c - a tile's latents -> its codes and their streams; see prior.h.
 *
 * A code is chosen for the least (latent - entry)^2 + lambda * bits.  Low efforts choose one code
 * after the other, each when all that its distribution depends on is known.  That saves too much: a
 * code of zero makes the next ones look for zeros, and what a larger one would have told them is
 * lost.  Higher efforts therefore begin with the nearest codes and choose all those of a stage
 * together, each with the others as they are, a few times over; so does training, whose networks
 * know such codes best.
 *
 * All arithmetic is on integers, so that every machine writes the same file.
 */
#include "codec/prior_stage.h"

#include <stdlib.h>

enum {
    EFFORT_RATE = 2,     /* from here on choices look at the rate */
    EFFORT_TOGETHER = 5, /* and are made together */
    PASSES = 3,          /* two of effort 5 */
    AGAIN_PASSES = 1     /* from codes that were chosen for latents not far off */
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
                       const vqzi_prior_plane *plane, const vqzi_prior_guess *guess, int32_t code) {
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

/* (latent - entry)^2 + lambda * bits, scaled by 2^COST_BITS */
static uint64_t own_cost(const vqzi_prior_coder *coder, const vqzi_prior_plane *plane,
                         const vqzi_prior_guess *guess, int32_t y, int32_t code) {
    int32_t error = y - plane->values[code].latent;
    return ((uint64_t)(error * error) << VQZI_COST_BITS) +
           coder->lambda * scalar_cost(coder->prepared, plane, guess, code);
}

/* The nearest code or its neighbour towards 0, whichever costs less.  Codes towards the mean look
   cheap as well but make the next ones dear. */
static int32_t choose_scalar(const vqzi_prior_coder *coder, const vqzi_prior_plane *plane,
                             const vqzi_prior_guess *guess, int32_t y, int32_t nearest,
                             int effort) {
    int32_t zero = plane->half;
    int32_t smaller = nearest + (nearest < zero) - (nearest > zero);
    if (effort < EFFORT_RATE || nearest == zero)
        return nearest;
    return own_cost(coder, plane, guess, y, smaller) < own_cost(coder, plane, guess, y, nearest)
               ? smaller
               : nearest;
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
        uint64_t cost =
            (error << VQZI_COST_BITS) + lambda * vqzi_prior_cost(coder->prepared, frequencies[k]);
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

typedef enum pass_kind {
    PASS_IN_TURN,  /* each code with those before it */
    PASS_TOGETHER, /* each code with all others as they were before the pass */
    PASS_KEEP      /* codes stay */
} pass_kind;

typedef struct search_pass {
    pass_kind kind;
    int effort;
    bool write; /* the last pass: codes are final */
} search_pass;

/* The nearest codes of a position, (own); planes are all scalar where they are kept. */
static uint16_t *nearest_of(const vqzi_prior_coder *coder, const vqzi_prior_tile *tile, uint32_t y,
                            uint32_t x) {
    return coder->nearest + ((size_t)y * tile->columns + x) * coder->stage->own;
}

/* Chooses the codes of a position.  outputs: the net's for this position. */
static void encode_position(vqzi_prior_coder *coder, const vqzi_prior_tile *tile, uint32_t y,
                            uint32_t x, const search_pass *pass, const int16_t *outputs) {
    const vqzi_prepared_prior *prepared = coder->prepared;
    const vqzi_prepared_stage *stage = coder->stage;
    const int16_t *latents = tile->latents + y * tile->latent_pitch +
                             (size_t)x * prepared->model->latent_channels + stage->begin;
    int16_t *own = vqzi_prior_own(coder, y, x);
    const uint16_t *nearest =
        pass->kind == PASS_TOGETHER ? nearest_of(coder, tile, y, x) : NULL; /* else not known yet */
    for (uint32_t p = stage->first_plane, channel = 0; p < stage->first_plane + stage->planes;
         p++) {
        const vqzi_prior_plane *plane = &coder->planes[p];
        uint16_t *place = &tile->codes[p][y * tile->code_pitch + x];
        uint32_t code = *place;
        if (plane->ordered) {
            vqzi_prior_guess guess =
                vqzi_prior_guess_scalar(plane, &prepared->model->prior, outputs[0], outputs[1]);
            if (pass->kind != PASS_KEEP) {
                int32_t y_value = latents[channel];
                int32_t near =
                    nearest ? nearest[p - stage->first_plane] : nearest_scalar(plane, y_value);
                code = (uint32_t)choose_scalar(coder, plane, &guess, y_value, near, pass->effort);
            }
            if (pass->write)
                put_scalar(&coder->rans, prepared, plane, &guess, (int32_t)code);
            outputs += 2;
        } else {
            vqzi_prior_logits(outputs, plane->codes, coder->frequencies);
            if (pass->kind != PASS_KEEP)
                code =
                    choose_class(coder, plane, coder->frequencies, latents + channel, pass->effort);
            if (pass->write)
                put_class(&coder->rans, coder->frequencies, code);
            outputs += plane->codes;
        }
        for (uint32_t i = 0; i < plane->dims && pass->kind == PASS_IN_TURN; i++)
            own[channel + i] = plane->values[(size_t)code * plane->dims + i].context;
        *place = (uint16_t)code;
        channel += plane->dims;
    }
}

static void encode_row(vqzi_prior_coder *coder, const vqzi_prior_tile *tile, uint32_t y,
                       const search_pass *pass) {
    uint32_t count = coder->stage->last.out_channels;
    if (pass->kind == PASS_IN_TURN) {
        vqzi_prior_begin_row(coder, y);
        for (uint32_t x = 0; x < tile->columns; x++)
            encode_position(coder, tile, y, x, pass, vqzi_prior_outputs(coder, y, x));
    } else {
        const int16_t *outputs = vqzi_prior_row_outputs(coder, y);
        for (uint32_t x = 0; x < tile->columns; x++, outputs += count)
            encode_position(coder, tile, y, x, pass, outputs);
    }
}

/* Finds the nearest codes of a stage whose planes are all scalar. */
static void find_nearest(const vqzi_prior_coder *coder, const vqzi_prior_tile *tile) {
    const vqzi_prepared_stage *stage = coder->stage;
    for (uint32_t y = 0; y < tile->rows; y++)
        for (uint32_t x = 0; x < tile->columns; x++) {
            const int16_t *latents = tile->latents + y * tile->latent_pitch +
                                     (size_t)x * coder->prepared->model->latent_channels +
                                     stage->begin;
            uint16_t *nearest = nearest_of(coder, tile, y, x);
            for (uint32_t p = 0; p < stage->planes; p++)
                nearest[p] =
                    (uint16_t)nearest_scalar(&coder->planes[stage->first_plane + p], latents[p]);
        }
}

/* Makes them its codes. */
static void place_nearest(const vqzi_prior_coder *coder, const vqzi_prior_tile *tile) {
    const vqzi_prepared_stage *stage = coder->stage;
    for (uint32_t p = 0; p < stage->planes; p++)
        for (uint32_t y = 0; y < tile->rows; y++)
            for (uint32_t x = 0; x < tile->columns; x++)
                tile->codes[stage->first_plane + p][y * tile->code_pitch + x] =
                    nearest_of(coder, tile, y, x)[p];
}

/* Makes the codes of such a stage its context. */
static void set_context(const vqzi_prior_coder *coder, const vqzi_prior_tile *tile) {
    const vqzi_prepared_stage *stage = coder->stage;
    for (uint32_t y = 0; y < tile->rows; y++)
        for (uint32_t x = 0; x < tile->columns; x++)
            for (uint32_t p = 0; p < stage->planes; p++)
                vqzi_prior_own(coder, y, x)[p] =
                    coder->planes[stage->first_plane + p]
                        .values[tile->codes[stage->first_plane + p][y * tile->code_pitch + x]]
                        .context;
}

static void run_pass(vqzi_prior_coder *coder, const vqzi_prior_tile *tile, search_pass pass) {
    for (uint32_t y = 0; y < tile->rows; y++)
        encode_row(coder, tile, y, &pass);
}

/* again: the codes that are there are a good start */
static void encode_stage(vqzi_prior_coder *coder, const vqzi_prior_tile *tile, int effort,
                         bool again, bool write) {
    const vqzi_prepared_stage *stage = coder->stage;
    bool scalar = true;
    for (uint32_t p = 0; p < stage->planes; p++)
        scalar = scalar && coder->planes[stage->first_plane + p].ordered;
    if (effort < EFFORT_TOGETHER || !scalar) {
        run_pass(coder, tile, (search_pass){PASS_IN_TURN, effort, write});
        return;
    }
    int passes = again ? AGAIN_PASSES : effort == EFFORT_TOGETHER ? PASSES - 1 : PASSES;
    vqzi_prior_sum_known(coder);
    find_nearest(coder, tile);
    if (!again)
        place_nearest(coder, tile);
    for (int i = 0; i < passes; i++) {
        set_context(coder, tile);
        run_pass(coder, tile, (search_pass){PASS_TOGETHER, effort, false});
    }
    set_context(coder, tile);
    if (write)
        run_pass(coder, tile, (search_pass){PASS_KEEP, effort, true});
}

vqz_status vqzi_prior_encode(vqzi_prior_coder *coder, const vqzi_prior_tile *tile, int effort,
                             bool again, uint32_t scans, vqzi_buffer *streams) {
    uint32_t stages = coder->prepared->stage_count;
    if (effort >= EFFORT_TOGETHER)
        VQZ_TRY(vqzi_prior_reserve_passes(coder));
    coder->rans.count = 0; /* what a failed call has left */
    vqzi_prior_begin_tile(coder, tile->rows, tile->columns);
    for (uint32_t i = 0; i < stages; i++) {
        vqzi_prior_begin_stage(coder, i);
        encode_stage(coder, tile, effort, again, streams != NULL);
        if (streams && (scans > 1 || i + 1 == stages))
            VQZ_TRY(vqzi_rans_finish(&coder->rans, &streams[scans > 1 ? i : 0]));
    }
    return VQZ_OK;
}
