/*
 * test_picture_rows.c - pictures in bands of rows, from and to files on disk: the same pixels as in
 * one piece, whatever the bands; files that end, shrink or are damaged on the way.
 */
#include "tests/support/picture_file.h"
#include "tests/support/picture_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <png.h>

static const uint64_t many_pixels = (uint64_t)1 << 28;
static char path[64];

static int name_file(void **state) {
    (void)state;
    snprintf(path, sizeof path, "/tmp/vqz-rows-%ld", (long)getpid());
    return 0;
}

static int remove_file(void **state) {
    (void)state;
    unlink(path);
    return 0;
}

static void save(const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* Reads what is at path in bands of 1, 2, 3, 1, 2, ... rows, with slack between them.  whole is
   what must come, or NULL. */
static vqz_status read_bands(const picture *whole, vqz_diag *diag) {
    enum { SLACK = 5, MOST = 3 };
    vqz_limits limits;
    source *s;
    picture_reader *r;
    vqz_limits_init(&limits);
    VQZ_TRY(source_open(&s, path, (size_t)1 << 30, diag));
    vqz_status status = picture_reader_open(&r, s, &limits, diag);
    if (status != VQZ_OK) {
        source_close(s);
        return status;
    }
    const picture *facts = picture_reader_facts(r);
    uint32_t height = facts->image.height;
    size_t row = (size_t)facts->image.width * facts->image.channels, stride = row + SLACK;
    uint8_t *rows = malloc(stride * MOST);
    assert_non_null(rows);
    for (uint32_t y = 0, count, band = 1; status == VQZ_OK && y < height; y += count) {
        count = VQZI_MIN(band, height - y);
        band = band % MOST + 1;
        memset(rows, 0xA5, stride * MOST);
        status = picture_reader_rows(r, rows, stride, count, diag);
        if (status != VQZ_OK || whole == NULL)
            continue;
        for (uint32_t i = 0; i < count; i++) {
            assert_memory_equal(rows + i * stride,
                                whole->image.pixels + (y + i) * whole->image.stride, row);
            for (size_t k = row; k < stride; k++)
                assert_int_equal(rows[i * stride + k], 0xA5);
        }
    }
    if (status == VQZ_OK)
        assert_int_equal(picture_reader_rows(r, rows, stride, 1, NULL), VQZ_ERROR_ARGUMENT);
    if (status == VQZ_OK && whole != NULL) {
        assert_int_equal(facts->image.width, whole->image.width);
        assert_int_equal(facts->image.height, whole->image.height);
        assert_int_equal(facts->image.channels, whole->image.channels);
        assert_int_equal(facts->icc_size, whole->icc_size);
        assert_int_equal(facts->exif_size, whole->exif_size);
        assert_string_equal(facts->damaged, whole->damaged);
    }
    free(rows);
    picture_reader_close(r);
    source_close(s);
    return status;
}

/* The whole picture from memory is the yardstick; test_picture.c proves that one. */
static void check_bands(const made_file *file) {
    picture whole;
    vqz_diag diag = {""};
    if (picture_file_parse(&whole, file->data, file->size, many_pixels, &diag) != VQZ_OK)
        fail_msg("%s", diag.message);
    save(file->data, file->size);
    if (read_bands(&whole, &diag) != VQZ_OK)
        fail_msg("%s", diag.message);
    picture_clear(&whole);
}

static void test_png_bands(void **state) {
    (void)state;
    static const struct {
        int color, depth;
    } kinds[] = {{PNG_COLOR_TYPE_GRAY, 1},        {PNG_COLOR_TYPE_GRAY, 16},
                 {PNG_COLOR_TYPE_PALETTE, 4},     {PNG_COLOR_TYPE_RGB, 8},
                 {PNG_COLOR_TYPE_GRAY_ALPHA, 16}, {PNG_COLOR_TYPE_RGB_ALPHA, 8}};
    uint8_t exif[64];
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (int interlaced = 0; interlaced < 2; interlaced++)
            for (int orientation = 1; orientation <= 8; orientation++) {
                size_t exif_size = make_exif(exif, orientation, true);
                made_file file = make_png(&(png_mode){.width = 13,
                                                      .height = 10,
                                                      .color = kinds[k].color,
                                                      .depth = kinds[k].depth,
                                                      .interlaced = interlaced != 0,
                                                      .exif = exif,
                                                      .exif_size = exif_size});
                check_bands(&file);
                made_file_free(&file);
            }
}

static void test_jpeg_bands(void **state) {
    (void)state;
    uint8_t exif[64];
    for (int color = MADE_GRAY; color <= MADE_YCCK; color++)
        for (int progressive = 0; progressive < 2; progressive++)
            for (int orientation = 1; orientation <= 8; orientation++) {
                size_t exif_size = make_exif(exif, orientation, false);
                made_file file = make_jpeg(&(jpeg_mode){.width = 35,
                                                        .height = 21,
                                                        .color = (jpeg_color)color,
                                                        .progressive = progressive != 0,
                                                        .adobe = true,
                                                        .exif = exif,
                                                        .exif_size = exif_size});
                check_bands(&file);
                made_file_free(&file);
            }
}

static void test_pnm_bands(void **state) {
    (void)state;
#define PNM(text)                                                                                  \
    { (uint8_t *)(uintptr_t)text, sizeof text - 1, NULL, 0 }
    static const made_file files[] = {
        PNM("P1 3 4\n101010101011"),
        PNM("P2\n# comment\n2 5 9\n1 2 3 4 5 6 7 8 9 0 "),
        PNM("P3 1 4 255 1 2 3 4 5 6 7 8 9 10 11 12"),
        PNM("P4 9 4\nabcdefgh"),
        PNM("P5 2 5 255\nabcdefghij"),
        PNM("P5 1 4 1000\n\1\0\2\0\3\0\0\1"),
        PNM("P6 1 4 255\nabcdefghijkl"),
        PNM("P7\nWIDTH 1\nHEIGHT 4\nDEPTH 2\nMAXVAL 255\nENDHDR\nabcdefgh"),
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        check_bands(&files[i]);
}

/* ---- files that end too early, at once or while they are read ---- */

/* Larger than what is read at a time, so that the end shows after rows have been handed out. */
static made_file make_large(int kind) {
    if (kind == 0)
        return make_png(&(png_mode){.width = 300, .height = 200, .color = 2, .depth = 8});
    if (kind == 1) {
        made_file file = make_png(&(png_mode){.width = 300, .height = 200, .color = 2, .depth = 8});
        free(file.data);
        file.size = 15 + 300 * 200 * 3;
        file.data = calloc(file.size, 1);
        assert_non_null(file.data);
        memcpy(file.data, "P6\n300 200\n255\n", 15);
        return file;
    }
    uint8_t *icc = malloc(200000); /* before the pixels; the rest is small */
    assert_non_null(icc);
    make_icc(icc, 200000, false);
    made_file file = make_jpeg(&(jpeg_mode){
        .width = 300, .height = 200, .color = MADE_YCC, .icc = icc, .icc_size = 200000});
    free(icc);
    return file;
}

static void test_truncated_files(void **state) {
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        made_file file = make_large(kind);
        assert_true(file.size > 100000);
        check_bands(&file);
        for (size_t size = file.size - 1; size > 1000; size -= 1 + size / 7) {
            vqz_diag diag = {""};
            save(file.data, size);
            assert_int_equal(read_bands(NULL, &diag), VQZ_ERROR_TRUNCATED);
            assert_non_null(strstr(diag.message, "truncated file"));
        }
        made_file_free(&file);
    }
}

static void test_file_that_shrinks(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        made_file file = make_large(kind);
        uint8_t row[900];
        vqz_limits limits;
        vqz_diag diag = {""};
        source *s;
        picture_reader *r;
        vqz_limits_init(&limits);
        save(file.data, file.size);
        assert_int_equal(source_open(&s, path, (size_t)1 << 30, NULL), VQZ_OK);
        assert_int_equal(picture_reader_open(&r, s, &limits, NULL), VQZ_OK);
        assert_int_equal(picture_reader_rows(r, row, sizeof row, 1, NULL), VQZ_OK);
        assert_int_equal(truncate(path, 1000), 0);
        vqz_status status = VQZ_OK;
        for (int y = 1; y < 200 && status == VQZ_OK; y++)
            status = picture_reader_rows(r, row, sizeof row, 1, &diag);
        assert_int_equal(status, VQZ_ERROR_TRUNCATED);
        picture_reader_close(r);
        source_close(s);
        made_file_free(&file);
    }
}

