/*
 * test_verify.c - vqz test, and --rm, which may delete a source only when nothing of it is lost;
 * what --partial says of files that lack little; outputs that would be folders.
 *
 * Each test runs the real program in its own folder, which holds model.vqm (a small random model)
 * and a.png, and nothing else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/container.h"
#include "tests/support/program.h"

enum { START_FILES = 2 };

static int set_up(void **state) {
    if (program_enter_folder(state) != 0)
        return -1;
    save_model("model.vqm", 1, NULL);
    save_picture("a.png", 61, 45, 3, 1);
    return 0;
}

static void assert_done(program_result r, const char *out) {
    if (r.code != 0 || r.err[0] != '\0' || strcmp(r.out, out) != 0)
        fail_msg("exit %d, '%s', '%s' instead of '%s'", r.code, r.err, r.out, out);
}

static void assert_says(program_result r, int code, const char *part) {
    if (r.code != code || strstr(r.err, part) == NULL)
        fail_msg("exit %d, '%s' instead of %d, '%s'", r.code, r.err, code, part);
}

/* Writes the first `size` bytes (0: all) of a file, one of them changed unless `at` is beyond. */
static void save_damaged(const char *from, const char *to, long size, size_t at) {
    size_t all;
    char *data = read_test_file(from, &all);
    if (size < 0)
        all -= (size_t)-size;
    if (at < all)
        data[at] ^= 4;
    write_test_file(to, data, all);
    free(data);
}

/* ---- vqz test ---- */

static void test_good_and_bad(void **state) {
    (void)state;
    assert_done(run_vqz("compress -m model.vqm a.png"), "");
    assert_done(run_vqz("test a.vqz"), "a.vqz: good\n"); /* the model lies beside it */
    assert_done(run_vqz("test -q a.vqz"), "");
    program_result r = run_vqz("test -v a.vqz model.vqm");
    assert_says(r, 0, "vqz: a.vqz: 61x45, 3 channels");
    assert_string_equal(r.out, "a.vqz: good\nmodel.vqm: good\n");
    save_damaged("a.vqz", "b.vqz", 0, 40);
    save_damaged("a.vqz", "c.vqz", -3, 99999);
    save_damaged("model.vqm", "d.vqm", 0, 300);
    write_test_file("e.vqz", "no picture", 10);
    int files = count_files(".");
    r = run_vqz("test b.vqz a.vqz c.vqz d.vqm e.vqz none.vqz");
    assert_int_equal(r.code, 1);
    assert_string_equal(r.out, "a.vqz: good\n");
    static const char *const bad[] = {"vqz: none.vqz: ", "vqz: b.vqz: ", "vqz: c.vqz: ",
                                      "vqz: d.vqm: ",    "vqz: e.vqz: ", "vqz: 5 of 6 failed\n"};
    size_t lines = 0;
    for (const char *at = r.err; *at != '\0'; at += strcspn(at, "\n") + 1)
        lines++;
    assert_int_equal(lines, sizeof bad / sizeof *bad);
    for (size_t i = 0; i < lines; i++)
        assert_non_null(strstr(r.err, bad[i]));
    assert_int_equal(count_files("."), files); /* nothing is written */
    assert_says(run_vqz("test -q b.vqz"), 1, "vqz: b.vqz: ");
    assert_says(run_vqz("test --max-pixels 100 a.vqz"), 1, "--max-pixels");
}

static void test_models_and_folders(void **state) {
    (void)state;
    mkdir("in", 0777);
    mkdir("in/deep", 0777);
    assert_done(run_vqz("compress -m model.vqm a.png -o in/deep/a.vqz"), "");
    assert_done(run_vqz("compress -m model.vqm a.png -o in/b.vqz"), "");
    assert_says(run_vqz("test -r in"), 1, "model");
    assert_says(run_vqz("test in"), 1, "-r");
    assert_done(run_vqz("test -r -T2 -m model.vqm in"), "in/b.vqz: good\nin/deep/a.vqz: good\n");
    save_model("in/other.vqm", 2, NULL);
    assert_says(run_vqz("test -m in/other.vqm in/b.vqz"), 1, "given with -m");
    size_t size;
    char *file = read_test_file("in/b.vqz", &size);
    program_input in = {.data = file, .size = size};
    assert_done(run_vqz_with("test -m model.vqm -", &in), "standard input: good\n");
    free(file);
    program_input full = {.output = "/dev/full"};
    assert_says(run_vqz_with("test -m model.vqm in/b.vqz", &full), 1, "standard output");
}

/* A checksum that matches says nothing about codes that are missing before it; and what it vouches
   for is not shown in part. */
static void test_right_checksum(void **state) {
    (void)state;
    assert_done(run_vqz("compress -m model.vqm a.png"), "");
    size_t size;
    char *file = read_test_file("a.vqz", &size);
    size -= 8;
    uint32_t crc = vqzi_crc32(0, file, size - 4);
    for (int i = 0; i < 4; i++)
        file[size - 4 + (size_t)i] = (char)(crc >> (8 * i));
    write_test_file("b.vqz", file, size);
    free(file);
    assert_int_equal(run_vqz("info b.vqz").code, 0);
    assert_says(run_vqz("test b.vqz"), 1, "damaged");
    assert_says(run_vqz("decompress --partial b.vqz"), 1, "damaged");
    assert_false(file_exists("b.png"));
}

/* ---- --rm ---- */

