/*
 * test_picture.c - picture files in: every mode against the pixels it was made from, metadata,
 * orientation, round trips.  Damaged files are in test_picture_damage.c.
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

static picture parse(const void *data, size_t size) {
    picture p;
    vqz_diag diag = {""};
    vqz_status status = picture_file_parse(&p, data, size, many_pixels, &diag);
    if (status != VQZ_OK)
        fail_msg("%s", diag.message);
    assert_int_equal(p.image.stride, (size_t)p.image.width * p.image.channels);
    return p;
}

static void parse_fails(const void *data, size_t size, vqz_status expected, const char *words) {
    picture p;
    vqz_diag diag = {""};
    assert_int_equal(picture_file_parse(&p, data, size, many_pixels, &diag), expected);
    if (strstr(diag.message, words) == NULL)
        fail_msg("\"%s\" does not speak of \"%s\"", diag.message, words);
}

static void temporary_name(char path[64]) {
    snprintf(path, 64, "/tmp/vqz-picture-%ld", (long)getpid());
}

static picture write_and_read(const picture *p, picture_format format) {
    char path[64];
    picture q;
    vqz_diag diag = {""};
    temporary_name(path);
    vqz_status status = picture_file_write(path, p, format, &diag);
    if (status == VQZ_OK)
        status = picture_file_read(&q, path, many_pixels, &diag);
    if (status != VQZ_OK)
        fail_msg("%s", diag.message);
    unlink(path);
    return q;
}

static size_t pixel_bytes(const picture *p) {
    return p->image.stride * p->image.height;
}

static int largest_difference(const picture *p, const uint8_t *expected) {
    int largest = 0;
    for (size_t i = 0; i < pixel_bytes(p); i++)
        largest = abs(p->image.pixels[i] - expected[i]) > largest
                      ? abs(p->image.pixels[i] - expected[i])
                      : largest;
    return largest;
}

/* ---- PNG ---- */

static void check_png(const png_mode *mode) {
    made_file file = make_png(mode);
    picture p = parse(file.data, file.size);
    assert_int_equal(p.image.width, mode->width);
    assert_int_equal(p.image.height, mode->height);
    assert_int_equal(p.image.channels, file.channels);
    assert_int_equal(p.sixteen_bit, mode->depth == 16);
    assert_false(p.animated);
    assert_memory_equal(p.image.pixels, file.expected, pixel_bytes(&p));
    picture_clear(&p);
    made_file_free(&file);
}

static void test_png_modes(void **state) {
    (void)state;
    static const struct {
        int color, depth;
        bool may_be_transparent;
    } kinds[] = {{PNG_COLOR_TYPE_GRAY, 1, true},         {PNG_COLOR_TYPE_GRAY, 2, true},
                 {PNG_COLOR_TYPE_GRAY, 4, true},         {PNG_COLOR_TYPE_GRAY, 8, true},
                 {PNG_COLOR_TYPE_GRAY, 16, true},        {PNG_COLOR_TYPE_RGB, 8, true},
                 {PNG_COLOR_TYPE_RGB, 16, true},         {PNG_COLOR_TYPE_PALETTE, 1, true},
                 {PNG_COLOR_TYPE_PALETTE, 2, true},      {PNG_COLOR_TYPE_PALETTE, 4, true},
                 {PNG_COLOR_TYPE_PALETTE, 8, true},      {PNG_COLOR_TYPE_GRAY_ALPHA, 8, false},
                 {PNG_COLOR_TYPE_GRAY_ALPHA, 16, false}, {PNG_COLOR_TYPE_RGB_ALPHA, 8, false},
                 {PNG_COLOR_TYPE_RGB_ALPHA, 16, false}};
    static const uint32_t sizes[][2] = {{1, 1}, {2, 3}, {9, 8}, {33, 17}};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
            for (int variant = 0; variant < 4; variant++) {
                if ((variant & 2) != 0 && !kinds[k].may_be_transparent)
                    continue;
                check_png(&(png_mode){.width = sizes[s][0],
                                      .height = sizes[s][1],
                                      .color = kinds[k].color,
                                      .depth = kinds[k].depth,
                                      .interlaced = (variant & 1) != 0,
                                      .transparent = (variant & 2) != 0,
                                      .seed = (uint32_t)(k * 16 + s)});
            }
}

