/*
 * test_container.c - bytes of a .vqz file around its streams: varints, hashes, header, chunks,
 * checksum, packed metadata.
 */
#include "format/container.h"
#include "format/sha256.h"
#include "tests/support/random_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_varint(void **state) {
    (void)state;
    static const uint64_t values[] = {0, 1, 127, 128, 16383, 16384, 65534, UINT32_MAX, UINT64_MAX};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        vqzi_buffer buffer = {0};
        uint64_t value = 1234;
        vqzi_buffer_varint(&buffer, values[i]);
        vqzi_reader reader = {buffer.data, buffer.size, 0};
        assert_int_equal(vqzi_read_varint(&reader, UINT64_MAX, &value), VQZ_OK);
        assert_true(value == values[i]);
        assert_int_equal(reader.position, buffer.size);
        reader.position = 0;
        if (value > 0)
            assert_int_equal(vqzi_read_varint(&reader, value - 1, &value), VQZ_ERROR_CORRUPT);
        reader.size--;
        assert_int_equal(vqzi_read_varint(&reader, UINT64_MAX, &value), VQZ_ERROR_TRUNCATED);
        vqzi_buffer_clear(&buffer);
    }
    static const uint8_t padded[] = {0x81, 0x00};
    static const uint8_t wide[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
    static const uint8_t endless[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                      0xff, 0xff, 0xff, 0x81, 0x01};
    uint64_t value;
    assert_int_equal(vqzi_read_varint(&(vqzi_reader){padded, sizeof padded, 0}, UINT64_MAX, &value),
                     VQZ_ERROR_CORRUPT);
    assert_int_equal(vqzi_read_varint(&(vqzi_reader){wide, sizeof wide, 0}, UINT64_MAX, &value),
                     VQZ_ERROR_CORRUPT);
    assert_int_equal(
        vqzi_read_varint(&(vqzi_reader){endless, sizeof endless, 0}, UINT64_MAX, &value),
        VQZ_ERROR_CORRUPT);
}

