/*
 * test_views.c - what the program does with models that have a prior, and with parts of files: coders,
 * targets, crops, files that were cut, index arrays, samples.
 *
 * Each test runs the real program in its own folder, which holds plain.vqm, prior.vqm (small random
 * models, the second with a prior) and a.png, and nothing else.
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

#include "cli/text.h"
#include "tests/support/picture_file.h"
#include "tests/support/program.h"

enum { START_FILES = 3, WIDTH = 431, HEIGHT = 580 };

static int set_up(void **state) {
    if (program_enter_folder(state) != 0)
        return -1;
    save_model("plain.vqm", 1, NULL);
    save_prior_model("prior.vqm", 2, 3);
    save_picture("a.png", WIDTH, HEIGHT, 3, 1);
    return 0;
}

static void assert_contains(const char *text, const char *part) {
    if (strstr(text, part) == NULL)
        fail_msg("'%s' is not in '%s'", part, text);
}

/* One error line "vqz: <start>...", exit code 1, and so many files beside. */
static void assert_fails(program_result r, const char *start, const char *part, int files) {
    char prefix[256];
    snprintf(prefix, sizeof prefix, "vqz: %s", start);
    if (r.code != 1 || strncmp(r.err, prefix, strlen(prefix)) != 0)
        fail_msg("exit %d, '%s' instead of 1, '%s...'", r.code, r.err, prefix);
    assert_contains(r.err, part);
    assert_ptr_equal(strchr(r.err, '\n'), r.err + strlen(r.err) - 1);
    assert_int_equal(count_files("."), files);
}

static void assert_done(program_result r) {
    if (r.code != 0 || r.err[0] != '\0')
        fail_msg("exit %d, signal %d, '%s'", r.code, r.signal, r.err);
}

static long file_size(const char *path) {
    struct stat facts;
    assert_int_equal(stat(path, &facts), 0);
    return (long)facts.st_size;
}

static picture load(const char *path) {
    picture p;
    vqz_diag diag = {""};
    if (picture_file_read(&p, path, 1u << 26, &diag) != VQZ_OK)
        fail_msg("%s: %s", path, diag.message);
    return p;
}

static void cut_file(const char *from, const char *to, size_t size) {
    size_t all;
    char *data = read_test_file(from, &all);
    assert_true(size <= all);
    write_test_file(to, data, size);
    free(data);
}

/* ---- coders ---- */

static void test_coders(void **state) {
    (void)state;
    assert_done(run_vqz("compress -m prior.vqm --entropy=rans a.png -o r.vqz"));
    assert_done(run_vqz("compress -m prior.vqm --entropy zstd a.png -o z.vqz"));
    assert_done(run_vqz("compress -m prior.vqm --effort 1 --progressive --entropy rans a.png -o p.vqz"));
    assert_done(run_vqz("compress -m prior.vqm a.png"));
    assert_int_equal(file_size("a.vqz"), file_size("r.vqz"));
    assert_done(run_vqz("compress -m prior.vqm --effort 7 --entropy rans a.png -o r7.vqz"));
    assert_done(run_vqz("compress -m prior.vqm --effort 7 --entropy zstd a.png -o z7.vqz"));
    assert_done(run_vqz("compress -m prior.vqm --effort 7 a.png -o a7.vqz"));
    long rans = file_size("r7.vqz"), zstd = file_size("z7.vqz");
    assert_int_equal(file_size("a7.vqz"), rans < zstd ? rans : zstd);
    for (int i = 0; i < 3; i++)
        assert_int_equal(unlink((const char *[]){"a7.vqz", "r7.vqz", "z7.vqz"}[i]), 0);
    program_result r = run_vqz("info --json r.vqz");
    assert_done(r);
    assert_true(json_is_valid(r.out));
    assert_contains(r.out, "\"version\": 2,");
    assert_contains(r.out, "\"tiles\": 4, \"entropy\": \"rans\", \"progressive\": false,");
    assert_contains(r.out, "\"model_found\": \"./prior.vqm\"");
    r = run_vqz("info z.vqz p.vqz");
    assert_done(r);
    assert_contains(r.out, "zstd, 4 tiles\n");
    assert_contains(r.out, "rANS with the model's prior, 4 tiles, progressive\n");
    r = run_vqz("info prior.vqm");
    assert_done(r);
    assert_contains(r.out, "  prior       ");
    r = run_vqz("info --json prior.vqm");
    assert_done(r);
    assert_true(json_is_valid(r.out));
    assert_contains(r.out, "\"prior_macs_per_pixel\": ");
    assert_null(strstr(r.out, "\"prior_stages\": 0,"));
    assert_contains(run_vqz("info --json plain.vqm").out, "\"prior_stages\": 0,");

    r = run_vqz("eval -m prior.vqm --effort 2 --entropy zstd a.png");
    assert_done(r);
    assert_contains(r.out, "mean of 1 picture");
    int files = START_FILES + 4;
    assert_fails(run_vqz("compress -m plain.vqm --progressive a.png -o x.vqz"), "a.png: ",
                 "no prior", files);
    assert_fails(run_vqz("compress -m plain.vqm --entropy rans a.png -o x.vqz"), "a.png: ",
                 "no prior", files);
}