/* ---- PNG chunks ---- */

/* Offset of the first chunk of a type, from its length on. */
static size_t find_chunk(const made_file *file, const char *type) {
    for (size_t at = 8; at + 12 <= file->size;) {
        const uint8_t *head = file->data + at;
        if (memcmp(head + 4, type, 4) == 0)
            return at;
        at += 12 + ((size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3]);
    }
    fail_msg("no %s", type);
    return 0;
}

static size_t chunk_size(const made_file *file, size_t at) {
    return 12 + (size_t)file->data[at + 2] * 256 + file->data[at + 3];
}

static void test_damaged_chunks(void **state) {
    (void)state;
    uint8_t exif[64], icc[300];
    size_t exif_size = make_exif(exif, 6, true);
    make_icc(icc, sizeof icc, false);
    static const struct {
        const char *type, *damaged; /* NULL: refused */
    } cases[] = {{"gAMA", "gAMA"}, {"eXIf", "eXIf"}, {"iCCP", "iCCP"}, {"tRNS", NULL},
                 {"IHDR", NULL},   {"IDAT", NULL},   {"IEND", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        made_file file = make_png(&(png_mode){.width = 9,
                                              .height = 6,
                                              .color = PNG_COLOR_TYPE_RGB,
                                              .depth = 8,
                                              .transparent = true,
                                              .icc = icc,
                                              .icc_size = sizeof icc,
                                              .exif = exif,
                                              .exif_size = exif_size});
        size_t at = find_chunk(&file, cases[i].type);
        file.data[at + chunk_size(&file, at) - 1] ^= 1;
        picture p;
        vqz_diag diag = {""};
        vqz_status status = picture_file_parse(&p, file.data, file.size, many_pixels, &diag);
        if (cases[i].damaged == NULL) {
            assert_int_equal(status, VQZ_ERROR_CORRUPT);
            assert_non_null(strstr(diag.message, cases[i].type));
        } else {
            bool exif_lost = strcmp(cases[i].type, "eXIf") == 0;
            assert_int_equal(status, VQZ_OK);
            assert_string_equal(p.damaged, cases[i].damaged);
            assert_int_equal(p.image.width, exif_lost ? 9 : 6); /* turned by what the block says */
            assert_int_equal(p.exif_size, exif_lost ? 0 : exif_size);
            assert_int_equal(p.icc_size, strcmp(cases[i].type, "iCCP") == 0 ? 0 : sizeof icc);
            picture_clear(&p);
        }
        made_file_free(&file);
    }
}

static void test_exif_behind_pixels(void **state) {
    (void)state;
    uint8_t exif[64];
    size_t exif_size = make_exif(exif, 3, true);
    made_file file = make_png(&(png_mode){.width = 9,
                                          .height = 6,
                                          .color = PNG_COLOR_TYPE_GRAY,
                                          .depth = 8,
                                          .exif = exif,
                                          .exif_size = exif_size});
    size_t at = find_chunk(&file, "eXIf"), size = chunk_size(&file, at);
    uint8_t chunk[256];
    assert_true(size <= sizeof chunk);
    memcpy(chunk, file.data + at, size);
    memmove(file.data + at, file.data + at + size, file.size - at - size - 12); /* up to IEND */
    memcpy(file.data + file.size - 12 - size, chunk, size);
    assert_int_equal(find_chunk(&file, "eXIf"), file.size - 12 - size);
    picture p;
    assert_int_equal(picture_file_parse(&p, file.data, file.size, many_pixels, NULL), VQZ_OK);
    assert_int_equal(p.exif_size, exif_size);
    for (size_t i = 0; i < 54; i++)
        assert_int_equal(p.image.pixels[i], file.expected[53 - i]);
    picture_clear(&p);
    made_file_free(&file);
}

static void test_memory_limit_of_progressive_jpeg(void **state) {
    (void)state;
    vqz_limits limits;
    vqz_limits_init(&limits);
    limits.max_memory = 1 << 20;
    for (int progressive = 0; progressive < 2; progressive++) {
        made_file file = make_jpeg(&(jpeg_mode){
            .width = 1000, .height = 600, .color = MADE_YCC, .progressive = progressive != 0});
        source *s;
        picture p;
        vqz_diag diag = {""};
        assert_int_equal(source_from_memory(&s, file.data, file.size, NULL), VQZ_OK);
        vqz_status status = picture_read(&p, s, &limits, &diag);
        if (progressive) {
            assert_int_equal(status, VQZ_ERROR_LIMIT);
            assert_non_null(strstr(diag.message, "--max-memory"));
        } else {
            assert_int_equal(status, VQZ_OK);
            picture_clear(&p);
        }
        source_close(s);
        made_file_free(&file);
    }
}

/* ---- writing ---- */

static void test_writing_in_bands(void **state) {
    (void)state;
    enum { WIDTH = 37, HEIGHT = 23, STRIDE = WIDTH * 4 + 3 };
    uint8_t pixels[STRIDE * HEIGHT];
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)(i * i * 31 >> 3);
    for (uint32_t channels = 1; channels <= 4; channels++)
        for (int format = PICTURE_PNG; format <= PICTURE_PNM; format++)
            for (uint32_t band = 1; band <= HEIGHT; band += 5) {
                const picture facts = {
                    .image = {.width = WIDTH, .height = HEIGHT, .channels = channels}};
                file_output *output;
                picture_writer *writer;
                assert_int_equal(file_create(&output, path, true, NULL), VQZ_OK);
                assert_int_equal(
                    picture_writer_open(&writer, &facts, (picture_format)format, output, NULL),
                    VQZ_OK);
                for (uint32_t y = 0; y < HEIGHT; y += band) {
                    assert_int_equal(picture_writer_finish(writer, NULL), VQZ_ERROR_ARGUMENT);
                    assert_int_equal(picture_writer_rows(writer, pixels + y * STRIDE, STRIDE,
                                                         VQZI_MIN(band, HEIGHT - y), NULL),
                                     VQZ_OK);
                }
                assert_int_equal(picture_writer_rows(writer, pixels, STRIDE, 1, NULL),
                                 VQZ_ERROR_ARGUMENT);
                assert_int_equal(picture_writer_finish(writer, NULL), VQZ_OK);
                assert_int_equal(file_commit(output, NULL), VQZ_OK);
                picture_writer_close(writer);
                file_close(output);
                picture p;
                assert_int_equal(picture_file_read(&p, path, many_pixels, NULL), VQZ_OK);
                assert_int_equal(p.image.width, WIDTH);
                assert_int_equal(p.image.height, HEIGHT);
                assert_int_equal(p.image.channels, channels);
                for (size_t y = 0; y < HEIGHT; y++)
                    assert_memory_equal(p.image.pixels + y * p.image.stride, pixels + y * STRIDE,
                                        WIDTH * channels);
                picture_clear(&p);
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_png_bands),
        cmocka_unit_test(test_jpeg_bands),
        cmocka_unit_test(test_pnm_bands),
        cmocka_unit_test(test_truncated_files),
        cmocka_unit_test(test_file_that_shrinks),
        cmocka_unit_test(test_damaged_chunks),
        cmocka_unit_test(test_exif_behind_pixels),
        cmocka_unit_test(test_memory_limit_of_progressive_jpeg),
        cmocka_unit_test(test_writing_in_bands),
    };
    return cmocka_run_group_tests(tests, name_file, remove_file);
}