/* One bit at a time, as the standard defines it. */
static uint32_t slow_crc32(const uint8_t *data, size_t size) {
    uint32_t crc = ~0u;
    while (size-- > 0) {
        crc ^= *data++;
        for (int i = 0; i < 8; i++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

static void test_crc32(void **state) {
    (void)state;
    uint8_t data[300];
    test_random random = {1};
    assert_int_equal(vqzi_crc32(0, "123456789", 9), 0xCBF43926u);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)test_random_next(&random);
    for (size_t size = 0; size <= sizeof data; size++) {
        assert_int_equal(vqzi_crc32(0, data, size), slow_crc32(data, size));
        size_t half = size / 3;
        assert_int_equal(vqzi_crc32(vqzi_crc32(0, data, half), data + half, size - half),
                         slow_crc32(data, size));
    }
}

static void assert_sha256(const void *data, size_t size, const char *expected) {
    uint8_t hash[32];
    char text[65];
    vqzi_sha256(hash, data, size);
    for (int i = 0; i < 32; i++)
        snprintf(text + 2 * i, 3, "%02x", hash[i]);
    assert_string_equal(text, expected);
}

/* The vectors of FIPS 180-4, and the sizes at which the padding takes another block. */
static void test_sha256(void **state) {
    (void)state;
    assert_sha256("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_sha256("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    uint8_t *million = malloc(1000000);
    assert_non_null(million);
    memset(million, 'a', 1000000);
    assert_sha256(million, 1000000,
                  "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    assert_sha256(million, 55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318");
    assert_sha256(million, 64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
    free(million);
}

/* What the tests above do not reach on a processor with SHA extensions: the portable blocks. */
static void test_sha256_kernels(void **state) {
    (void)state;
    uint8_t data[64 * 40];
    test_random random = {2};
    vqzi_sha256_blocks *fast = vqzi_sha256_blocks_x86();
    /* "abc" as a padded block, FIPS 180-4 */
    uint32_t a[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    static const uint8_t abc[64] = {'a', 'b', 'c', 0x80, [63] = 24};
    vqzi_sha256_blocks_portable(a, abc, 1);
    assert_int_equal(a[0], 0xba7816bf);
    assert_int_equal(a[7], 0xf20015ad);
    if (fast == NULL) {
        print_message("no SHA extensions here: only the portable code was tested\n");
        return;
    }
    for (size_t count = 0; count <= 40; count++) {
        uint32_t b[8];
        for (int i = 0; i < 8; i++)
            a[i] = b[i] = (uint32_t)test_random_next(&random);
        for (size_t i = 0; i < 64 * count; i++)
            data[i] = count % 3 == 0 ? 0xff : (uint8_t)test_random_next(&random);
        vqzi_sha256_blocks_portable(a, data, count);
        fast(b, data, count);
        assert_memory_equal(a, b, sizeof a);
    }
}

static const uint8_t alpha_bytes[] = {1, 2, 3}, icc_bytes[] = {9, 8, 7, 6}, exif_bytes[] = {5};

static vqzi_header full_header(void) {
    return (vqzi_header){.version = VQZI_VERSION,
                         .width = 65535,
                         .height = 300,
                         .quality = 77,
                         .gray = true,
                         .alpha = true,
                         .model_hash = {1, 2, 3, 4},
                         .alpha_data = alpha_bytes,
                         .alpha_size = sizeof alpha_bytes,
                         .icc_data = icc_bytes,
                         .icc_size = sizeof icc_bytes,
                         .exif_data = exif_bytes,
                         .exif_size = sizeof exif_bytes};
}

/* A file with this header and two bytes of streams. */
static void make_file(vqzi_buffer *file, const vqzi_header *header) {
    vqzi_header_write(file, header);
    vqzi_buffer_append(file, "xy", 2);
    vqzi_trailer_write(file);
    assert_int_equal(vqzi_buffer_status(file), VQZ_OK);
}

static void test_header_round_trip(void **state) {
    (void)state;
    vqzi_header header = full_header(), read;
    vqzi_buffer file = {0};
    make_file(&file, &header);
    assert_int_equal(vqzi_header_read(&read, file.data, file.size, NULL), VQZ_OK);
    assert_int_equal(read.version, 1);
    assert_int_equal(read.width, 65535);
    assert_int_equal(read.height, 300);
    assert_int_equal(read.quality, 77);
    assert_true(read.gray && read.alpha);
    assert_memory_equal(read.model_hash, header.model_hash, 4);
    assert_int_equal(read.alpha_size, sizeof alpha_bytes);
    assert_memory_equal(read.alpha_data, alpha_bytes, sizeof alpha_bytes);
    assert_int_equal(read.icc_size, sizeof icc_bytes);
    assert_memory_equal(read.icc_data, icc_bytes, sizeof icc_bytes);
    assert_int_equal(read.exif_size, sizeof exif_bytes);
    assert_memory_equal(read.exif_data, exif_bytes, sizeof exif_bytes);
    assert_int_equal(read.tiles_size, 2);
    assert_memory_equal(file.data + read.tiles_offset, "xy", 2);
    vqzi_buffer_clear(&file);
}

/* Version 2 says how its streams are coded; version 1 has no place for that. */
static void test_header_version_2(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 8; i++) {
        vqzi_header header = full_header(), read;
        vqzi_buffer file = {0};
        bool prior = (i & 4) != 0;
        header.version = prior ? VQZI_VERSION_PRIOR : VQZI_VERSION;
        header.rans = (i & 1) != 0;
        header.scans = (i & 2) != 0;
        make_file(&file, &header);
        assert_int_equal(vqzi_header_read(&read, file.data, file.size, NULL), VQZ_OK);
        assert_int_equal(read.version, header.version);
        assert_int_equal(read.rans, prior && header.rans);
        assert_int_equal(read.scans, prior && header.scans);
        assert_int_equal(read.quality, 77);
        assert_int_equal(read.height, 300);
        assert_memory_equal(read.icc_data, icc_bytes, sizeof icc_bytes);
        assert_int_equal(read.tiles_size, 2);
        vqzi_buffer_clear(&file);
    }
}

/* What is left of a file: its tiles as far as they go.  Without its chunks there is nothing to show. */
static void test_header_partial(void **state) {
    (void)state;
    vqzi_header header = full_header(), read;
    vqzi_buffer file = {0};
    bool whole;
    header.version = VQZI_VERSION_PRIOR;
    make_file(&file, &header);
    assert_int_equal(vqzi_header_read_partial(&read, &whole, file.data, file.size, NULL), VQZ_OK);
    assert_true(whole);
    assert_int_equal(read.tiles_size, 2);
    size_t begin = read.tiles_offset;
    for (size_t cut = 0; cut < file.size; cut++) {
        vqz_diag diag = {""};
        uint8_t *copy = malloc(cut + 1);
        assert_non_null(copy);
        memcpy(copy, file.data, cut);
        vqz_status status = vqzi_header_read_partial(&read, &whole, copy, cut, &diag);
        if (cut < begin) {
            assert_int_equal(status, cut < 3 ? VQZ_ERROR_FORMAT : VQZ_ERROR_TRUNCATED);
            assert_true(diag.message[0] != '\0');
        } else {
            assert_int_equal(status, VQZ_OK);
            assert_false(whole);
            assert_int_equal(read.tiles_offset, begin);
            assert_int_equal(read.tiles_size, cut - begin);
            assert_int_equal(read.width, 65535);
        }
        free(copy);
    }
    file.data[3] = 3;
    assert_int_equal(vqzi_header_read_partial(&read, &whole, file.data, file.size, NULL),
                     VQZ_ERROR_VERSION);
    vqzi_buffer_clear(&file);
}

/* The overhead that the project promises for small pictures. */
static void test_header_size(void **state) {
    (void)state;
    vqzi_header header = {.width = 127, .height = 127, .quality = 50}, read;
    vqzi_buffer file = {0};
    make_file(&file, &header);
    assert_int_equal(vqzi_header_read(&read, file.data, file.size, NULL), VQZ_OK);
    assert_int_equal(file.size - read.tiles_size, 15);
    assert_true(!read.gray && !read.alpha && read.icc_data == NULL);
    vqzi_buffer_clear(&file);
}

static void test_bit_flips(void **state) {
    (void)state;
    vqzi_header header = full_header(), read;
    vqzi_buffer file = {0};
    make_file(&file, &header);
    for (size_t bit = 0; bit < file.size * 8; bit++) {
        vqz_diag diag = {""};
        file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(vqzi_header_read(&read, file.data, file.size, &diag), VQZ_OK);
        assert_true(diag.message[0] != '\0');
        file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t cut = 0; cut < file.size; cut++) {
        uint8_t *copy = malloc(cut + 1);
        assert_non_null(copy);
        memcpy(copy, file.data, cut);
        assert_int_not_equal(vqzi_header_read(&read, copy, cut, NULL), VQZ_OK);
        free(copy);
    }
    vqzi_buffer_clear(&file);
}

/* The status of a file that consists of these bytes and a checksum that fits. */
static vqz_status read_sealed(const uint8_t *bytes, size_t size) {
    vqzi_buffer file = {0};
    vqzi_header header;
    vqzi_buffer_append(&file, bytes, size);
    vqzi_trailer_write(&file);
    vqz_status status = vqzi_header_read(&header, file.data, file.size, NULL);
    vqzi_buffer_clear(&file);
    return status;
}
#define SEALED(...)                                                                                \
    read_sealed((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* Damage that a checksum does not show, because someone made it on purpose. */
static void test_hostile_headers(void **state) {
    (void)state;
    assert_int_equal(SEALED('V', 'Q', 'Z', 1, 0, 0, 0, 0, 5, 6, 50), VQZ_OK);
    assert_int_equal(SEALED('V', 'Q', 'X', 1, 0, 0, 0, 0, 5, 6, 50), VQZ_ERROR_FORMAT);
    assert_int_equal(SEALED('V', 'Q', 'Z', 3, 0, 0, 0, 0, 5, 6, 50), VQZ_ERROR_VERSION);
    assert_int_equal(SEALED('V', 'Q', 'Z', 2, 0, 0, 0, 0, 5, 6, 50), VQZ_OK);
    assert_int_equal(SEALED('V', 'Q', 'Z', 0x82, 0, 0, 0, 0, 5, 6, 50), VQZ_OK);
    assert_int_equal(SEALED('V', 'Q', 'Z', 2, 0, 0, 0, 0, 5, 6, 128 + 50), VQZ_OK);
    assert_int_equal(SEALED('V', 'Q', 'Z', 1, 0, 0, 0, 0, 5, 6, 128 + 50), VQZ_ERROR_CORRUPT);
    assert_int_equal(SEALED('V', 'Q', 'Z', 2, 0, 0, 0, 0, 5, 6, 128), VQZ_ERROR_CORRUPT);
    assert_int_equal(SEALED('V', 'Q', 'Z', 2, 0, 0, 0, 0, 5, 6, 128 + 101), VQZ_ERROR_CORRUPT);
    assert_int_equal(SEALED('V', 'Q', 'Z', 0, 0, 0, 0, 0, 5, 6, 50), VQZ_ERROR_CORRUPT);
    assert_int_equal(SEALED('V', 'Q', 'Z', 0x81, 0, 0, 0, 0, 5, 6, 50), VQZ_ERROR_UNSUPPORTED);
    assert_int_equal(SEALED('V', 'Q', 'Z', 1, 0, 0, 0, 0, 5, 6, 0), VQZ_ERROR_CORRUPT);
    assert_int_equal(SEALED('V', 'Q', 'Z', 1, 0, 0, 0, 0, 5, 6, 101), VQZ_ERROR_CORRUPT);
    assert_int_equal(SEALED('V', 'Q', 'Z', 1, 0, 0, 0, 0, 5, 6), VQZ_ERROR_TRUNCATED);
    /* 65535 is one too many: sides are stored minus one */
    assert_int_equal(SEALED('V', 'Q', 'Z', 1, 0, 0, 0, 0, 0xfe, 0xff, 3, 6, 50), VQZ_OK);
    assert_int_equal(SEALED('V', 'Q', 'Z', 1, 0, 0, 0, 0, 0xff, 0xff, 3, 6, 50), VQZ_ERROR_CORRUPT);
    assert_int_equal(SEALED('V', 'Q', 'Z', 1, 0, 0, 0, 0, 0x85, 0, 6, 50), VQZ_ERROR_CORRUPT);
    /* chunks: none, unknown but skippable, unknown, doubled, too long, without end, alpha unasked
     */
    assert_int_equal(SEALED('V', 'Q', 'Z', 0x41, 0, 0, 0, 0, 5, 6, 50, 0), VQZ_OK);
    assert_int_equal(SEALED('V', 'Q', 'Z', 0x41, 0, 0, 0, 0, 5, 6, 50, 0xf0, 1, 9, 0), VQZ_OK);
    assert_int_equal(SEALED('V', 'Q', 'Z', 0x41, 0, 0, 0, 0, 5, 6, 50, 0x70, 1, 9, 0),
                     VQZ_ERROR_UNSUPPORTED);
    assert_int_equal(SEALED('V', 'Q', 'Z', 0x41, 0, 0, 0, 0, 5, 6, 50, 0x81, 1, 9, 0x81, 1, 9, 0),
                     VQZ_ERROR_CORRUPT);
    assert_int_equal(SEALED('V', 'Q', 'Z', 0x41, 0, 0, 0, 0, 5, 6, 50, 0x81, 4, 9, 0),
                     VQZ_ERROR_TRUNCATED);
    assert_int_equal(SEALED('V', 'Q', 'Z', 0x41, 0, 0, 0, 0, 5, 6, 50, 0x81, 1, 9),
                     VQZ_ERROR_TRUNCATED);
    assert_int_equal(SEALED('V', 'Q', 'Z', 0x41, 0, 0, 0, 0, 5, 6, 50, 0x01, 1, 9, 0),
                     VQZ_ERROR_CORRUPT);
    assert_int_equal(SEALED('V', 'Q', 'Z', 0x61, 0, 0, 0, 0, 5, 6, 50, 0x01, 1, 9, 0), VQZ_OK);
}

static void test_pack(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 100, 5000, 400000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = sizes[i];
        uint8_t *data = malloc(size + 1), *back = malloc(size + 1);
        test_random random = {i};
        vqzi_buffer payload = {0};
        uint64_t told;
        assert_true(data != NULL && back != NULL);
        for (size_t k = 0; k < size; k++)
            data[k] = (uint8_t)(test_random_next(&random) & (k & 512 ? 255 : 3));
        assert_int_equal(vqzi_pack(&payload, data, size), VQZ_OK);
        assert_int_equal(vqzi_packed_size(payload.data, payload.size, &told), VQZ_OK);
        assert_int_equal(told, size);
        assert_int_equal(vqzi_unpack(payload.data, payload.size, back, size), VQZ_OK);
        assert_memory_equal(data, back, size);
        assert_int_not_equal(vqzi_unpack(payload.data, payload.size, back, size + 1), VQZ_OK);
        for (size_t cut = 0; cut < VQZI_MIN(payload.size, (size_t)200); cut++)
            assert_int_not_equal(vqzi_unpack(payload.data, cut, back, size), VQZ_OK);
        vqzi_buffer_byte(&payload, 0);
        assert_int_not_equal(vqzi_unpack(payload.data, payload.size, back, size), VQZ_OK);
        free(data);
        free(back);
        vqzi_buffer_clear(&payload);
    }
    /* 2^40 bytes, says a frame of one raw byte: callers allocate what they are told */
    static const uint8_t bomb[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 0x00, 0x38, 0x09, 0, 0, 7};
    uint64_t told;
    assert_int_equal(vqzi_packed_size(bomb, sizeof bomb, &told), VQZ_ERROR_CORRUPT);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_varint),
                                       cmocka_unit_test(test_crc32),
                                       cmocka_unit_test(test_sha256),
                                       cmocka_unit_test(test_sha256_kernels),
                                       cmocka_unit_test(test_header_round_trip),
                                       cmocka_unit_test(test_header_version_2),
                                       cmocka_unit_test(test_header_partial),
                                       cmocka_unit_test(test_header_size),
                                       cmocka_unit_test(test_bit_flips),
                                       cmocka_unit_test(test_hostile_headers),
                                       cmocka_unit_test(test_pack)};
    return cmocka_run_group_tests_name("container", tests, NULL, NULL);
}
