/*
 * test_picture_damage.c - hostile picture files: cut anywhere, bytes changed, EXIF that points
 * nowhere.  Whatever comes in, the answer is a picture or an error with a message.
 *
 * VQZ_PNGSUITE may name a folder of awkward files (PngSuite or any other), all of which are read.
 */
#include "tests/support/picture_file.h"
#include "tests/support/picture_maker.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <png.h>

enum { FILES = 10, MUTATIONS = 1500 };
static const uint64_t few_pixels = 1 << 16;

/* A file of every kind with everything in it. */
static made_file make_file(int index) {
    uint8_t exif[64], icc[300];
    bool gray = index == 0 || index == 6;
    size_t exif_size = make_exif(exif, 6, index & 1);
    make_icc(icc, sizeof icc, gray);
    static const struct {
        int color, depth;
        bool interlaced, transparent;
    } png[] = {{PNG_COLOR_TYPE_GRAY, 2, false, true},
               {PNG_COLOR_TYPE_PALETTE, 4, true, true},
               {PNG_COLOR_TYPE_RGB, 16, false, true},
               {PNG_COLOR_TYPE_RGB_ALPHA, 8, true, false},
               {PNG_COLOR_TYPE_PALETTE, 8, false, false}};
    static const jpeg_color jpeg[] = {MADE_YCC, MADE_GRAY, MADE_CMYK, MADE_YCCK, MADE_RGB};
    if (index < 5)
        return make_png(&(png_mode){.width = 11,
                                    .height = 7,
                                    .color = png[index].color,
                                    .depth = png[index].depth,
                                    .interlaced = png[index].interlaced,
                                    .transparent = png[index].transparent,
                                    .icc = icc,
                                    .icc_size = sizeof icc,
                                    .exif = exif,
                                    .exif_size = exif_size});
    return make_jpeg(&(jpeg_mode){.width = 21,
                                  .height = 17,
                                  .color = jpeg[index - 5],
                                  .progressive = index & 1,
                                  .adobe = index == 8,
                                  .icc = icc,
                                  .icc_size = sizeof icc,
                                  .exif = exif,
                                  .exif_size = exif_size});
}

/* Reads from a copy of the exact size, so that a sanitizer sees every byte read beyond it.  damaged
   receives the chunks that were left out. */
static vqz_status parse_noting(const uint8_t *data, size_t size, char damaged[64]) {
    uint8_t *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    memcpy(copy, data, size);
    picture p;
    vqz_diag diag = {""};
    vqz_status status = picture_file_parse(&p, copy, size, few_pixels, &diag);
    if (status == VQZ_OK) {
        assert_true((uint64_t)p.image.width * p.image.height <= few_pixels);
        assert_non_null(p.image.pixels);
        memcpy(damaged, p.damaged, sizeof p.damaged);
        picture_clear(&p);
    } else {
        assert_int_not_equal(diag.message[0], '\0');
    }
    free(copy);
    return status;
}

static vqz_status parse_copy(const uint8_t *data, size_t size) {
    char damaged[64];
    return parse_noting(data, size, damaged);
}

static void test_truncation(void **state) {
    (void)state;
    for (int i = 0; i < FILES; i++) {
        made_file file = make_file(i);
        assert_int_equal(parse_copy(file.data, file.size), VQZ_OK);
        for (size_t size = 0; size < file.size; size++)
            if (parse_copy(file.data, size) == VQZ_OK)
                fail_msg("file %d cut to %zu of %zu bytes was accepted", i, size, file.size);
        made_file_free(&file);
    }
}

