/*
 * test_crops.c - random crops: repeatable, uniform, exact when they shrink.
 */
#include "tests/support/corpus_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The batch is large enough to be split over threads, and has crops of every kind. */
static void test_crops_repeat(void **state) {
    corpus_folder *f = *state;
    const char *const paths[] = {f->folder};
    enum { SIZE = 212, COUNT = 24, BYTES = COUNT * SIZE * SIZE * 3 };
    write_many_pictures(f, 12);
    write_picture(f, "large.ppm", 800, 600, 3, 1);
    corpus_options o = corpus_options_for(f, paths);
    o.memory_budget = 4 << 20;
    corpus_stats s;
    corpus *c = load_corpus(&o, &s);
    assert_int_equal(s.pictures, 13);
    static uint8_t crops[3][2][BYTES];
    for (int run = 0; run < 3; run++) {
        random_state random;
        random_seed(&random, run == 2 ? 6 : 5);
        for (int batch = 0; batch < 2; batch++)
            corpus_crops(c, &random, &(crop_options){SIZE, 0.3f, true}, COUNT, run + 1,
                         crops[run][batch]);
    }
    assert_memory_equal(crops[0], crops[1], sizeof crops[0]);
    assert_memory_not_equal(crops[0], crops[2], sizeof crops[0]);
    assert_memory_not_equal(crops[0][0], crops[0][1], BYTES);
    /* Two processes that take turns draw what one does. */
    random_state random;
    random_seed(&random, 5);
    uint64_t draw = random_next(&random);
    for (int rank = 0; rank < 2; rank++) {
        corpus_crops_of(c, draw, rank, 2, &(crop_options){SIZE, 0.3f, true}, COUNT / 2, 1,
                        crops[1][0]);
        for (int i = 0; i < COUNT / 2; i++)
            assert_memory_equal(crops[1][0] + (size_t)i * (BYTES / COUNT),
                                crops[0][0] + (size_t)(rank + 2 * i) * (BYTES / COUNT),
                                BYTES / COUNT);
    }
    corpus_free(c);
}

/* Without scaling each crop is a piece of the picture, mirrored or not; all positions and both
   mirrorings turn up.  x and y show in the samples. */
static void test_crop_positions(void **state) {
    corpus_folder *f = *state;
    const char *const paths[] = {f->folder};
    enum { SIZE = 8, COUNT = 2000 };
    uint8_t pixels[8 * 16 * 9 + 32];
    int header = snprintf((char *)pixels, 32, "P5 12 10 255\n");
    for (int i = 0; i < 120; i++)
        pixels[header + i] = (uint8_t)(i % 12 * 16 + i / 12);
    write_file(f, "a.pgm", pixels, (size_t)header + 120);
    corpus_options o = corpus_options_for(f, paths);
    corpus_stats s;
    corpus *c = load_corpus(&o, &s);
    static uint8_t crops[COUNT][SIZE][SIZE];
    random_state random;
    random_seed(&random, 1);
    corpus_crops(c, &random, &(crop_options){SIZE, 1, true}, COUNT, 2, &crops[0][0][0]);
    int seen[2][5][3] = {{{0}}};
    for (int i = 0; i < COUNT; i++) {
        bool flipped = crops[i][0][0] > crops[i][0][SIZE - 1];
        int left = crops[i][0][flipped ? SIZE - 1 : 0] / 16, top = crops[i][0][0] % 16;
        for (int y = 0; y < SIZE; y++)
            for (int x = 0; x < SIZE; x++)
                assert_int_equal(crops[i][y][x],
                                 (left + (flipped ? SIZE - 1 - x : x)) * 16 + top + y);
        assert_in_range(left, 0, 4);
        assert_in_range(top, 0, 2);
        seen[flipped][left][top]++;
    }
    for (int i = 0; i < 30; i++) /* 67 expected, standard deviation 8 */
        assert_in_range((&seen[0][0][0])[i], 30, 110);
    random_seed(&random, 1);
    corpus_crops(c, &random, &(crop_options){SIZE, 1, false}, COUNT, 2, &crops[0][0][0]);
    for (int i = 0; i < COUNT; i++)
        assert_true(crops[i][0][0] < crops[i][0][SIZE - 1]);
    /* A picture smaller than the crop keeps its place; its last row and column are repeated. */
    static uint8_t large[4][11][11];
    corpus_crops(c, &random, &(crop_options){11, 0.2f, false}, 4, 2, &large[0][0][0]);
    for (int i = 0; i < 4; i++) {
        int left = large[i][0][0] / 16;
        assert_in_range(left, 0, 1);
        for (int y = 0; y < 11; y++)
            for (int x = 0; x < 11; x++)
                assert_int_equal(large[i][y][x], (left + x) * 16 + (y < 10 ? y : 9));
    }
    corpus_free(c);
}

/* Shrinking is the exact mean over the area of each output pixel: compared with a sum over a grid
   that both pixel sizes divide, which finds the window again by trying all. */