/* ---- targets ---- */

/* Bytes at the two ends of what a model gives. */
static void find_range(const char *model, long *least, long *most) {
    char line[128];
    snprintf(line, sizeof line, "compress -f -q 1 -m %s a.png -o x.vqz", model);
    assert_done(run_vqz(line));
    *least = file_size("x.vqz");
    snprintf(line, sizeof line, "compress -f -q 100 -m %s a.png -o x.vqz", model);
    assert_done(run_vqz(line));
    *most = file_size("x.vqz");
    assert_int_equal(unlink("x.vqz"), 0);
}

static void test_target_size(void **state) {
    (void)state;
    static const char *const models[] = {"plain.vqm", "prior.vqm"};
    for (int i = 0; i < 2; i++) {
        char line[160], said[80];
        long least, most;
        find_range(models[i], &least, &most);
        /* whether a random model comes near: either it does, or a line says that it does not */
        long wanted = (least + most) / 2;
        snprintf(line, sizeof line, "compress -m %s --target-size %ld a.png -o t.vqz", models[i],
                 wanted);
        program_result r = run_vqz(line);
        assert_int_equal(r.code, 0);
        long got = file_size("t.vqz");
        bool near = got <= wanted * 1.03 && got >= wanted * 0.97;
        assert_int_equal(r.err[0] == '\0', near);
        /* the same file at each run, and the same wish in bits per pixel */
        snprintf(line, sizeof line, "compress -m %s --target-bpp %.9f a.png -o u.vqz", models[i],
                 8.0 * (double)wanted / (WIDTH * HEIGHT));
        assert_int_equal(run_vqz(line).code, 0);
        assert_int_equal(file_size("u.vqz"), got);

        snprintf(line, sizeof line, "compress -f -m %s --target-size 1 a.png -o t.vqz", models[i]);
        r = run_vqz(line);
        assert_int_equal(r.code, 0);
        snprintf(said, sizeof said, "vqz: a.png: warning: 1 byte cannot be met: %ld bytes",
                 file_size("t.vqz"));
        assert_contains(r.err, said);
        snprintf(line, sizeof line, "compress -f --quiet -m %s --target-bpp 900 a.png -o t.vqz",
                 models[i]);
        assert_done(run_vqz(line));
        assert_true(file_size("t.vqz") >= most - most / 50);
        unlink("t.vqz");
        unlink("u.vqz");
    }
    assert_int_equal(count_files("."), START_FILES);
}

/* The PSNR that eval prints at the quality found is the one that was asked for, or nearest to it. */
static void test_target_psnr(void **state) {
    (void)state;
    size_t size;
    char *png = read_test_file("a.png", &size);
    program_input in = {.data = png, .size = size};
    program_result r = run_vqz_with("compress -m prior.vqm --target-psnr 99 - -o t.vqz", &in);
    free(png);
    assert_int_equal(r.code, 0);
    assert_contains(r.err, "vqz: standard input: warning: 99.00 dB cannot be met: ");
    assert_contains(r.err, "is nearest\n");
    double reached = 0;
    assert_int_equal(sscanf(strstr(r.err, "met: "), "met: %lf dB", &reached), 1);
    picture a = load("a.png");
    assert_done(run_vqz("decompress t.vqz -o t.png"));
    picture b = load("t.png");
    double squares = 0;
    for (size_t i = 0; i < a.image.stride * a.image.height; i++)
        squares += (a.image.pixels[i] - b.image.pixels[i]) * (a.image.pixels[i] - b.image.pixels[i]);
    double limit = squares / (3.0 * WIDTH * HEIGHT) * 1.01;
    /* 10 log10(255^2 / mse) without a logarithm: 10^(reached / 10) * mse is 255^2 */
    double power = 1;
    for (int i = 0; i < 1000; i++)
        power *= 1 + reached * 0.0002302585093; /* e^(reached ln 10 / 10) */
    assert_true(power * limit > 65025 * 0.98 && power * limit < 65025 * 1.03);
    picture_clear(&a);
    picture_clear(&b);
    write_test_file("bad.png", "bad", 3);
    assert_fails(run_vqz("compress -m prior.vqm --target-psnr 30 bad.png"), "bad.png: ", "",
                 START_FILES + 3);
}

