/*
 * prior_sample.c - codes drawn from the distribution of a prior; see prior.h.
 *
 * What a decoder would read from a stream is drawn at random, in the same order and with the same
 * integers: so a seed stands for the same picture on every machine.
 */
#include "codec/prior_stage.h"

/* splitmix64 (Steele, Lea, Flood 2014) */
typedef struct random_bits {
    uint64_t state;
} random_bits;

static uint64_t next_random(random_bits *random) {
    uint64_t z = random->state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* count: 0..16 */
static uint32_t draw_bits(random_bits *random, uint32_t count) {
    return count > 0 ? (uint32_t)(next_random(random) >> (64 - count)) : 0;
}

static uint32_t draw_excess(random_bits *random, uint32_t bits) {
    uint32_t n = 0;
    while (n + bits < 12 && draw_bits(random, 1) == 0)
        n++;
    return (((1u << n) - 1) << bits) + draw_bits(random, n + bits);
}

/* Classes are a quarter octave of spread apart, and so is the temperature. */
static uint32_t draw_scalar(random_bits *random, const vqzi_prepared_prior *prepared,
                            const vqzi_prior_plane *plane, const int16_t *outputs,
                            int temperature) {
    const vqzi_prior *prior = &prepared->model->prior;
    vqzi_prior_guess guess = vqzi_prior_guess_scalar(plane, prior, outputs[0], outputs[1]);
    int32_t class = (int32_t)(guess.table / VQZI_PHASES) + temperature;
    class = VQZI_MIN(VQZI_MAX(class, 0), VQZI_CLASSES - 1);
    const uint16_t *frequencies =
        prior->frequencies +
        ((size_t)class * VQZI_PHASES + guess.table % VQZI_PHASES) * VQZI_SYMBOLS;
    uint32_t slot = draw_bits(random, VQZI_PROBABILITY_BITS), bits = prior->class_bits[class];
    uint32_t symbol = 0;
    for (; symbol + 1 < VQZI_SYMBOLS && slot >= frequencies[symbol]; symbol++)
        slot -= frequencies[symbol];
    int32_t r = ((int32_t)symbol - 7) * (1 << bits);
    if (symbol == 0)
        r = -6 * (1 << bits) - 1 - (int32_t)draw_excess(random, bits);
    else if (symbol == VQZI_SYMBOLS - 1)
        r += (int32_t)draw_excess(random, bits);
    else
        r += (int32_t)draw_bits(random, bits);
    /* tails can reach beyond the codes */
    int32_t code = guess.near + vqzi_prior_mirror(&guess, r) + plane->half;
    return (uint32_t)VQZI_MIN(VQZI_MAX(code, 0), (int32_t)plane->codes - 1);
}

/* Logits divided by 2^(temperature / 4). */
static int16_t tempered(int16_t logit, int temperature) {
    static const int32_t roots[4] = {65536, 55109, 46341, 38968}; /* 2^(16 - i / 4) */
    int32_t octaves = (temperature + 64) / 4 - 16, quarters = (temperature + 64) % 4;
    int64_t scaled = (int64_t)logit * roots[quarters] * (1 << (8 - octaves)) / (1 << 24);
    return (int16_t)VQZI_MIN(VQZI_MAX(scaled, INT16_MIN), INT16_MAX);
}

static uint32_t draw_class(random_bits *random, const vqzi_prior_plane *plane,
                           const int16_t *logits, int temperature, uint16_t *frequencies) {
    int16_t scaled[VQZI_MAX_CODES];
    uint32_t slot = draw_bits(random, VQZI_PROBABILITY_BITS), code = 0;
    for (uint32_t k = 0; temperature != 0 && k < plane->codes; k++)
        scaled[k] = tempered(logits[k], temperature);
    vqzi_prior_logits(temperature != 0 ? scaled : logits, plane->codes, frequencies);
    for (; code + 1 < plane->codes && slot >= frequencies[code]; code++)
        slot -= frequencies[code];
    return code;
}

static void draw_position(vqzi_prior_coder *coder, const vqzi_prior_tile *tile,
                          random_bits *random, int temperature, uint32_t y, uint32_t x) {
    const vqzi_prepared_stage *stage = coder->stage;
    const int16_t *outputs = vqzi_prior_outputs(coder, y, x);
    int16_t *own = vqzi_prior_own(coder, y, x);
    int16_t *latents = tile->latents + y * tile->latent_pitch +
                       (size_t)x * coder->prepared->model->latent_channels + stage->begin;
    for (uint32_t p = stage->first_plane; p < stage->first_plane + stage->planes; p++) {
        const vqzi_prior_plane *plane = &coder->planes[p];
        uint32_t code;
        if (plane->ordered) {
            code = draw_scalar(random, coder->prepared, plane, outputs, temperature);
            outputs += 2;
        } else {
            code = draw_class(random, plane, outputs, temperature, coder->frequencies);
            outputs += plane->codes;
        }
        const vqzi_prior_value *values = plane->values + (size_t)code * plane->dims;
        for (uint32_t i = 0; i < plane->dims; i++) {
            *own++ = values[i].context;
            *latents++ = values[i].latent;
        }
    }
}

void vqzi_prior_sample(vqzi_prior_coder *coder, const vqzi_prior_tile *tile,
                       const vqz_sample_options *options, uint32_t number) {
    /* the seed's own sequence gives each tile a start far from the others' */
    random_bits random = {options->seed};
    random.state = next_random(&random) ^ (number * UINT64_C(0xD1342543DE82EF95));
    random.state = next_random(&random);
    vqzi_prior_begin_tile(coder, tile->rows, tile->columns);
    for (uint32_t i = 0; i < coder->prepared->stage_count; i++) {
        vqzi_prior_begin_stage(coder, i);
        for (uint32_t y = 0; y < tile->rows; y++) {
            vqzi_prior_begin_row(coder, y);
            for (uint32_t x = 0; x < tile->columns; x++)
                draw_position(coder, tile, &random, options->temperature, y, x);
        }
    }
}
