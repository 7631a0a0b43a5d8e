/* rans.c - see rans.h. */
#include "format/rans.h"

#include <stdlib.h>

enum { FIRST_CAPACITY = 1024 };

void vqzi_rans_grow(vqzi_rans_encoder *encoder) {
    size_t capacity = encoder->capacity > 0 ? encoder->capacity : FIRST_CAPACITY / 2, size;
    uint32_t *symbols = NULL;
    if (!encoder->failed && vqzi_mul(capacity, 2 * sizeof *symbols, &size))
        symbols = realloc(encoder->symbols, size);
    if (symbols == NULL) {
        encoder->failed = true;
        return;
    }
    encoder->symbols = symbols;
    encoder->capacity = capacity * 2;
}

void vqzi_rans_put_bits(vqzi_rans_encoder *encoder, uint32_t value, uint32_t count) {
    if (count > 0)
        vqzi_rans_put(encoder, value << (16 - count), 1u << (16 - count));
}

vqz_status vqzi_rans_finish(vqzi_rans_encoder *encoder, vqzi_buffer *stream) {
    size_t begin = stream->size, count = encoder->count;
    uint64_t x = 1;
    if (encoder->failed)
        return VQZ_ERROR_MEMORY;
    encoder->count = 0;
    while (count > 0) {
        uint32_t start = encoder->symbols[--count] >> 16;
        uint32_t frequency = (encoder->symbols[count] & 65535) + 1;
        for (; x >= (uint64_t)frequency << 47; x >>= 8)
            vqzi_buffer_byte(stream, (uint8_t)x);
        x = (x / frequency << 16) + x % frequency + start;
    }
    if (x > 1)
        for (; x > 0; x >>= 8)
            vqzi_buffer_byte(stream, (uint8_t)x);
    VQZ_TRY(vqzi_buffer_status(stream));
    for (size_t end = stream->size; begin + 1 < end; begin++) {
        uint8_t byte = stream->data[begin];
        stream->data[begin] = stream->data[--end];
        stream->data[end] = byte;
    }
    return VQZ_OK;
}

void vqzi_rans_encoder_clear(vqzi_rans_encoder *encoder) {
    free(encoder->symbols);
    *encoder = (vqzi_rans_encoder){0};
}

void vqzi_rans_open(vqzi_rans_decoder *decoder, const uint8_t *data, size_t size) {
    *decoder = (vqzi_rans_decoder){.state = 1};
    if (size == 0)
        return;
    decoder->state = 0;
    /* a state of 0 without bytes decodes for ever, and never to 1 */
    if (data[0] == 0 || (size == 1 && data[0] == 1))
        return;
    decoder->at = data;
    decoder->end = data + size;
    vqzi_rans_refill(decoder);
}
