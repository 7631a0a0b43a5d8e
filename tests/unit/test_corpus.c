/*
 * test_corpus.c - what the corpus loader finds, leaves out and converts.
 */
#include "cli/picture.h"
#include "tests/support/corpus_folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void load_fails(const corpus_options *o, vqz_status expected, const char *words) {
    corpus *c = NULL;
    vqz_diag diag = {""};
    assert_int_equal(corpus_load(&c, o, &diag), expected);
    assert_null(c);
    if (strstr(diag.message, words) == NULL)
        fail_msg("\"%s\" does not speak of \"%s\"", diag.message, words);
}

/* The first sample of a picture tells which file it came from. */
static unsigned mark(const vqz_image *image) {
    return image->pixels[0];
}

static void test_what_is_found(void **state) {
    corpus_folder *f = *state;
    const char *const paths[] = {f->folder};
    char path[256], path2[256];
    write_picture(f, "b.PPM", 10, 10, 3, 20);
    write_picture(f, "a.ppm", 8, 4, 3, 10);
    make_subfolder(f, "c");
    write_picture(f, "c/x.pnm", 5, 6, 1, 30);
    write_picture(f, "c/small.pgm", 3, 90, 1, 0);
    write_picture(f, "d.pam", 4, 4, 4, 40);
    write_picture(f, ".hidden.ppm", 8, 8, 3, 99);
    make_subfolder(f, ".git");
    write_picture(f, ".git/e.ppm", 8, 8, 3, 99);
    write_picture(f, "noextension", 8, 8, 3, 50);
    WRITE_LITERAL(f, "notes.txt", "hello");
    WRITE_LITERAL(f, "broken.png", "hello");
    snprintf(path, sizeof path, "%s/c/loop", f->folder);
    assert_int_equal(symlink("..", path), 0);
    snprintf(path, sizeof path, "%s/z", f->folder);
    assert_int_equal(symlink("c", path), 0); /* the same folder again */
    snprintf(path, sizeof path, "%s/dangling.jpg", f->folder);
    assert_int_equal(symlink("nowhere", path), 0);

    corpus_options o = corpus_options_for(f, paths);
    corpus_stats s;
    corpus *c = load_corpus(&o, &s);
    assert_int_equal(s.pictures, 4);
    assert_int_equal(s.holdout_pictures, 0);
    assert_int_equal(s.unreadable, 2);
    assert_int_equal(s.too_small, 1);
    assert_int_equal(s.over_budget, 0);
    assert_int_equal(s.channels, 3);
    assert_int_equal(s.pixels, 32 + 100 + 30 + 16);
    assert_int_equal(mark(corpus_picture(c, 0)), 10); /* sorted by name, folders among files */
    assert_int_equal(mark(corpus_picture(c, 1)), 20);
    assert_int_equal(mark(corpus_picture(c, 2)), 30);
    corpus_free(c);
    assert_int_equal(f->skipped_count, 3);
    assert_string_equal(f->skipped[0], "dangling.jpg: No such file or directory");
    assert_string_equal(f->skipped[1], "broken.png: not a PNG, JPEG or PNM picture");
    assert_string_equal(f->skipped[2], "small.pgm: 3 x 90 pixels are below the smallest sid");

    /* A file named outright needs no extension; one that is missing is an error. */
    snprintf(path, sizeof path, "%s/noextension", f->folder);
    snprintf(path2, sizeof path2, "%s/gone", f->folder);
    const char *const named[] = {path, path2};
    o = corpus_options_for(f, named);
    c = load_corpus(&o, &s);
    assert_int_equal(s.pictures, 1);
    assert_int_equal(mark(corpus_picture(c, 0)), 50);
    corpus_free(c);
    o.path_count = 2;
    load_fails(&o, VQZ_ERROR_IO, "gone");
}