static void test_animation_is_noticed(void **state) {
    (void)state;
    /* acTL with one frame, and its CRC, between IHDR and the rest. */
    static const uint8_t chunk[] = {0, 0, 0, 8, 'a', 'c', 'T',  'L',  0,    0,
                                    0, 1, 0, 0, 0,   0,   0xb4, 0x2d, 0xe9, 0xa0};
    made_file file = make_png(&(png_mode){.width = 4, .height = 4, .color = 2, .depth = 8});
    uint8_t *animated = malloc(file.size + sizeof chunk);
    assert_non_null(animated);
    memcpy(animated, file.data, 33);
    memcpy(animated + 33, chunk, sizeof chunk);
    memcpy(animated + 33 + sizeof chunk, file.data + 33, file.size - 33);
    picture p = parse(animated, file.size + sizeof chunk);
    assert_true(p.animated);
    assert_memory_equal(p.image.pixels, file.expected, pixel_bytes(&p));
    picture_clear(&p);
    free(animated);
    made_file_free(&file);
}

/* ---- JPEG ---- */

static void test_jpeg_modes(void **state) {
    (void)state;
    static const uint32_t sizes[][2] = {{1, 1}, {7, 9}, {64, 48}, {130, 33}};
    for (int color = MADE_GRAY; color <= MADE_YCCK; color++)
        for (int variant = 0; variant < 4; variant++)
            for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
                jpeg_mode mode = {.width = sizes[s][0],
                                  .height = sizes[s][1],
                                  .color = (jpeg_color)color,
                                  .progressive = (variant & 1) != 0,
                                  .adobe = (variant & 2) != 0};
                if (color == MADE_YCCK && !mode.adobe)
                    continue; /* nothing would tell it from CMYK */
                made_file file = make_jpeg(&mode);
                picture p = parse(file.data, file.size);
                assert_int_equal(p.image.width, mode.width);
                assert_int_equal(p.image.height, mode.height);
                assert_int_equal(p.image.channels, file.channels);
                assert_in_range(largest_difference(&p, file.expected), 0, 14);
                picture_clear(&p);
                made_file_free(&file);
            }
}

/* ---- metadata ---- */

static void check_metadata(const picture *p, const uint8_t *icc, size_t icc_size,
                           const uint8_t *exif, size_t exif_size) {
    assert_int_equal(p->icc_size, icc_size);
    assert_memory_equal(p->icc, icc, icc_size);
    assert_int_equal(p->exif_size, exif_size);
    assert_memory_equal(p->exif, exif, exif_size);
}

/* From JPEG (a profile of several segments) through PNG, keeping every byte. */
static void test_metadata_round_trip(void **state) {
    (void)state;
    size_t icc_size = 150004;
    uint8_t exif[64], *icc = malloc(icc_size);
    assert_non_null(icc);
    for (int gray = 0; gray < 2; gray++) {
        size_t exif_size = make_exif(exif, 1, gray != 0);
        make_icc(icc, icc_size, gray != 0);
        made_file file = make_jpeg(&(jpeg_mode){.width = 20,
                                                .height = 10,
                                                .color = gray ? MADE_GRAY : MADE_YCC,
                                                .icc = icc,
                                                .icc_size = icc_size,
                                                .exif = exif,
                                                .exif_size = exif_size});
        picture p = parse(file.data, file.size);
        check_metadata(&p, icc, icc_size, exif, exif_size);
        picture q = write_and_read(&p, PICTURE_PNG);
        check_metadata(&q, icc, icc_size, exif, exif_size);
        assert_memory_equal(q.image.pixels, p.image.pixels, pixel_bytes(&p));
        picture_clear(&p);
        picture_clear(&q);
        made_file_free(&file);
    }
    free(icc);
}

static void test_profile_of_cmyk_is_dropped(void **state) {
    (void)state;
    uint8_t icc[400];
    make_icc(icc, sizeof icc, false);
    memcpy(icc + 16, "CMYK", 4);
    made_file file = make_jpeg(&(jpeg_mode){.width = 9,
                                            .height = 9,
                                            .color = MADE_CMYK,
                                            .adobe = true,
                                            .icc = icc,
                                            .icc_size = sizeof icc});
    picture p = parse(file.data, file.size);
    assert_null(p.icc);
    assert_int_equal(p.icc_size, 0);
    picture_clear(&p);
    made_file_free(&file);
}

/* The source position of pixel (x, y) of the upright picture, written out from the EXIF standard's
   table: which corner the 0th row and the 0th column of the stored picture are. */
static size_t stored_index(int orientation, size_t x, size_t y, size_t width, size_t height) {
    size_t right = width - 1, bottom = height - 1; /* of the stored picture */
    switch (orientation) {
    case 2: /* row 0 top, column 0 right */
        return y * width + (right - x);
    case 3: /* bottom, right */
        return (bottom - y) * width + (right - x);
    case 4: /* bottom, left */
        return (bottom - y) * width + x;
    case 5: /* row 0 left, column 0 top */
        return x * width + y;
    case 6: /* right, top */
        return (bottom - x) * width + y;
    case 7: /* right, bottom */
        return (bottom - x) * width + (right - y);
    case 8: /* left, bottom */
        return x * width + (right - y);
    default:
        return y * width + x;
    }
}