static void test_bit_errors_in_png(void **state) {
    (void)state;
    for (int i = 0; i < 5; i++) {
        made_file file = make_file(i);
        for (size_t bit = 0; bit < 8 * file.size; bit++) { /* CRC finds every single one */
            char damaged[64];
            file.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
            if (parse_noting(file.data, file.size, damaged) == VQZ_OK && damaged[0] == '\0')
                fail_msg("file %d with bit %zu flipped was accepted", i, bit);
            file.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        made_file_free(&file);
    }
}

static uint32_t draw(uint64_t *seed) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

static uint32_t crc_of(const uint8_t *data, size_t size) {
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

/* Makes the CRCs right again, so that the damage gets past them. */
static void repair_crcs(uint8_t *data, size_t size) {
    for (size_t at = 8; size - at >= 12;) {
        size_t length = (size_t)data[at] << 24 | (size_t)data[at + 1] << 16 |
                        (size_t)data[at + 2] << 8 | data[at + 3];
        if (length > size - at - 12)
            return;
        uint32_t crc = crc_of(data + at + 4, length + 4);
        for (int i = 0; i < 4; i++)
            data[at + 8 + length + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
        at += 12 + length;
    }
}

static void test_mutations(void **state) {
    (void)state;
    const char *text = getenv("SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : 1;
    print_message("SEED=%llu\n", (unsigned long long)seed);
    for (int i = 0; i < FILES; i++) {
        made_file file = make_file(i);
        uint8_t *mutant = malloc(file.size);
        assert_non_null(mutant);
        for (int round = 0; round < MUTATIONS; round++) {
            memcpy(mutant, file.data, file.size);
            for (uint32_t changes = 1 + draw(&seed) % 4; changes > 0; changes--)
                mutant[draw(&seed) % file.size] =
                    (uint8_t)(draw(&seed) % 4 == 0 ? 0xff * (draw(&seed) & 1) : draw(&seed));
            if (i < 5 && round % 4 != 0)
                repair_crcs(mutant, file.size);
            (void)parse_copy(mutant, file.size);
        }
        free(mutant);
        made_file_free(&file);
    }
}

/* Every field of the EXIF block at its extremes, every length: the pixels arrive regardless. */
static void test_hostile_exif(void **state) {
    (void)state;
    static const uint8_t values[] = {0, 1, 2, 7, 0x7f, 0x80, 0xff};
    uint8_t exif[64];
    for (int little = 0; little < 2; little++)
        for (size_t at = 0; at < 50; at++)
            for (size_t v = 0; v < sizeof values; v++) {
                size_t size = make_exif(exif, 6, little != 0);
                exif[at] = values[v];
                /* Cut behind the changed byte as well. */
                for (int cut = 0; cut < 2; cut++) {
                    size_t keep = cut ? at + 1 : size;
                    made_file file = make_jpeg(&(jpeg_mode){.width = 3,
                                                            .height = 2,
                                                            .color = MADE_GRAY,
                                                            .exif = exif,
                                                            .exif_size = keep});
                    assert_int_equal(parse_copy(file.data, file.size), VQZ_OK);
                    made_file_free(&file);
                }
            }
}

/* Each scan takes time for the whole picture, however small it is: their number is bounded. */
static void test_scan_bomb(void **state) {
    (void)state;
    made_file good = make_jpeg(&(jpeg_mode){.width = 64, .height = 64, .scans = 100});
    made_file bomb = make_jpeg(&(jpeg_mode){.width = 64, .height = 64, .scans = 128});
    assert_int_equal(parse_copy(good.data, good.size), VQZ_OK);
    assert_int_equal(parse_copy(bomb.data, bomb.size), VQZ_ERROR_LIMIT);
    made_file_free(&good);
    made_file_free(&bomb);
}

static void read_folder(const char *folder, size_t *pictures, size_t *errors) {
    DIR *handle = opendir(folder);
    if (handle == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(handle)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        picture p;
        vqz_diag diag = {""};
        if (entry->d_type == DT_DIR) {
            read_folder(path, pictures, errors);
        } else if (picture_file_read(&p, path, (uint64_t)1 << 26, &diag) == VQZ_OK) {
            assert_non_null(p.image.pixels);
            picture_clear(&p);
            ++*pictures;
        } else {
            assert_int_not_equal(diag.message[0], '\0');
            ++*errors;
        }
    }
    closedir(handle);
}

static void test_folder_of_awkward_files(void **state) {
    (void)state;
    const char *folder = getenv("VQZ_PNGSUITE");
    if (folder == NULL)
        skip();
    size_t pictures = 0, errors = 0;
    read_folder(folder, &pictures, &errors);
    print_message("%zu pictures, %zu refused\n", pictures, errors);
    assert_int_not_equal(pictures, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truncation), cmocka_unit_test(test_bit_errors_in_png),
        cmocka_unit_test(test_mutations),  cmocka_unit_test(test_hostile_exif),
        cmocka_unit_test(test_scan_bomb),  cmocka_unit_test(test_folder_of_awkward_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
