/*
 * rans.h - range asymmetric numeral systems (Duda 2013), one 64-bit state, words of 32 bits.
 *
 * The encoder's state starts at 1 and the decoder's must end there: no bits are spent on a start
 * state, so that a stream of little information is hardly longer than that.  A symbol is an interval
 * [start, start + frequency) of 2^16.
 *
 *   encode x -> x':  while x >= frequency << 47: emit the low 32 bits, x >>= 32
 *                    x' = (x / frequency << 16) + x % frequency + start
 *   decode x' -> x:  slot = x' & 65535 finds the symbol;  x = frequency * (x' >> 16) + slot - start
 *                    while x < 2^31 and 4 bytes are left: x = x << 32 | the next word
 *
 * Symbols are encoded from last to first.  A stream of n bytes is, big-endian throughout: n mod 4 bytes,
 * the top of the final state, then words.  A decoder starts with x = those n mod 4 bytes and refills as
 * above (at most two words), and is done when x = 1 and no bytes are left.
 */
#ifndef VQZI_RANS_H
#define VQZI_RANS_H

#include "format/container.h"

/* Collects symbols in the order in which they will be decoded. */
typedef struct vqzi_rans_encoder {
    uint32_t *symbols; /* start << 16 | frequency - 1 */
    size_t count, capacity;
    bool failed; /* out of memory: stays so until finish */
} vqzi_rans_encoder;

void vqzi_rans_grow(vqzi_rans_encoder *encoder);
/* frequency: 1..65535 */
static inline void vqzi_rans_put(vqzi_rans_encoder *encoder, uint32_t start, uint32_t frequency) {
    if (encoder->count == encoder->capacity)
        vqzi_rans_grow(encoder);
    if (!encoder->failed)
        encoder->symbols[encoder->count++] = start << 16 | (frequency - 1);
}
/* count: 0..16 equally likely bits. */
void vqzi_rans_put_bits(vqzi_rans_encoder *encoder, uint32_t value, uint32_t count);
/* Appends the stream and forgets the symbols (the memory stays); MEMORY when any append failed. */
VQZ_MUST_CHECK vqz_status vqzi_rans_finish(vqzi_rans_encoder *encoder, vqzi_buffer *stream);
void vqzi_rans_encoder_clear(vqzi_rans_encoder *encoder);

typedef struct vqzi_rans_decoder {
    uint64_t state;
    const uint8_t *at, *end;
} vqzi_rans_decoder;

static inline void vqzi_rans_refill(vqzi_rans_decoder *decoder) {
    while (decoder->state < (uint64_t)1 << 31 && decoder->end - decoder->at >= 4) {
        const uint8_t *b = decoder->at;
        decoder->state = decoder->state << 32 | (uint64_t)b[0] << 24 | (uint32_t)b[1] << 16 |
                         (uint32_t)b[2] << 8 | b[3];
        decoder->at += 4;
    }
}
void vqzi_rans_open(vqzi_rans_decoder *decoder, const uint8_t *data, size_t size);
/* The slot, 0..65535, that the next symbol's interval contains. */
static inline uint32_t vqzi_rans_slot(const vqzi_rans_decoder *decoder) {
    return (uint32_t)(decoder->state & 65535);
}
static inline void vqzi_rans_take(vqzi_rans_decoder *decoder, uint32_t start, uint32_t frequency) {
    decoder->state = (uint64_t)frequency * (decoder->state >> 16) + (decoder->state & 65535) - start;
    vqzi_rans_refill(decoder);
}
uint32_t vqzi_rans_bits(vqzi_rans_decoder *decoder, uint32_t count);
/* Whether the stream ended just here. */
static inline bool vqzi_rans_done(const vqzi_rans_decoder *decoder) {
    return decoder->state == 1 && decoder->at == decoder->end;
}
/* Whether all bytes are used up: of a stream that was cut short, what follows is noise. */
static inline bool vqzi_rans_empty(const vqzi_rans_decoder *decoder) {
    return decoder->at == decoder->end && decoder->state < (uint64_t)1 << 16;
}

#endif