static void test_orientations(void **state) {
    (void)state;
    static const int colors[] = {PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB,
                                 PNG_COLOR_TYPE_RGB_ALPHA};
    uint8_t exif[64], upright_exif[64];
    for (int orientation = 0; orientation <= 9; orientation++)
        for (int c = 0; c < 4; c++)
            for (int little = 0; little < 2; little++) {
                size_t exif_size = make_exif(exif, orientation, little != 0);
                (void)make_exif(upright_exif, 1, little != 0);
                made_file file = make_png(&(png_mode){.width = 7,
                                                      .height = 5,
                                                      .color = colors[c],
                                                      .depth = 8,
                                                      .exif = exif,
                                                      .exif_size = exif_size});
                picture p = parse(file.data, file.size);
                bool turned = orientation >= 5 && orientation <= 8;
                assert_int_equal(p.image.width, turned ? 5 : 7);
                assert_int_equal(p.image.height, turned ? 7 : 5);
                assert_int_equal(p.exif_size, exif_size);
                assert_memory_equal(p.exif, upright_exif, exif_size);
                for (size_t y = 0; y < p.image.height; y++)
                    for (size_t x = 0; x < p.image.width; x++)
                        assert_memory_equal(p.image.pixels + y * p.image.stride + x * file.channels,
                                            file.expected + stored_index(orientation, x, y, 7, 5) *
                                                                file.channels,
                                            file.channels);
                picture_clear(&p);
                made_file_free(&file);
            }
}

/* ---- PNM ---- */

static void check_pnm(const char *text, size_t size, uint32_t width, uint32_t height,
                      uint32_t channels, const char *pixels) {
    picture p = parse(text, size);
    assert_int_equal(p.image.width, width);
    assert_int_equal(p.image.height, height);
    assert_int_equal(p.image.channels, channels);
    assert_memory_equal(p.image.pixels, pixels, pixel_bytes(&p));
    picture_clear(&p);
}
#define PNM(text, ...) check_pnm(text, sizeof(text) - 1, __VA_ARGS__)
#define BAD(text, ...) parse_fails(text, sizeof(text) - 1, __VA_ARGS__)

static void test_pnm_kinds(void **state) {
    (void)state;
    PNM("P1\n# a comment\n3 2\n0 1 0\n1 0 1\n", 3, 2, 1, "\xff\0\xff\0\xff\0");
    PNM("P1 3 2 010101", 3, 2, 1, "\xff\0\xff\0\xff\0");
    PNM("P2\n2 2\n3\n0 1\n2 3", 2, 2, 1, "\x00\x55\xaa\xff");
    PNM("P2#x\n#y\n1#z\n1 255 # more\n 7", 1, 1, 1, "\x07");
    PNM("P3 1 2 65535 0 65535 32768 257 128 129", 1, 2, 3, "\x00\xff\x80\x01\x00\x01");
    PNM("P4\n10 2\n\xaa\x80\x00\x40", 10, 2, 1,
        "\0\xff\0\xff\0\xff\0\xff\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0");
    PNM("P5 2 1 255\n\n\x01", 2, 1, 1, "\n\x01"); /* one space ends the header, the rest is data */
    PNM("P5 2 1 1000\n\x00\x00\x03\xe8", 2, 1, 1, "\x00\xff");
    PNM("P6\r1 1\r255\rabcTRAILING", 1, 1, 3, "abc");
    PNM("P7\n# comment\nWIDTH 1\nHEIGHT 2\nDEPTH 4\nMAXVAL 255\nTUPLTYPE "
        "RGB_ALPHA\nENDHDR\nabcdefgh",
        1, 2, 4, "abcdefgh");
    PNM("P7\nMAXVAL 1\nDEPTH 2\nWIDTH 1\nHEIGHT 1\nENDHDR\n\x01\x00", 1, 1, 2, "\xff\0");
    picture p = parse("P5 1 1 256\n\1\0", 13);
    assert_true(p.sixteen_bit);
    picture_clear(&p);
}

