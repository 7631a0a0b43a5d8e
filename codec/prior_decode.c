/*
 * prior_decode.c - a tile's streams -> its codes; see prior.h.
 *
 * The state of rANS is the one thing that every symbol waits for.  What a scalar's table is follows
 * from the net's outputs, which all planes of a position have at once, so that the processor can
 * work on it ahead.
 */
#include "codec/prior_stage.h"

#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* The symbol whose slots include this one: how many starts after the first are not above it. */
static inline uint32_t find_symbol(const uint16_t *starts, uint32_t slot) {
#if defined(__SSE2__)
    __m128i slots = _mm_set1_epi16((short)slot), zero = _mm_setzero_si128();
    __m128i low = _mm_loadu_si128((const __m128i *)starts);
    __m128i high = _mm_loadu_si128((const __m128i *)(starts + 8));
    low = _mm_cmpeq_epi16(_mm_subs_epu16(low, slots), zero);
    high = _mm_cmpeq_epi16(_mm_subs_epu16(high, slots), zero);
    unsigned reached = (unsigned)_mm_movemask_epi8(_mm_packs_epi16(low, high));
    return (uint32_t)__builtin_ctz(~reached) - 1;
#else
    uint32_t symbol = 0;
    for (uint32_t step = VQZI_SYMBOLS / 2; step > 0; step /= 2)
        symbol += starts[symbol + step] <= slot ? step : 0;
    return symbol;
#endif
}

/* The escape's excess over the last symbol without one; n + b above 12 is in no good stream. */
static bool decode_excess(vqzi_rans_decoder *rans, uint32_t bits, int32_t *excess) {
    uint32_t n = 0;
    while (vqzi_rans_bits(rans, 1) == 0)
        if (++n + bits > 12)
            return false;
    *excess = (int32_t)((((1u << n) - 1) << bits) + vqzi_rans_bits(rans, n + bits));
    return true;
}

static inline bool decode_scalar(vqzi_rans_decoder *rans, const vqzi_prepared_prior *prepared,
                                 const vqzi_prior_plane *plane, const vqzi_prior_guess *guess,
                                 uint32_t *code) {
    enum { CENTRE = 7, LIKELY = 15 << 12 };
    const uint16_t *starts = prepared->starts[guess->table];
    uint32_t slot = vqzi_rans_slot(rans);
    uint32_t likely = (uint16_t)(starts[CENTRE + 1] - starts[CENTRE]);
    if (likely >= LIKELY && slot - starts[CENTRE] < likely && guess->bits == 0) {
        /* what the processor will guess: it need not wait for the slot */
        vqzi_rans_take(rans, starts[CENTRE], likely);
        *code = (uint32_t)(guess->near + plane->half);
        return true;
    }
    uint32_t symbol = find_symbol(starts, slot);
    vqzi_rans_take(rans, starts[symbol], (uint16_t)(starts[symbol + 1] - starts[symbol]));
    int32_t r = ((int32_t)symbol - 7) * (1 << guess->bits);
    if (symbol - 1 >= VQZI_SYMBOLS - 2) { /* the first or the last */
        int32_t excess;
        if (!decode_excess(rans, guess->bits, &excess))
            return false;
        r = symbol == 0 ? -6 * (1 << guess->bits) - 1 - excess : r + excess;
    } else if (guess->bits > 0) {
        r += (int32_t)vqzi_rans_bits(rans, guess->bits);
    }
    *code = (uint32_t)(guess->near + vqzi_prior_mirror(guess, r) + plane->half);
    return *code < plane->codes;
}

static uint32_t decode_class(vqzi_rans_decoder *rans, const vqzi_prior_plane *plane,
                             const int16_t *logits, uint16_t *frequencies) {
    uint32_t slot = vqzi_rans_slot(rans), start = 0, code = 0;
    vqzi_prior_logits(logits, plane->codes, frequencies);
    for (; code + 1 < plane->codes && slot - start >= frequencies[code]; code++)
        start += frequencies[code];
    vqzi_rans_take(rans, start, frequencies[code]);
    return code;
}