static void test_shrinking(void **state) {
    corpus_folder *f = *state;
    const char *const paths[] = {f->folder};
    enum { SIZE = 6, SIDE = 13, COUNT = 64 };
    static uint8_t source[SIDE][SIDE], ppm[SIDE * SIDE * 4 + 128];
    uint32_t seed = 3;
    for (int i = 0; i < SIDE * SIDE; i++)
        source[i / SIDE][i % SIDE] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24);
    int header = snprintf((char *)ppm, 32, "P5 %d %d 255\n", SIDE, SIDE);
    memcpy(ppm + header, source, sizeof source);
    write_file(f, "a.pgm", ppm, (size_t)header + sizeof source);
    corpus_options o = corpus_options_for(f, paths);
    corpus_stats s;
    corpus *c = load_corpus(&o, &s);
    static uint8_t crops[COUNT][SIZE][SIZE];
    random_state random;
    random_seed(&random, 2);
    corpus_crops(c, &random, &(crop_options){SIZE, 0.3f, true}, COUNT, 1, &crops[0][0][0]);
    bool side_seen[SIDE + 1] = {false};
    for (int i = 0; i < COUNT; i++) {
        int found = 0;
        for (int side = SIZE; side <= SIDE && !found; side++)
            for (int at = 0; at < 2 * (SIDE - side + 1) * (SIDE - side + 1) && !found; at++) {
                int flip = at & 1, left = at / 2 % (SIDE - side + 1),
                    top = at / 2 / (SIDE - side + 1), same = 1;
                for (int y = 0; y < SIZE && same; y++)
                    for (int x = 0; x < SIZE && same; x++) {
                        int sum = 0; /* over side x side points, SIZE x SIZE of them a pixel */
                        for (int v = y * side; v < (y + 1) * side; v++)
                            for (int u = x * side; u < (x + 1) * side; u++)
                                sum += source[top + v / SIZE][left + u / SIZE];
                        int mean = (2 * sum + side * side) / (2 * side * side);
                        same = crops[i][y][flip ? SIZE - 1 - x : x] == mean;
                    }
                if (same)
                    found = side;
            }
        assert_in_range(found, SIZE, SIDE);
        side_seen[found] = true;
    }
    for (int side = SIZE + 1; side <= SIDE; side++)
        assert_true(side_seen[side]);
    corpus_free(c);

    /* What is transparent does not bleed: red beside invisible green stays red. */
    static const char pam_header[] = "P7\nWIDTH 12\nHEIGHT 12\nDEPTH 4\nMAXVAL 255\nENDHDR\n";
    size_t length = sizeof pam_header - 1;
    memcpy(ppm, pam_header, length);
    for (int i = 0; i < 144; i++)
        memcpy(ppm + length + 4 * i, (i + i / 12) % 2 ? "\xff\0\0\xff" : "\0\xff\0\0", 4);
    write_file(f, "a.pgm", ppm, length + 4 * 144);
    o = corpus_options_for(f, paths);
    o.channels = 4;
    c = load_corpus(&o, &s);
    static uint8_t shrunk[8][6][6][4];
    corpus_crops(c, &random, &(crop_options){6, 0.5f, false}, 8, 1, &shrunk[0][0][0][0]);
    int mixed = 0;
    for (int i = 0; i < 8 * 36; i++) {
        const uint8_t *pixel = (&shrunk[0][0][0][0]) + 4 * i;
        mixed += pixel[3] != 0 && pixel[3] != 255;
        if (pixel[3] != 0)
            assert_memory_equal(pixel, "\xff\0\0", 3);
    }
    assert_true(mixed > 36);
    corpus_free(c);
}

/* Crops come from pictures in proportion to their area, small ones counting as one crop. */
static void test_choice_by_area(void **state) {
    corpus_folder *f = *state;
    const char *const paths[] = {f->folder};
    enum { SIZE = 8, COUNT = 6400 };
    static const struct {
        uint32_t width, height;
        double weight; /* in crops */
    } files[] = {{4, 4, 1}, {8, 8, 1}, {16, 8, 2}, {16, 32, 8}, {5, 20, 100.0 / 64}, {32, 4, 2}};
    static uint8_t content[16 * 32 + 32], crops[COUNT][SIZE][SIZE];
    for (int i = 0; i < 6; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d.pgm", i);
        int header =
            snprintf((char *)content, 32, "P5 %u %u 255\n", files[i].width, files[i].height);
        size_t size = files[i].width * files[i].height;
        memset(content + header, i, size);
        write_file(f, name, content, (size_t)header + size);
    }
    corpus_options o = corpus_options_for(f, paths);
    corpus_stats s;
    corpus *c = load_corpus(&o, &s);
    random_state random;
    random_seed(&random, 4);
    corpus_crops(c, &random, &(crop_options){SIZE, 0.5f, true}, COUNT, 2, &crops[0][0][0]);
    int count[6] = {0};
    for (int i = 0; i < COUNT; i++)
        count[crops[i][0][0]]++;
    double total = 0;
    for (int i = 0; i < 6; i++)
        total += files[i].weight;
    for (int i = 0; i < 6; i++) {
        double expected = COUNT * files[i].weight / total;
        assert_in_range(count[i], (int)(expected * 0.8), (int)(expected * 1.2));
    }
    corpus_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST_IN_FOLDER(test_crops_repeat),
        TEST_IN_FOLDER(test_crop_positions),
        TEST_IN_FOLDER(test_shrinking),
        TEST_IN_FOLDER(test_choice_by_area),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