static void test_pnm_refusals(void **state) {
    (void)state;
    BAD("P5", VQZ_ERROR_TRUNCATED, "too early");
    BAD("P5 2 2 255\nabc", VQZ_ERROR_TRUNCATED, "too early");
    BAD("P6 60000 60000 255\n", VQZ_ERROR_LIMIT, "--max-pixels 3600000000");
    BAD("P5 10000 10000 255\n", VQZ_ERROR_TRUNCATED, "too early");
    BAD("P2 10000 10000 255\n1 2 3", VQZ_ERROR_TRUNCATED, "too early");
    BAD("P5 0 1 255\n", VQZ_ERROR_CORRUPT, "empty");
    BAD("P5 65536 1 255\n", VQZ_ERROR_LIMIT, "65535");
    BAD("P5 99999999999999999999999 1 255\n", VQZ_ERROR_CORRUPT, "width");
    BAD("P5 -1 1 255\n", VQZ_ERROR_CORRUPT, "width");
    BAD("P5 1 1 0\nx", VQZ_ERROR_CORRUPT, "largest");
    BAD("P5 1 1 65536\nxxxx", VQZ_ERROR_CORRUPT, "largest");
    BAD("P5 1 1 10\n\x0b", VQZ_ERROR_CORRUPT, "above");
    BAD("P5 1 1 1000\n\x03\xe9", VQZ_ERROR_CORRUPT, "above");
    BAD("P2 1 1 10\n11", VQZ_ERROR_CORRUPT, "above");
    BAD("P1 2 1\n02", VQZ_ERROR_CORRUPT, "above");
    BAD("P7\nWIDTH 1\nHEIGHT 1\nDEPTH 5\nMAXVAL 255\nENDHDR\nabcde", VQZ_ERROR_UNSUPPORTED,
        "channels");
    BAD("P7\nWIDTH 1\nHEIGHT 1\nMAXVAL 255\nENDHDR\nabcde", VQZ_ERROR_CORRUPT, "channels");
    BAD("P7\nWIDTH 1\nHEIGHT 1\n", VQZ_ERROR_TRUNCATED, "too early");
    BAD("P5x", VQZ_ERROR_FORMAT, "not a");
}

/* ---- everything else ---- */

static void test_other_files(void **state) {
    (void)state;
    BAD("", VQZ_ERROR_FORMAT, "empty");
    BAD("hello, world", VQZ_ERROR_FORMAT, "not a PNG, JPEG or PNM");
    BAD("GIF89a......", VQZ_ERROR_FORMAT, "GIF");
    BAD("RIFF....WEBPVP8 ", VQZ_ERROR_FORMAT, "WebP");
    BAD("\x89PNG\n\x1a\n...........", VQZ_ERROR_CORRUPT, "signature");
}

static void test_limits(void **state) {
    (void)state;
    made_file png = make_png(&(png_mode){.width = 10, .height = 10, .color = 2, .depth = 8});
    made_file jpeg = make_jpeg(&(jpeg_mode){.width = 10, .height = 10, .color = MADE_RGB});
    picture p;
    vqz_diag diag;
    assert_int_equal(picture_file_parse(&p, png.data, png.size, 99, &diag), VQZ_ERROR_LIMIT);
    assert_int_equal(picture_file_parse(&p, jpeg.data, jpeg.size, 99, &diag), VQZ_ERROR_LIMIT);
    assert_int_equal(picture_file_parse(&p, png.data, png.size, 100, &diag), VQZ_OK);
    picture_clear(&p);
    png.data[16] = 1; /* width 2^24 + 10 */
    assert_int_equal(picture_file_parse(&p, png.data, png.size, many_pixels, &diag), VQZ_ERROR_LIMIT);
    assert_non_null(strstr(diag.message, "16777226 x 10"));
    made_file_free(&png);
    made_file_free(&jpeg);
}

/* Both kinds, all channel counts, rows with slack. */
static void test_write_and_read(void **state) {
    (void)state;
    for (uint32_t channels = 1; channels <= 4; channels++)
        for (int format = PICTURE_PNG; format <= PICTURE_PNM; format++) {
            uint8_t pixels[5 * 40];
            for (size_t i = 0; i < sizeof pixels; i++)
                pixels[i] = (uint8_t)(i * i * 31 >> 2);
            picture p = {.image = {7, 5, channels, 40, pixels}};
            picture q = write_and_read(&p, (picture_format)format);
            assert_int_equal(q.image.width, 7);
            assert_int_equal(q.image.height, 5);
            assert_int_equal(q.image.channels, channels);
            for (size_t y = 0; y < 5; y++)
                assert_memory_equal(q.image.pixels + y * q.image.stride, pixels + y * 40,
                                    7 * channels);
            picture_clear(&q);
        }
    picture empty = {0};
    char path[64];
    temporary_name(path);
    assert_int_equal(picture_file_write(path, &empty, PICTURE_PNG, NULL), VQZ_ERROR_ARGUMENT);
    assert_int_not_equal(access(path, F_OK), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_png_modes),
        cmocka_unit_test(test_animation_is_noticed),
        cmocka_unit_test(test_jpeg_modes),
        cmocka_unit_test(test_metadata_round_trip),
        cmocka_unit_test(test_profile_of_cmyk_is_dropped),
        cmocka_unit_test(test_orientations),
        cmocka_unit_test(test_pnm_kinds),
        cmocka_unit_test(test_pnm_refusals),
        cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_write_and_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