/* False where the stream holds something that no code stands for. */
static bool decode_position(vqzi_prior_coder *coder, vqzi_rans_decoder *decoder, uint32_t y,
                            uint32_t x, int16_t *latents, uint16_t *codes) {
    const vqzi_prepared_prior *prepared = coder->prepared;
    const vqzi_prepared_stage *stage = coder->stage;
    const int16_t *outputs = vqzi_prior_outputs(coder, y, x);
    int16_t *own = vqzi_prior_own(coder, y, x);
    const vqzi_prior_plane *planes = coder->planes + stage->first_plane;
    vqzi_rans_decoder rans = *decoder; /* so that it can stay in registers */
    for (uint32_t p = 0; p < stage->planes; p++) {
        const vqzi_prior_plane *plane = &planes[p];
        uint32_t code;
        if (plane->ordered) {
            vqzi_prior_guess guess = vqzi_prior_guess_scalar(plane, &prepared->model->prior,
                                                             outputs[0], outputs[1]);
            if (!decode_scalar(&rans, prepared, plane, &guess, &code))
                return false;
            *latents++ = plane->values[code].latent;
            *own++ = plane->values[code].context;
            outputs += 2;
        } else {
            code = decode_class(&rans, plane, outputs, coder->frequencies);
            const vqzi_prior_value *values = plane->values + (size_t)code * plane->dims;
            for (uint32_t i = 0; i < plane->dims; i++) {
                *latents++ = values[i].latent;
                *own++ = values[i].context;
            }
            outputs += plane->codes;
        }
        codes[p] = (uint16_t)code;
    }
    *decoder = rans;
    return true;
}

/* A stage ends at its last position, or at the first one that the stream does not hold; *count is how
   many it has.  cut: the bytes may end before that. */
static bool decode_stage(vqzi_prior_coder *coder, vqzi_rans_decoder *rans,
                         const vqzi_prior_tile *tile, bool cut, uint64_t *count) {
    const vqzi_prepared_stage *stage = coder->stage;
    size_t channels = coder->prepared->model->latent_channels;
    uint16_t codes[VQZI_MAX_PLANES];
    *count = 0;
    for (uint32_t y = 0; y < coder->rows; y++) {
        vqzi_prior_begin_row(coder, y);
        for (uint32_t x = 0; x < coder->columns; x++, ++*count) {
            int16_t *latents = coder->unwanted;
            if (tile->latents)
                latents = tile->latents + y * tile->latent_pitch + x * channels + stage->begin;
            if (!decode_position(coder, rans, y, x, latents, codes) ||
                (cut && vqzi_rans_empty(rans)))
                return false;
            for (uint32_t p = 0; tile->codes && p < stage->planes; p++)
                tile->codes[stage->first_plane + p][y * tile->code_pitch + x] = codes[p];
        }
    }
    return true;
}

vqz_status vqzi_prior_decode(vqzi_prior_coder *coder, const vqzi_prior_tile *tile,
                             const uint8_t *const *data, const size_t *sizes, uint32_t scans) {
    const vqzi_prepared_prior *prepared = coder->prepared;
    vqzi_rans_decoder rans;
    uint64_t count;
    vqzi_prior_begin_tile(coder, tile->rows, tile->columns);
    for (uint32_t i = 0; i < prepared->stage_count; i++) {
        if (i < scans)
            vqzi_rans_open(&rans, data[i], sizes[i]);
        vqzi_prior_begin_stage(coder, i);
        if (!decode_stage(coder, &rans, tile, false, &count))
            return VQZ_ERROR_CORRUPT;
        bool last = scans > 1 || i + 1 == prepared->stage_count;
        if (last && !vqzi_rans_done(&rans))
            return VQZ_ERROR_CORRUPT;
    }
    return VQZ_OK;
}

uint64_t vqzi_prior_decode_partial(vqzi_prior_coder *coder, const vqzi_prior_tile *tile,
                                   const uint8_t *const *data, const size_t *sizes,
                                   const bool *whole, uint32_t scans) {
    const vqzi_prepared_prior *prepared = coder->prepared;
    size_t channels = prepared->model->latent_channels;
    vqzi_rans_decoder rans;
    uint64_t found = 0, count;
    bool going = true;
    for (uint32_t y = 0; y < tile->rows; y++)
        memset(tile->latents + y * tile->latent_pitch, 0,
               tile->columns * channels * sizeof *tile->latents);
    vqzi_prior_begin_tile(coder, tile->rows, tile->columns);
    for (uint32_t i = 0; going && i < prepared->stage_count; i++) {
        if (i < scans)
            vqzi_rans_open(&rans, data[i], sizes[i]);
        vqzi_prior_begin_stage(coder, i);
        going = decode_stage(coder, &rans, tile, !whole[i < scans ? i : scans - 1], &count);
        found += count * coder->stage->planes;
        if (!going) {
            /* the position it ended in is partly noise */
            int16_t *latents = tile->latents + count / tile->columns * tile->latent_pitch +
                               count % tile->columns * channels + coder->stage->begin;
            memset(latents, 0, coder->stage->own * sizeof *latents);
        }
    }
    return found;
}
