/*
 * test_tiles.c - where the tiles of a .vqz file lie, in the picture and in the file.
 */
#include "format/tiles.h"
#include "tests/support/random_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t base_seed(void) {
    const char *text = getenv("SEED");
    return text != NULL ? strtoull(text, NULL, 0) : 1;
}

static uint32_t divide_up(uint32_t a, uint32_t b) {
    return (a + b - 1) / b;
}

/* Tiles cover the picture, none is empty, none is larger than it may be. */
static void check_tiling(uint32_t version, uint32_t width, uint32_t height, uint32_t stride) {
    uint32_t columns = divide_up(width, stride), rows = divide_up(height, stride);
    uint32_t most_width = version == 1 ? 1024 : 384, most_height = version == 1 ? 1024 : 512;
    vqzi_tiling tiling = vqzi_tiling_make(version, columns, rows, stride);
    assert_int_equal(tiling.across, divide_up(width, most_width));
    assert_int_equal(tiling.down, divide_up(height, most_height));
    assert_int_equal(vqzi_tile_count(version, width, height), tiling.across * tiling.down);
    assert_int_equal(vqzi_tiling_column(&tiling, 0), 0);
    assert_int_equal(vqzi_tiling_column(&tiling, tiling.across), columns);
    assert_int_equal(vqzi_tiling_row(&tiling, 0), 0);
    assert_int_equal(vqzi_tiling_row(&tiling, tiling.down), rows);
    uint32_t widest = 0, narrowest = UINT32_MAX;
    for (uint32_t i = 0; i < tiling.across; i++) {
        uint32_t begin = vqzi_tiling_column(&tiling, i), end = vqzi_tiling_column(&tiling, i + 1);
        assert_true(end > begin);
        widest = VQZI_MAX(widest, end - begin);
        narrowest = VQZI_MIN(narrowest, end - begin);
    }
    assert_true(widest <= tiling.tile_columns && widest * stride <= most_width);
    if (version == 2)
        assert_true(widest - narrowest <= 1 && widest == tiling.tile_columns);
    for (uint32_t i = 0; i < tiling.down; i++)
        assert_int_equal(vqzi_tiling_row(&tiling, i), i * (most_height / stride));
}

static void test_tiling(void **state) {
    (void)state;
    static const uint32_t sides[] = {1,   2,   31,   33,   383,  384,  385,  511,  512,
                                     513, 768, 1000, 1024, 1025, 1152, 4000, 65535};
    test_random random = {base_seed()};
    size_t count = sizeof sides / sizeof *sides;
    for (uint32_t version = 1; version <= 2; version++)
        for (uint32_t stride = 2; stride <= 32; stride *= 2) {
            for (size_t i = 0; i < count * count; i++)
                check_tiling(version, sides[i / count], sides[i % count], stride);
            for (int i = 0; i < 2000; i++)
                check_tiling(version, (uint32_t)test_random_range(&random, 1, 65535),
                             (uint32_t)test_random_range(&random, 1, 65535), stride);
        }
    /* 400 pixels at stride 8: 50 columns in two tiles of 25, not 48 and 2 */
    vqzi_tiling tiling = vqzi_tiling_make(2, 50, 10, 8);
    assert_int_equal(tiling.across, 2);
    assert_int_equal(vqzi_tiling_column(&tiling, 1), 25);
}

/* Segment i: some bytes of the value i. */
static void make_segments(vqzi_buffer *file, size_t *sizes, size_t count, test_random *random) {
    for (size_t i = 0; i < count; i++)
        sizes[i] = (size_t)test_random_range(random, 0, i % 7 == 0 ? 300 : 3);
    vqzi_segment_sizes_write(file, sizes, count);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < sizes[i]; k++)
            vqzi_buffer_byte(file, (uint8_t)i);
    assert_int_equal(vqzi_buffer_status(file), VQZ_OK);
}