/* ---- crops ---- */

static void test_crop(void **state) {
    (void)state;
    static const char *const models[] = {"plain.vqm", "prior.vqm"};
    for (int i = 0; i < 2; i++) {
        char line[128];
        snprintf(line, sizeof line, "compress -f -m %s a.png", models[i]);
        assert_done(run_vqz(line));
        assert_done(run_vqz("decompress -f a.vqz -o whole.png"));
        assert_done(run_vqz("decompress -f a.vqz --crop 33x40+390+500 -o part.png"));
        picture whole = load("whole.png"), part = load("part.png");
        assert_int_equal(part.image.width, 33);
        assert_int_equal(part.image.height, 40);
        assert_int_equal(part.exif_size, whole.exif_size);
        for (uint32_t y = 0; y < 40; y++)
            assert_memory_equal(part.image.pixels + y * part.image.stride,
                                whole.image.pixels + (500 + y) * whole.image.stride + 390 * 3,
                                33 * 3);
        picture_clear(&whole);
        picture_clear(&part);
    }
    int files = START_FILES + 3;
    assert_fails(run_vqz("decompress a.vqz --crop 33x40+399+500 -o x.png"), "a.vqz: ", "431x580",
                 files);
    assert_fails(run_vqz("decompress a.vqz --crop 33x40+0+600 -o x.png"), "a.vqz: ",
                 "33x40+0+600", files);
}

/* ---- files that were cut ---- */

static void test_partial(void **state) {
    (void)state;
    static const char *const commands[] = {
        "compress -f -m plain.vqm --strip a.png",
        "compress -f -m prior.vqm --strip --entropy rans --progressive a.png",
        "compress -f -m prior.vqm --strip --entropy zstd a.png",
    };
    for (size_t i = 0; i < 3; i++) {
        assert_done(run_vqz(commands[i]));
        assert_done(run_vqz("decompress -f a.vqz -o whole.png"));
        size_t size = (size_t)file_size("a.vqz");
        cut_file("a.vqz", "cut.vqz", size / 2);
        assert_fails(run_vqz("decompress cut.vqz"), "cut.vqz: ", "--partial", START_FILES + 3);
        program_result r = run_vqz("decompress --partial cut.vqz");
        assert_int_equal(r.code, 0);
        assert_contains(r.err, "vqz: cut.vqz: warning: is cut short or damaged: its ");
        picture p = load("cut.png");
        assert_int_equal(p.image.width, WIDTH);
        assert_int_equal(p.image.height, HEIGHT);
        picture_clear(&p);
        unlink("cut.png");
        /* a file that is whole is nothing special */
        assert_done(run_vqz("decompress -f --partial a.vqz -o same.png"));
        picture a = load("whole.png"), b = load("same.png");
        assert_memory_equal(a.image.pixels, b.image.pixels, a.image.stride * HEIGHT);
        picture_clear(&a);
        picture_clear(&b);
        unlink("same.png");
        assert_done(run_vqz("decompress --quiet --partial --crop 20x30+5+6 cut.vqz -o cut.png"));
        unlink("cut.png");
        cut_file("a.vqz", "cut.vqz", 9);
        assert_fails(run_vqz("decompress --partial cut.vqz"), "cut.vqz: ", "header",
                     START_FILES + 3);
        assert_null(strstr(run_vqz("decompress cut.vqz").err, "--partial"));
        unlink("cut.vqz");
    }
    write_test_file("no.vqz", "no picture", 10);
    assert_fails(run_vqz("decompress --partial no.vqz"), "no.vqz: ", "not a .vqz", START_FILES + 3);
}

/* ---- index arrays ---- */