static void test_empty(void **state) {
    corpus_folder *f = *state;
    const char *const paths[] = {f->folder};
    corpus_options o = corpus_options_for(f, paths);
    load_fails(&o, VQZ_ERROR_ARGUMENT, "no pictures");
    WRITE_LITERAL(f, "broken.png", "hello");
    write_picture(f, "small.ppm", 2, 2, 3, 0);
    load_fails(&o, VQZ_ERROR_ARGUMENT, "of 2 files 1 could not be read, 1 have a side below 4");
    write_picture(f, "a.ppm", 8, 8, 3, 0);
    o.memory_budget = 191;
    load_fails(&o, VQZ_ERROR_ARGUMENT, "3 are over the memory budget of 191");
    o.channels = 2;
    load_fails(&o, VQZ_ERROR_ARGUMENT, "2 channels");
    o = corpus_options_for(f, paths);
    o.holdout = 1;
    load_fails(&o, VQZ_ERROR_ARGUMENT, "holdout");
    o.path_count = 0;
    o.holdout = 0;
    load_fails(&o, VQZ_ERROR_ARGUMENT, "no pictures");
}

static void test_channels(void **state) {
    corpus_folder *f = *state;
    const char *const paths[] = {f->folder};
    corpus_stats s;
    /* One pixel row each: gray, gray + alpha, RGB, RGBA. */
    WRITE_LITERAL(f, "1.pgm", "P5 1 1 255\n\x64");
    WRITE_LITERAL(f, "2.pam", "P7\nWIDTH 1\nHEIGHT 1\nDEPTH 2\nMAXVAL 255\nENDHDR\n\x64\x80");
    corpus_options o = corpus_options_for(f, paths);
    o.min_side = 1;
    corpus *c = load_corpus(&o, &s);
    assert_int_equal(s.channels, 1); /* black is gray, so alpha over it stays gray */
    assert_memory_equal(corpus_picture(c, 0)->pixels, "\x64", 1);
    assert_memory_equal(corpus_picture(c, 1)->pixels, "\x32", 1); /* 100 * 128 / 255 = 50.2 */
    corpus_free(c);

    o.background[0] = 200;
    c = load_corpus(&o, &s);
    assert_int_equal(s.channels, 3); /* over red it is coloured */
    assert_memory_equal(corpus_picture(c, 0)->pixels, "\x64\x64\x64", 3);
    assert_memory_equal(corpus_picture(c, 1)->pixels, "\x96\x32\x32", 3); /* + 200 * 127 / 255 */
    corpus_free(c);

    WRITE_LITERAL(f, "3.ppm", "P6 1 1 255\n\x01\x02\x05");
    WRITE_LITERAL(f, "4.pam",
                  "P7\nWIDTH 1\nHEIGHT 1\nDEPTH 4\nMAXVAL 255\nENDHDR\n\x0a\x14\x1e\x80");
    o.background[0] = 0;
    c = load_corpus(&o, &s);
    assert_int_equal(s.channels, 3);
    assert_memory_equal(corpus_picture(c, 0)->pixels, "\x64\x64\x64", 3);
    assert_memory_equal(corpus_picture(c, 3)->pixels, "\x05\x0a\x0f", 3);
    corpus_free(c);

    o.channels = 1;
    c = load_corpus(&o, &s);
    assert_memory_equal(corpus_picture(c, 2)->pixels, "\x03", 1); /* (1 + 2 + 5 + 1) / 3 */
    assert_memory_equal(corpus_picture(c, 3)->pixels, "\x0a", 1);
    corpus_free(c);

    o.channels = 4;
    c = load_corpus(&o, &s);
    assert_int_equal(s.channels, 4);
    assert_memory_equal(corpus_picture(c, 0)->pixels, "\x64\x64\x64\xff", 4);
    assert_memory_equal(corpus_picture(c, 1)->pixels, "\x64\x64\x64\x80", 4);
    assert_memory_equal(corpus_picture(c, 2)->pixels, "\x01\x02\x05\xff", 4);
    assert_memory_equal(corpus_picture(c, 3)->pixels, "\x0a\x14\x1e\x80", 4);
    corpus_free(c);

    WRITE_LITERAL(f, "5.pam",
                  "P7\nWIDTH 1\nHEIGHT 1\nDEPTH 4\nMAXVAL 255\nENDHDR\n\x0a\x14\x1e\x00");
    c = load_corpus(&o, &s); /* a colour that cannot be seen is mid-gray */
    assert_memory_equal(corpus_picture(c, 4)->pixels, "\x80\x80\x80\x00", 4);
    corpus_free(c);
}

