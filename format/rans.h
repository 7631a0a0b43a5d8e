/*
 * rans.h - range asymmetric numeral systems (Duda 2013), one 64-bit state, renormalised by bytes.
 *
 * The encoder's state starts at 1 and the decoder's must end there: no bits are spent on a start
 * state.  A symbol is an interval [start, start + frequency) of 2^16.
 *
 *   encode x -> x':  while x >= frequency << 47: emit the low 8 bits, x >>= 8
 *                    x' = (x / frequency << 16) + x % frequency + start
 *   decode x' -> x:  slot = x' & 65535 finds the symbol;  x = frequency * (x' >> 16) + slot - start
 *                    while x < 2^55 and bytes are left: x = x << 8 | the next byte
 *
 * Symbols are encoded from last to first.  A stream is the final state, big-endian in as few bytes as
 * hold it, then the bytes that were emitted, the last one first; a state that ends at 1 (there were no
 * symbols, or they cost nothing) is a stream of no bytes.  A decoder starts with x = 0, or with x = 1
 * when there are no bytes, refills as above, and is done when x = 1 and no bytes are left.  Other
 * spellings of the same (a first byte 0, the one byte 1) are refused: they never come to that end.
 *
 * Where a stream ends does not matter to how it starts: one that was cut gives its first symbols.
 *
 * With I the sum of -log2(frequency / 2^16), a stream has at most (I (1 + 2^-38) + 16) / 8 + 1 bytes: x + 2^16
 * grows by no more than the factor 2^16 / frequency a symbol, for start <= 2^16 - frequency.  The 16 bits
 * are the price of a first symbol whose interval lies high; a symbol at 0 is free when it comes last.
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
    while (decoder->state < (uint64_t)1 << 55 && decoder->at < decoder->end)
        decoder->state = decoder->state << 8 | *decoder->at++;
}
void vqzi_rans_open(vqzi_rans_decoder *decoder, const uint8_t *data, size_t size);
/* The slot, 0..65535, that the next symbol's interval contains. */
static inline uint32_t vqzi_rans_slot(const vqzi_rans_decoder *decoder) {
    return (uint32_t)(decoder->state & 65535);
}
static inline void vqzi_rans_take(vqzi_rans_decoder *decoder, uint32_t start, uint32_t frequency) {
    uint64_t x = (uint64_t)frequency * (decoder->state >> 16) + (decoder->state & 65535) - start;
    const uint8_t *at = decoder->at;
    decoder->state = x;
    if (decoder->end - at < 2) {
        vqzi_rans_refill(decoder);
        return;
    }
    /* x was at least 2^55, so that two bytes at most are missing; without a loop, whose length the
       processor could not foresee */
    unsigned missing = (x < (uint64_t)1 << 55) + (x < (uint64_t)1 << 47);
    uint32_t next = (uint32_t)at[0] << 8 | at[1];
    decoder->state = x << 8 * missing | next >> (16 - 8 * missing);
    decoder->at = at + missing;
}
/* count: 0..16 */
static inline uint32_t vqzi_rans_bits(vqzi_rans_decoder *decoder, uint32_t count) {
    uint32_t value = vqzi_rans_slot(decoder) >> (16 - count);
    if (count > 0)
        vqzi_rans_take(decoder, value << (16 - count), 1u << (16 - count));
    return value;
}
/* Whether the stream ended just here. */
static inline bool vqzi_rans_done(const vqzi_rans_decoder *decoder) {
    return decoder->state == 1 && decoder->at == decoder->end;
}
/* Whether a byte was missed that a refill could have used: of a stream that was cut short, what follows is
   noise, for the slot is in the low bits, which that byte would have filled. */
static inline bool vqzi_rans_empty(const vqzi_rans_decoder *decoder) {
    return decoder->at == decoder->end && decoder->state < (uint64_t)1 << 55;
}

#endif