static void test_tokens(void **state) {
    (void)state;
    static const char *const models[] = {"plain.vqm", "prior.vqm"};
    for (int i = 0; i < 2; i++) {
        char line[128];
        snprintf(line, sizeof line, "compress -f -m %s a.png", models[i]);
        assert_done(run_vqz(line));
        assert_done(run_vqz("tokens -f a.vqz"));
        size_t size;
        unsigned planes, rows, columns;
        char *array = read_test_file("a.npy", &size);
        assert_memory_equal(array, "\x93NUMPY\x01", 7);
        size_t start = 10 + (unsigned char)array[8] + 256u * (unsigned char)array[9];
        assert_int_equal(start % 64, 0);
        assert_int_equal(array[start - 1], '\n');
        assert_int_equal(sscanf(array + 10,
                                "{'descr': '<u2', 'fortran_order': False, 'shape': (%u, %u, %u), }",
                                &planes, &rows, &columns),
                         3);
        assert_int_equal(rows, (HEIGHT + 7) / 8);
        assert_int_equal(columns, (WIDTH + 7) / 8);
        assert_int_equal(size, start + 2ull * planes * rows * columns);
        for (size_t k = start; k < size; k += 2) /* codes of these models are below 256 */
            assert_int_equal(array[k + 1], 0);
        program_result r = run_vqz("tokens a.vqz -o -");
        assert_done(r);
        assert_int_equal(r.out_size, size);
        assert_memory_equal(r.out, array, size);
        free(array);
    }
    cut_file("a.vqz", "cut.vqz", 40);
    int files = START_FILES + 3;
    assert_fails(run_vqz("tokens cut.vqz"), "cut.vqz: ", "cut short", files);
    assert_fails(run_vqz("tokens a.vqz"), "a.npy: ", "-f", files);
    assert_fails(run_vqz("tokens --max-memory 1k a.vqz -o b.npy"), "a.vqz: ", "memory", files);
}

/* ---- samples ---- */

static void test_sample(void **state) {
    (void)state;
    static const uint32_t channels[] = {1, 3, 4};
    for (int i = 0; i < 3; i++) {
        save_prior_model("m.vqm", 20, channels[i]);
        assert_done(run_vqz("sample -f -m m.vqm -n 5 --size 40x30 --seed 7 -o s.png"));
        picture p = load("s.png");
        assert_int_equal(p.image.width, 3 * 40 + 2 * 2);
        assert_int_equal(p.image.height, 2 * 30 + 2);
        assert_int_equal(p.image.channels, channels[i]);
        /* picture i of seed s is picture 0 of seed s + i, whatever computes it */
        program_input scalar = {.environment = "VQZ_CPU=scalar"};
        assert_done(run_vqz_with("sample -f -T1 -m m.vqm -n 1 --size 40x30 --seed 11 -o one.png",
                                 &scalar));
        picture one = load("one.png");
        for (uint32_t y = 0; y < 30; y++)
            assert_memory_equal(p.image.pixels + (32 + y) * p.image.stride + 42 * channels[i],
                                one.image.pixels + y * one.image.stride, one.image.stride);
        /* the gap, and the place that stays empty */
        uint8_t blank = channels[i] == 4 ? 0 : 255;
        assert_int_equal(p.image.pixels[40 * channels[i]], blank);
        assert_int_equal(p.image.pixels[61 * p.image.stride + 100 * channels[i]], blank);
        picture_clear(&p);
        picture_clear(&one);
        if (channels[i] == 1)
            assert_fails(run_vqz("sample -m m.vqm -o x.ppm"), "x.ppm: ", "gray", START_FILES + 3);
    }
    int files = START_FILES + 3;
    assert_fails(run_vqz("sample -m plain.vqm -o x.png"), "plain.vqm: ", "no prior", files);
    assert_fails(run_vqz("sample -m none.vqm -o x.png"), "model none.vqm: ", "", files);
    assert_fails(run_vqz("sample -m m.vqm -o s.png"), "s.png: ", "-f", files);
    assert_fails(run_vqz("sample -m m.vqm -o x.ppm"), "x.ppm: ", "alpha", files);
    assert_fails(run_vqz("sample -m m.vqm -n 10000 --size 9999x9999 -o x.png"), "m.vqm: ", "fewer",
                 files);
    program_result r = run_vqz("sample -m prior.vqm -n 2 --size 9x8 --temperature 0.5 -q 90 -o -");
    assert_done(r);
    assert_memory_equal(r.out, "\x89PNG", 4);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, program_leave_folder)
    const struct CMUnitTest tests[] = {
        TEST(test_coders),  TEST(test_target_size), TEST(test_target_psnr), TEST(test_crop),
        TEST(test_partial), TEST(test_tokens),      TEST(test_sample),
    };
    if (!program_find())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