static void test_budget(void **state) {
    corpus_folder *f = *state;
    const char *const paths[] = {f->folder};
    write_many_pictures(f, 40);
    corpus_stats all, s;
    corpus_options o = corpus_options_for(f, paths);
    corpus *c = load_corpus(&o, &all);
    corpus_free(c);
    assert_int_equal(all.pictures, 40);
    for (int threads = 1; threads <= 5; threads += 2) {
        o = corpus_options_for(f, paths);
        o.threads = threads;
        o.memory_budget = (size_t)all.pixels * 3 / 2;
        c = load_corpus(&o, &s);
        /* The longest run of files that fits, from the first on. */
        size_t bytes = 0;
        for (size_t i = 0; i < s.pictures; i++) {
            assert_int_equal(mark(corpus_picture(c, i)), i * 5 % 256);
            bytes += (size_t)corpus_picture(c, i)->width * corpus_picture(c, i)->height * 3;
        }
        size_t next = s.pictures;
        bytes += (20 + next * 7 % 50) * (20 + next * 11 % 30) * 3;
        assert_true(bytes > o.memory_budget);
        assert_int_equal(s.pictures + s.over_budget, 40);
        assert_int_equal(s.pixels * 3 <= o.memory_budget, true);
        assert_int_equal(f->skipped_count, s.over_budget);
        corpus_free(c);
    }
    /* With the number of channels open, gray pictures count as what they may become. */
    write_picture(f, "!gray.pgm", 100, 100, 1, 0);
    o = corpus_options_for(f, paths);
    o.memory_budget = 10000;
    c = load_corpus(&o, &s);
    assert_int_equal(s.channels, 1);
    assert_int_equal(s.pictures, 1);
    assert_int_equal(s.over_budget, 40);
    corpus_free(c);
}

static void test_holdout(void **state) {
    corpus_folder *f = *state;
    const char *const paths[] = {f->folder};
    write_many_pictures(f, 40);
    unsigned held[3][4];
    for (int run = 0; run < 3; run++) {
        corpus_options o = corpus_options_for(f, paths);
        o.holdout = 0.1;
        o.seed = run == 2 ? 8 : 7;
        o.threads = run + 1;
        corpus_stats s;
        corpus *c = load_corpus(&o, &s);
        assert_int_equal(s.pictures, 36);
        assert_int_equal(s.holdout_pictures, 4);
        bool seen[256] = {false};
        for (size_t i = 0; i < 40; i++) {
            const vqz_image *image = i < 36 ? corpus_picture(c, i) : corpus_holdout(c, i - 36);
            assert_false(seen[mark(image)]);
            seen[mark(image)] = true;
            if (i >= 36)
                held[run][i - 36] = mark(image);
        }
        corpus_free(c);
    }
    assert_memory_equal(held[0], held[1], sizeof held[0]);
    assert_memory_not_equal(held[0], held[2], sizeof held[0]);

    corpus_options o = corpus_options_for(f, paths);
    corpus_stats s;
    o.holdout = 1e-9; /* any fraction holds out at least one picture, */
    corpus *c = load_corpus(&o, &s);
    assert_int_equal(s.holdout_pictures, 1);
    corpus_free(c);
    o.holdout = 0.999; /* and leaves at least one, */
    c = load_corpus(&o, &s);
    assert_int_equal(s.pictures, 1);
    corpus_free(c);
    char path[256];
    snprintf(path, sizeof path, "%s/007.ppm", f->folder);
    const char *const one[] = {path};
    o.paths = one; /* and the only one is trained on */
    c = load_corpus(&o, &s);
    assert_int_equal(s.pictures, 1);
    assert_int_equal(s.holdout_pictures, 0);
    corpus_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST_IN_FOLDER(test_what_is_found), TEST_IN_FOLDER(test_empty),
        TEST_IN_FOLDER(test_channels),      TEST_IN_FOLDER(test_budget),
        TEST_IN_FOLDER(test_holdout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
