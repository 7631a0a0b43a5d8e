/*
 * fuzz_picture.c - PNG, JPEG and PNM bytes through the readers of the program.
 *
 * What must hold: a picture is read whole exactly when its rows are read one band after the other,
 * to the same pixels, within the limits, and a refusal says why.
 */
#include "format/container.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/picture_file.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    MAX_PIXELS = 1 << 16,
    SIGNATURE = 8,
    CHUNK_HEAD = 8, /* length, type */
    CHUNK_CRC = 4,
    MAX_RAW = 1 << 18
};

const char fuzz_name[] = "picture";

/* By bands of three rows, into the picture's shape. */
static vqz_status read_bands(const uint8_t *data, size_t size, vqz_image *image) {
    source *s;
    picture_reader *reader;
    vqz_limits limits;
    vqz_limits_init(&limits);
    limits.max_pixels = MAX_PIXELS;
    VQZ_TRY(source_from_memory(&s, data, size, NULL));
    vqz_status status = picture_reader_open(&reader, s, &limits, NULL);
    if (status == VQZ_OK) {
        const vqz_image *facts = &picture_reader_facts(reader)->image;
        *image = fuzz_image(facts->width, facts->height, facts->channels);
        for (uint32_t y = 0, count; status == VQZ_OK && y < image->height; y += count) {
            count = VQZI_MIN(3u, image->height - y);
            status = picture_reader_rows(reader, image->pixels + y * image->stride, image->stride,
                                         count, NULL);
        }
        picture_reader_close(reader);
    }
    source_close(s);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    picture p;
    vqz_diag diag = {""};
    vqz_image bands = {.pixels = NULL};
    vqz_status whole = picture_file_parse(&p, data, size, MAX_PIXELS, &diag);
    vqz_status status = read_bands(data, size, &bands);
    FUZZ_REQUIRE((whole == VQZ_OK) == (status == VQZ_OK));
    if (whole == VQZ_OK) {
        FUZZ_REQUIRE((uint64_t)p.image.width * p.image.height <= MAX_PIXELS);
        FUZZ_REQUIRE(bands.width == p.image.width && bands.height == p.image.height);
        FUZZ_REQUIRE(bands.channels == p.image.channels && fuzz_is_part(&p.image, &bands, 0, 0));
        picture_clear(&p);
        fuzz_accepted++;
    } else {
        FUZZ_REQUIRE(diag.message[0] != '\0');
    }
    free(bands.pixels);
    return 0;
}

/* ---- PNG: chunks and the deflated pixels ---- */

static uint32_t get_u32(const uint8_t *bytes) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void put_u32(uint8_t *bytes, uint32_t value) {
    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* Length of the chunk at `at`, whose head and CRC are there; false when it is not whole. */
static bool chunk_length(const uint8_t *data, size_t size, size_t at, size_t *length) {
    if (size - at < CHUNK_HEAD + CHUNK_CRC)
        return false;
    *length = get_u32(data + at);
    return *length <= size - at - CHUNK_HEAD - CHUNK_CRC;
}

static void repair_chunks(uint8_t *data, size_t size) {
    size_t length;
    for (size_t at = SIGNATURE; chunk_length(data, size, at, &length);
         at += CHUNK_HEAD + length + CHUNK_CRC)
        put_u32(data + at + CHUNK_HEAD + length, vqzi_crc32(0, data + at + 4, 4 + length));
}

/* Mutates the pixels of the first IDAT chunk, as they are before deflate. */
static size_t mutate_pixels(uint8_t *data, size_t size, size_t capacity,
                            fuzz_byte_mutator *mutate) {
    static uint8_t raw[MAX_RAW];
    size_t length, at = SIGNATURE;
    while (chunk_length(data, size, at, &length) && memcmp(data + at + 4, "IDAT", 4) != 0)
        at += CHUNK_HEAD + length + CHUNK_CRC;
    if (!chunk_length(data, size, at, &length))
        return size;
    uLongf raw_size = MAX_RAW;
    if (uncompress(raw, &raw_size, data + at + CHUNK_HEAD, length) != Z_OK || raw_size == 0)
        return size;
    raw_size = mutate(raw, raw_size, MAX_RAW);
    uLongf packed_size = compressBound(raw_size);
    uint8_t *packed = fuzz_allocate(packed_size);
    size_t rest = size - at - CHUNK_HEAD - length;
    if (compress2(packed, &packed_size, raw, raw_size, 1) == Z_OK &&
        at + CHUNK_HEAD + packed_size + rest <= capacity) {
        memmove(data + at + CHUNK_HEAD + packed_size, data + at + CHUNK_HEAD + length, rest);
        memcpy(data + at + CHUNK_HEAD, packed, packed_size);
        put_u32(data + at, (uint32_t)packed_size);
        size = at + CHUNK_HEAD + packed_size + rest;
    }
    free(packed);
    return size;
}

size_t fuzz_mutate(uint8_t *data, size_t size, size_t capacity, test_random *random,
                   fuzz_byte_mutator *mutate) {
    bool png = size > SIGNATURE && memcmp(data, "\x89PNG", 4) == 0;
    if (png && test_random_range(random, 0, 3) == 0)
        size = mutate_pixels(data, size, capacity, mutate);
    else
        size = mutate(data, size, capacity);
    if (png && size > SIGNATURE && test_random_range(random, 0, 15) > 0) {
        memcpy(data, "\x89PNG\r\n\x1a\n", SIGNATURE);
        repair_chunks(data, size);
    }
    return size;
}