static void test_sources_go(void **state) {
    (void)state;
    save_picture("b.png", 20, 20, 4, 2);
    assert_done(run_vqz("compress --rm -m model.vqm a.png b.png"), "");
    assert_false(file_exists("a.png") || file_exists("b.png"));
    assert_int_equal(count_files("."), 3);
    assert_done(run_vqz("test a.vqz b.vqz"), "a.vqz: good\nb.vqz: good\n");
    assert_done(run_vqz("decompress --rm a.vqz b.vqz -o out/"), "");
    assert_false(file_exists("a.vqz") || file_exists("b.vqz"));
    assert_true(file_exists("out/a.png") && file_exists("out/b.png"));
    assert_done(run_vqz("compress --rm -r -m model.vqm out -o new/tree"), "");
    assert_int_equal(count_files("out"), 0);
    assert_int_equal(count_files("new/tree"), 2);
}

static void test_sources_stay(void **state) {
    (void)state;
    assert_done(run_vqz("compress -m model.vqm a.png"), "");
    /* outputs that are none, or are not all */
    assert_says(run_vqz("compress --rm -m model.vqm a.png -o -"), 2, "--rm and -o -");
    assert_says(run_vqz("decompress --rm -m model.vqm a.vqz -o -"), 2, "--rm and -o -");
    assert_says(run_vqz("decompress --rm --crop 5x5+0+0 a.vqz -o b.png"), 2, "--rm and --crop");
    save_damaged("a.vqz", "cut.vqz", -6, 99999);
    assert_says(run_vqz("decompress --rm --partial cut.vqz"), 0, "is kept: it is not whole");
    assert_true(file_exists("cut.vqz"));
    assert_says(run_vqz("decompress --rm a.vqz -o a.ppm"), 0, "is kept: its ICC profile or EXIF");
    assert_says(run_vqz("compress --rm -m model.vqm --target-psnr 90 a.png -o t.vqz"), 0,
                "is kept: the target was not met");
    /* failures */
    assert_says(run_vqz("compress --rm -m model.vqm a.png"), 1, "-f");
    assert_says(run_vqz("compress --rm -m model.vqm a.png -o none/a.vqz"), 1, "none/a.vqz");
    assert_says(run_vqz("decompress --rm cut.vqz -o x.png"), 1, "cut.vqz");
    assert_says(run_vqz("decompress --rm -f -o a.vqz a.vqz"), 1, "input");
    /* links: the name alone would go */
    assert_int_equal(symlink("a.png", "link.png"), 0);
    assert_says(run_vqz("compress --rm -m model.vqm link.png"), 1, "is a link");
    assert_true(file_exists("link.png") && file_exists("link.vqz"));
    /* of two that fall on each other the one that is made goes */
    save_picture("twin.png", 9, 9, 3, 3);
    save_picture("twin.ppm", 9, 9, 3, 4);
    assert_says(run_vqz("compress --rm -m model.vqm twin.png twin.ppm"), 1, "would become");
    assert_true(!file_exists("twin.png") && file_exists("twin.ppm"));
    assert_true(file_exists("a.png") && file_exists("a.vqz") && file_exists("cut.vqz"));
    /* standard input is none */
    size_t size;
    char *png = read_test_file("a.png", &size);
    program_input in = {.data = png, .size = size};
    assert_int_equal(run_vqz_with("compress --rm -m model.vqm - -o s.vqz", &in).code, 0);
    free(png);
}

/* ---- what is said ---- */

static void test_little_missing(void **state) {
    (void)state;
    assert_done(run_vqz("compress -m model.vqm a.png"), "");
    assert_done(run_vqz("decompress a.vqz -o whole.png"), "");
    save_damaged("a.vqz", "cut.vqz", -2, 99999);
    assert_says(run_vqz("decompress --partial cut.vqz"), 0,
                "its checksum is missing or wrong: all of its codes are there");
    save_damaged("a.vqz", "cut.vqz", -20, 99999);
    assert_says(run_vqz("decompress -f --partial cut.vqz"), 0, "is cut short or damaged: its ");
    assert_says(run_vqz("decompress -f cut.vqz"), 1, "decompress --partial shows");
    assert_says(run_vqz("compress -f -m model.vqm --target-size 1 a.png"), 0,
                "warning: 1 byte cannot be met");
}

static void test_output_names(void **state) {
    (void)state;
    save_picture("b.png", 20, 20, 4, 2);
    assert_says(run_vqz("compress -m model.vqm a.png b.png -o x.vqz"), 1, "looks like one file");
    assert_done(run_vqz("compress -m model.vqm a.png b.png"), "");
    assert_says(run_vqz("decompress a.vqz b.vqz -o x.png"), 1, "-o x.png/");
    assert_says(run_vqz("tokens a.vqz b.vqz -o x.npy"), 1, "looks like one file");
    assert_says(run_vqz("decompress -r . -o x.PNG"), 1, "looks like one file");
    assert_int_equal(count_files("."), START_FILES + 3);
    assert_done(run_vqz("decompress -m model.vqm a.vqz b.vqz -o x.png/"), "");
    assert_done(run_vqz("decompress -f -m model.vqm a.vqz b.vqz -o x.png"), "");
    assert_int_equal(count_files("x.png"), 2);
    assert_done(run_vqz("decompress -m model.vqm a.vqz b.vqz -o new"), "");
    assert_int_equal(count_files("new"), 2);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, program_leave_folder)
    const struct CMUnitTest tests[] = {
        TEST(test_good_and_bad), TEST(test_models_and_folders), TEST(test_right_checksum),
        TEST(test_sources_go),   TEST(test_sources_stay),       TEST(test_little_missing),
        TEST(test_output_names),
    };
    if (!program_find())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