static void test_segments(void **state) {
    (void)state;
    test_random random = {base_seed()};
    for (uint32_t tiles = 1; tiles <= 9; tiles++)
        for (uint32_t scans = 1; scans <= 4; scans++) {
            size_t sizes[36], count = tiles * scans;
            vqzi_buffer file = {0};
            vqzi_segments segments;
            make_segments(&file, sizes, count, &random);
            if (count == 1)
                assert_int_equal(file.size, sizes[0]); /* no index */
            for (int partial = 0; partial < 2; partial++) {
                assert_int_equal(
                    vqzi_segments_read(&segments, file.data, file.size, tiles, scans, partial != 0),
                    VQZ_OK);
                for (size_t i = 0; i < count; i++) {
                    bool whole;
                    vqzi_reader segment = vqzi_segment(&segments, (uint32_t)(i / tiles),
                                                       (uint32_t)(i % tiles), &whole);
                    assert_int_equal(whole, i + 1 < count || !partial);
                    assert_int_equal(segment.size, sizes[i]);
                    for (size_t k = 0; k < segment.size; k++)
                        assert_int_equal(segment.data[k], i);
                }
                vqzi_segments_clear(&segments);
            }
            vqzi_buffer_clear(&file);
        }
}

/* Every cut: refused, or read as far as it goes.  (A cut within the last segment cannot be told
   from a shorter file; the checksum and the streams can.) */
static void test_cut(void **state) {
    (void)state;
    enum { TILES = 5, SCANS = 3, COUNT = TILES * SCANS };
    test_random random = {base_seed()};
    size_t sizes[COUNT], last = 0, index;
    vqzi_buffer file = {0};
    make_segments(&file, sizes, COUNT, &random);
    for (size_t i = 0; i + 1 < COUNT; i++)
        last += sizes[i];
    index = file.size - last - sizes[COUNT - 1];
    for (size_t cut = 0; cut <= file.size; cut++) {
        vqzi_segments segments;
        uint8_t *copy = malloc(cut + 1);
        assert_non_null(copy);
        memcpy(copy, file.data, cut);
        vqz_status status = vqzi_segments_read(&segments, copy, cut, TILES, SCANS, false);
        assert_int_equal(status, cut < index + last ? VQZ_ERROR_TRUNCATED : VQZ_OK);
        if (status == VQZ_OK)
            vqzi_segments_clear(&segments);
        assert_int_equal(vqzi_segments_read(&segments, copy, cut, TILES, SCANS, true), VQZ_OK);
        size_t end = index;
        for (size_t i = 0; i < COUNT; i++) {
            bool whole;
            vqzi_reader segment =
                vqzi_segment(&segments, (uint32_t)(i / TILES), (uint32_t)(i % TILES), &whole);
            size_t there = cut > end ? VQZI_MIN(cut - end, sizes[i]) : 0;
            end += sizes[i];
            assert_int_equal(segment.size, there);
            assert_int_equal(whole, i + 1 < COUNT && cut >= end);
            for (size_t k = 0; k < there; k++)
                assert_int_equal(segment.data[k], i);
        }
        vqzi_segments_clear(&segments);
        free(copy);
    }
    vqzi_buffer_clear(&file);
}

/* Sizes that no file has. */
static void test_hostile_sizes(void **state) {
    (void)state;
    static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                   0xff, 1,    0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                   0xff, 0xff, 0xff, 1,    2,    'a',  'b',  'c'};
    static const uint8_t padded[] = {0x81, 0x00, 'a', 'b'};
    vqzi_segments segments;
    assert_int_equal(vqzi_segments_read(&segments, huge, sizeof huge, 4, 1, false),
                     VQZ_ERROR_TRUNCATED);
    assert_int_equal(vqzi_segments_read(&segments, huge, sizeof huge, 4, 1, true), VQZ_OK);
    assert_int_equal(vqzi_segment(&segments, 0, 0, NULL).size, 3);
    for (uint32_t i = 1; i < 4; i++)
        assert_int_equal(vqzi_segment(&segments, 0, i, NULL).size, 0);
    vqzi_segments_clear(&segments);
    for (int partial = 0; partial < 2; partial++)
        assert_int_equal(vqzi_segments_read(&segments, padded, sizeof padded, 2, 1, partial != 0),
                         VQZ_ERROR_CORRUPT);
    /* more segments than bytes: nothing near their number is allocated */
    assert_int_equal(vqzi_segments_read(&segments, padded, 3, 1u << 30, 3, false),
                     VQZ_ERROR_TRUNCATED);
    assert_int_equal(vqzi_segments_read(&segments, padded + 2, 2, 1u << 30, 3, true), VQZ_OK);
    assert_int_equal(vqzi_segment(&segments, 2, (1u << 30) - 1, NULL).size, 0);
    vqzi_segments_clear(&segments);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tiling),
                                       cmocka_unit_test(test_segments), cmocka_unit_test(test_cut),
                                       cmocka_unit_test(test_hostile_sizes)};
    return cmocka_run_group_tests_name("tiles", tests, NULL, NULL);
}
