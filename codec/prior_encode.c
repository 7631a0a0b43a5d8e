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
 * Even so a code does not see that it is context for others.  The further passes of the highest
 * efforts do: where two codes cost nearly the same, they ask what each makes of the bits at the
 * positions whose nets read it, with the codes these have so far.  (Later stages read it too; they
 * have no codes yet.)
 *
 * All arithmetic is on integers, so that every machine writes the same file.
 */
#include "codec/prior_stage.h"

#include <stdlib.h>
#include <string.h>

enum {
    EFFORT_RATE = 2,     /* from here on choices look at the rate, */
    EFFORT_TOGETHER = 5, /* are made together */
    EFFORT_READERS = 7,  /* and look at readers, at more codes */
    TOGETHER_PASSES = 3, /* two of effort 5 */
    SMALL_VALUE = 2,     /* up to which 0 is worth a look */
    CANDIDATES = 4
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

/* Codes that a scalar may take, the nearest first, each once. */
static int find_candidates(const vqzi_prior_plane *plane, const vqzi_prior_guess *guess, int32_t y,
                           int effort, int32_t candidates[CANDIDATES]) {
    int32_t nearest = nearest_scalar(plane, y), zero = plane->half, mean = zero + guess->near;
    int count = 0;
    candidates[count++] = nearest;
    if (effort >= EFFORT_RATE && nearest != zero)
        candidates[count++] = nearest + (nearest < zero) - (nearest > zero);
    /* Codes towards the mean look cheap but make the next ones dear: alone they cost 2 % of the
       rate at equal PSNR. */
    if (effort < EFFORT_READERS)
        return count;
    int32_t towards_mean = nearest + (nearest < mean) - (nearest > mean);
    if (towards_mean != nearest && (count == 1 || towards_mean != candidates[1]))
        candidates[count++] = towards_mean;
    /* a neighbour of 0 has it already */
    if (abs(nearest - zero) > 1 && abs(nearest - zero) <= SMALL_VALUE)
        candidates[count++] = zero;
    return count;
}

/* (latent - entry)^2 + lambda * bits, scaled by 2^COST_BITS */
static uint64_t own_cost(const vqzi_prior_coder *coder, const vqzi_prior_plane *plane,
                         const vqzi_prior_guess *guess, int32_t y, int32_t code) {
    int32_t error = y - plane->values[code].latent;
    return ((uint64_t)(error * error) << VQZI_COST_BITS) +
           coder->lambda * scalar_cost(coder->prepared, plane, guess, code);
}

static int32_t choose_scalar(const vqzi_prior_coder *coder, const vqzi_prior_plane *plane,
                             const vqzi_prior_guess *guess, int32_t y, int effort) {
    int32_t candidates[CANDIDATES];
    int best = 0, count = find_candidates(plane, guess, y, effort, candidates);
    uint64_t best_cost = UINT64_MAX;
    for (int i = 0; i < count && count > 1; i++) {
        uint64_t cost = own_cost(coder, plane, guess, y, candidates[i]);
        if (cost < best_cost) {
            best_cost = cost;
            best = i;
        }
    }
    return candidates[best];
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

/* ---- what a code does to the positions that read it ---- */

/* Those of its stage that read position (y, x), and what they read so far. */
typedef struct reader_set {
    int count;
    struct reader {
        uint32_t y, x;
        int32_t tap;   /* by which it reads (y, x): ky * kernel + kx */
        int32_t *sums; /* (hidden) of its first layer */
    } readers[VQZI_PRIOR_READERS - 1];
    uint64_t bits; /* of all their codes */
} reader_set;

/* Bits of the codes at a position, whose first layer has these sums. */
static uint64_t position_bits(vqzi_prior_coder *coder, const vqzi_prior_tile *tile, uint32_t y,
                              uint32_t x, const int32_t *sums) {
    const vqzi_prepared_prior *prepared = coder->prepared;
    const vqzi_prepared_stage *stage = coder->stage;
    const int16_t *outputs = vqzi_prior_finish(coder, sums);
    uint64_t bits = 0;
    for (uint32_t p = stage->first_plane; p < stage->first_plane + stage->planes; p++) {
        const vqzi_prior_plane *plane = &coder->planes[p];
        uint32_t code = tile->codes[p][y * tile->code_pitch + x];
        if (plane->ordered) {
            vqzi_prior_guess guess =
                vqzi_prior_guess_scalar(plane, &prepared->model->prior, outputs[0], outputs[1]);
            bits += scalar_cost(prepared, plane, &guess, (int32_t)code);
            outputs += 2;
        } else {
            vqzi_prior_logits(outputs, plane->codes, coder->frequencies);
            bits += vqzi_prior_cost(prepared, coder->frequencies[code]);
            outputs += plane->codes;
        }
    }
    return bits;
}

static void find_readers(vqzi_prior_coder *coder, const vqzi_prior_tile *tile, uint32_t y,
                         uint32_t x, reader_set *set) {
    int32_t reach = (int32_t)coder->stage->reach, kernel = 2 * reach + 1;
    size_t hidden = vqzi_prior_hidden(coder->stage);
    set->count = 0;
    set->bits = 0;
    /* tap (ky, kx) of the reader is (y, x) */
    for (int32_t tap = kernel * kernel / 2 - 1; tap >= 0; tap--) {
        int64_t reader_y = (int64_t)y - tap / kernel + reach;
        int64_t reader_x = (int64_t)x - tap % kernel + reach;
        if (reader_y >= tile->rows || reader_x < 0 || reader_x >= tile->columns)
            continue;
        struct reader *reader = &set->readers[set->count];
        *reader = (struct reader){(uint32_t)reader_y, (uint32_t)reader_x, tap,
                                  coder->reader_sums + (size_t)set->count * hidden};
        vqzi_prior_position_sums(coder, reader->y, reader->x, reader->sums);
        set->bits += position_bits(coder, tile, reader->y, reader->x, reader->sums);
        set->count++;
    }
}

/* Adds `change` of one of the stage's channels at (y, x) to the sums of a reader. */
static void change_sums(const vqzi_prepared_stage *stage, const struct reader *reader,
                        uint32_t channel, int32_t change, int32_t *sums) {
    const vqzi_op *op = &stage->ops[0];
    size_t inputs = stage->begin + stage->own, taps = (size_t)op->kernel * op->kernel;
    const int16_t *weight = op->weights + (size_t)reader->tap * inputs + stage->begin + channel;
    for (uint32_t o = 0; o < op->channels; o++, weight += taps * inputs)
        sums[o] = (int32_t)((uint32_t)reader->sums[o] + (uint32_t)(*weight * change));
}

/* Bits of the readers' codes once a channel has changed by so much. */
static uint64_t readers_bits(vqzi_prior_coder *coder, const vqzi_prior_tile *tile,
                             const reader_set *set, uint32_t channel, int32_t change) {
    int32_t *sums = coder->reader_sums + (VQZI_PRIOR_READERS - 1) * vqzi_prior_hidden(coder->stage);
    uint64_t bits = 0;
    if (change == 0)
        return set->bits;
    for (int i = 0; i < set->count; i++) {
        const struct reader *reader = &set->readers[i];
        change_sums(coder->stage, reader, channel, change, sums);
        bits += position_bits(coder, tile, reader->y, reader->x, sums);
    }
    return bits;
}

/* Like choose_scalar, for the readers' sake too.  Only codes that cost little more than the
   cheapest by themselves are worth the question; margin: in bits.  channel: of the stage. */
static int32_t rechoose_scalar(vqzi_prior_coder *coder, const vqzi_prior_tile *tile,
                               const vqzi_prior_plane *plane, const vqzi_prior_guess *guess,
                               int32_t y, uint32_t margin, uint32_t channel, int32_t old,
                               reader_set *set) {
    int32_t candidates[CANDIDATES + 1];
    uint64_t costs[CANDIDATES + 1], least = UINT64_MAX, bits, best_bits = set->bits;
    int count = find_candidates(plane, guess, y, EFFORT_READERS, candidates), best = 0, close = 0;
    bool known = false;
    for (int i = 0; i < count; i++)
        known |= candidates[i] == old;
    if (!known)
        candidates[count++] = old;
    for (int i = 0; i < count; i++) {
        costs[i] = own_cost(coder, plane, guess, y, candidates[i]);
        if (costs[i] < least) {
            least = costs[i];
            best = i;
        }
    }
    uint64_t limit = least + ((coder->lambda * margin) << VQZI_COST_BITS);
    for (int i = 0; i < count; i++)
        close += costs[i] <= limit;
    least = UINT64_MAX;
    for (int i = 0; i < count && (close > 1 || candidates[best] != old); i++) {
        if (costs[i] > limit)
            continue;
        bits = readers_bits(coder, tile, set, channel,
                            plane->values[candidates[i]].context - plane->values[old].context);
        uint64_t cost = costs[i] + coder->lambda * bits;
        if (cost < least) {
            least = cost;
            best = i;
            best_bits = bits;
        }
    }
    int32_t change = plane->values[candidates[best]].context - plane->values[old].context;
    for (int i = 0; i < set->count && change != 0; i++)
        change_sums(coder->stage, &set->readers[i], channel, change, set->readers[i].sums);
    set->bits = best_bits;
    return candidates[best];
}

/* ---- tiles ---- */

typedef enum pass_kind {
    PASS_IN_TURN,  /* each code with those before it */
    PASS_TOGETHER, /* each code with all others as they were before the pass */
    PASS_READERS,  /* like IN_TURN, from codes that are there, for their readers' sake too */
    PASS_KEEP      /* codes stay */
} pass_kind;

typedef struct search_pass {
    pass_kind kind;
    int effort;
    uint32_t margin; /* READERS: see rechoose_scalar */
    bool write;      /* the last pass: codes are final */
} search_pass;

/* Chooses the codes of a position.  outputs: the net's for this position. */
static void encode_position(vqzi_prior_coder *coder, const vqzi_prior_tile *tile, uint32_t y,
                            uint32_t x, const search_pass *pass, const int16_t *outputs,
                            reader_set *readers) {
    const vqzi_prepared_prior *prepared = coder->prepared;
    const vqzi_prepared_stage *stage = coder->stage;
    const int16_t *latents = tile->latents + y * tile->latent_pitch +
                             (size_t)x * prepared->model->latent_channels + stage->begin;
    int16_t *own = vqzi_prior_own(coder, y, x);
    for (uint32_t p = stage->first_plane, channel = 0; p < stage->first_plane + stage->planes;
         p++) {
        const vqzi_prior_plane *plane = &coder->planes[p];
        uint16_t *place = &tile->codes[p][y * tile->code_pitch + x];
        uint32_t code = *place;
        if (plane->ordered) {
            vqzi_prior_guess guess =
                vqzi_prior_guess_scalar(plane, &prepared->model->prior, outputs[0], outputs[1]);
            if (pass->kind == PASS_READERS)
                code = (uint32_t)rechoose_scalar(coder, tile, plane, &guess, latents[channel],
                                                 pass->margin, channel, *place, readers);
            else if (pass->kind != PASS_KEEP)
                code =
                    (uint32_t)choose_scalar(coder, plane, &guess, latents[channel], pass->effort);
            if (pass->write)
                put_scalar(&coder->rans, prepared, plane, &guess, (int32_t)code);
            outputs += 2;
        } else {
            vqzi_prior_logits(outputs, plane->codes, coder->frequencies);
            /* READERS leave it: each of K codes would be a candidate */
            if (pass->kind == PASS_IN_TURN || pass->kind == PASS_TOGETHER)
                code =
                    choose_class(coder, plane, coder->frequencies, latents + channel, pass->effort);
            if (pass->write)
                put_class(&coder->rans, coder->frequencies, code);
            outputs += plane->codes;
        }
        for (uint32_t i = 0; i < plane->dims && pass->kind != PASS_TOGETHER; i++)
            own[channel + i] = plane->values[(size_t)code * plane->dims + i].context;
        *place = (uint16_t)code;
        channel += plane->dims;
    }
}

static void encode_row(vqzi_prior_coder *coder, const vqzi_prior_tile *tile, uint32_t y,
                       const search_pass *pass) {
    uint32_t count = coder->stage->last.out_channels;
    reader_set readers = {0};
    if (pass->kind == PASS_TOGETHER || pass->kind == PASS_KEEP) {
        const int16_t *outputs = vqzi_prior_row_outputs(coder, y);
        for (uint32_t x = 0; x < tile->columns; x++, outputs += count)
            encode_position(coder, tile, y, x, pass, outputs, &readers);
        return;
    }
    vqzi_prior_begin_row(coder, y);
    for (uint32_t x = 0; x < tile->columns; x++) {
        if (pass->kind == PASS_READERS)
            find_readers(coder, tile, y, x, &readers);
        const int16_t *outputs = vqzi_prior_outputs(coder, y, x);
        if (pass->kind == PASS_READERS) { /* what follows runs the net for others too */
            memcpy(coder->kept, outputs, count * sizeof *outputs);
            outputs = coder->kept;
        }
        encode_position(coder, tile, y, x, pass, outputs, &readers);
    }
}

/* Codes of a stage whose planes are all scalar: the nearest ones. */
static void place_nearest(const vqzi_prior_coder *coder, const vqzi_prior_tile *tile) {
    const vqzi_prepared_stage *stage = coder->stage;
    for (uint32_t y = 0; y < tile->rows; y++)
        for (uint32_t x = 0; x < tile->columns; x++) {
            const int16_t *latents = tile->latents + y * tile->latent_pitch +
                                     (size_t)x * coder->prepared->model->latent_channels +
                                     stage->begin;
            for (uint32_t p = 0; p < stage->planes; p++)
                tile->codes[stage->first_plane + p][y * tile->code_pitch + x] =
                    (uint16_t)nearest_scalar(&coder->planes[stage->first_plane + p], latents[p]);
        }
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

static void encode_stage(vqzi_prior_coder *coder, const vqzi_prior_tile *tile, int effort,
                         bool write) {
    const vqzi_prepared_stage *stage = coder->stage;
    bool scalar = true, readers = effort >= EFFORT_READERS;
    for (uint32_t p = 0; p < stage->planes; p++)
        scalar = scalar && coder->planes[stage->first_plane + p].ordered;
    int choice = VQZI_MIN(effort, EFFORT_READERS - 1);
    if (effort < EFFORT_TOGETHER || !scalar) {
        run_pass(coder, tile, (search_pass){PASS_IN_TURN, choice, 0, write && !readers});
    } else {
        vqzi_prior_sum_known(coder);
        place_nearest(coder, tile);
        int together = effort == EFFORT_TOGETHER ? TOGETHER_PASSES - 1 : TOGETHER_PASSES;
        for (int i = 0; i < together; i++) {
            set_context(coder, tile);
            run_pass(coder, tile, (search_pass){PASS_TOGETHER, choice, 0, false});
        }
        set_context(coder, tile);
        if (!readers && write)
            run_pass(coder, tile, (search_pass){PASS_KEEP, choice, 0, true});
    }
    /* efforts 7, 8, 9: one, two, two passes that ask for 1, 2, 4 bits */
    int passes = readers ? VQZI_MIN(effort - EFFORT_READERS + 1, 2) : 0;
    for (int i = 1; i <= passes; i++)
        run_pass(coder, tile,
                 (search_pass){PASS_READERS, effort, 1u << (effort - EFFORT_READERS),
                               write && i == passes});
}

vqz_status vqzi_prior_encode(vqzi_prior_coder *coder, const vqzi_prior_tile *tile, int effort,
                             uint32_t scans, vqzi_buffer *streams) {
    uint32_t stages = coder->prepared->stage_count;
    if (effort >= EFFORT_READERS)
        VQZ_TRY(vqzi_prior_reserve_readers(coder));
    if (effort >= EFFORT_TOGETHER)
        VQZ_TRY(vqzi_prior_reserve_passes(coder));
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
