/*
 * buffer.c - the growing output buffer and the bounded reader that all formats are written with.
 *
 * Writers append without looking at each result: an allocation failure is remembered, everything
 * after it is dropped, and vqzi_buffer_status tells at the end.
 */
#include "format/container.h"

#include <stdlib.h>
#include <string.h>

static bool reserve(vqzi_buffer *buffer, size_t size) {
    if (buffer->failed)
        return false;
    if (size <= buffer->capacity - buffer->size)
        return true;
    size_t capacity = 0;
    uint8_t *data = NULL;
    /* One and a half times the need: appending stays linear, and the sum cannot wrap unnoticed. */
    if (size <= SIZE_MAX / 4 && buffer->size <= SIZE_MAX / 4) {
        capacity = buffer->size + size;
        capacity += capacity / 2 + 64;
        data = realloc(buffer->data, capacity);
    }
    if (data == NULL) {
        buffer->failed = true;
        return false;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

void vqzi_buffer_append(vqzi_buffer *buffer, const void *data, size_t size) {
    if (size == 0 || !reserve(buffer, size))
        return;
    memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
}

void vqzi_buffer_byte(vqzi_buffer *buffer, uint8_t byte) {
    if (reserve(buffer, 1))
        buffer->data[buffer->size++] = byte;
}

void vqzi_buffer_varint(vqzi_buffer *buffer, uint64_t value) {
    uint8_t bytes[10];
    size_t size = 0;
    while (value >= 0x80) {
        bytes[size++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    bytes[size++] = (uint8_t)value;
    vqzi_buffer_append(buffer, bytes, size);
}

vqz_status vqzi_buffer_status(const vqzi_buffer *buffer) {
    return buffer->failed ? VQZ_ERROR_MEMORY : VQZ_OK;
}

void vqzi_buffer_clear(vqzi_buffer *buffer) {
    free(buffer->data);
    *buffer = (vqzi_buffer){0};
}

vqz_status vqzi_read_bytes(vqzi_reader *reader, size_t size, const uint8_t **bytes) {
    if (size > reader->size - reader->position)
        return VQZ_ERROR_TRUNCATED;
    *bytes = reader->data + reader->position;
    reader->position += size;
    return VQZ_OK;
}

vqz_status vqzi_read_varint(vqzi_reader *reader, uint64_t max, uint64_t *value) {
    uint64_t result = 0;
    size_t position = reader->position;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (position == reader->size)
            return VQZ_ERROR_TRUNCATED;
        uint8_t byte = reader->data[position++];
        if (shift == 63 && byte > 1)
            return VQZ_ERROR_CORRUPT; /* more than 64 bits */
        if (shift > 0 && byte == 0)
            return VQZ_ERROR_CORRUPT; /* a value has one spelling, or equal files could differ */
        result |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            if (result > max)
                return VQZ_ERROR_CORRUPT;
            reader->position = position;
            *value = result;
            return VQZ_OK;
        }
    }
    return VQZ_ERROR_CORRUPT;
}
