/*
 * test_cli.c - the program as its users meet it: exit code, standard output, standard error, files.
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

#include "cli/text.h"
#include "tests/support/program.h"

enum { START_FILES = 2 };
static char model_hash[9];

static int set_up(void **state) {
    if (program_enter_folder(state) != 0)
        return -1;
    save_model("model.vqm", 1, model_hash);
    save_picture("a.png", 61, 45, 3, 1);
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

static void assert_same_files(const char *a, const char *b) {
    size_t size_a, size_b;
    char *data_a = read_test_file(a, &size_a), *data_b = read_test_file(b, &size_b);
    assert_int_equal(size_a, size_b);
    assert_memory_equal(data_a, data_b, size_a);
    free(data_a);
    free(data_b);
}

static void assert_starts(const char *path, const char *start) {
    size_t size;
    char *data = read_test_file(path, &size);
    assert_true(size >= strlen(start));
    assert_memory_equal(data, start, strlen(start));
    free(data);
}

/* ---- usage ---- */

static void test_usage(void **state) {
    (void)state;
    static const char *const wrong[][2] = {
        { "", "Usage" },
        { "frobnicate", "unknown command" },
        { "--frobnicate", "unknown option" },
        { "compress", "no picture given" },
        { "decompress -q", "no file given" },
        { "compress --qualty 3 a.png", "did you mean --quality?" },
        { "compress -q 0 a.png", "1 to 100" },
        { "compress -q 101 a.png", "1 to 100" },
        { "compress -q 5x a.png", "1 to 100" },
        { "compress a.png -q", "needs a value" },
        { "compress -Z a.png", "unknown option -Z" },
        { "compress --strip=yes a.png", "takes no value" },
        { "compress --max-memory 4X a.png", "--max-memory" },
        { "decompress --format gif a.vqz", "png|pnm" },
        { "eval -q 10,,20 a.png", "10,50,90" },
        { "train . -o x.vqm --time soon", "20m" },
        { "train . -o x.vqm --codebook best", "ema|loss" },
        { "train . -o x.vqm --background red", "ffffff" },
        { "train .", "-o MODEL.vqm" },
        { "train . -o x.vqm --time 1m --steps 3", "exclude" },
        { "compress --effort 10 a.png", "1 to 9" },
        { "compress --entropy huffman a.png", "auto|rans|zstd" },
        { "compress --target-size 0 a.png", "512M" },
        { "compress -q 50 --target-size 20k a.png", "exclude" },
        { "compress --target-psnr 30 --target-bpp 1 a.png", "exclude" },
        { "decompress --crop 10x10 a.vqz", "640x480+100+50" },
        { "decompress --crop 0x10+1+1 a.vqz", "640x480+100+50" },
        { "decompress --crop 10x10+1+-1 a.vqz", "640x480+100+50" },
        { "tokens", "no file given" },
        { "sample", "-o SHEET.png" },
        { "sample -o s.png a.png", "options alone" },
        { "sample -o s.png --size 10", "640x480" },
        { "sample -o s.png --temperature 9", "0.0625 to 4" },
        { "help frobnicate", "no such command" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        program_result r = run_vqz(wrong[i][0]);
        if (r.code != 2)
            fail_msg("'vqz %s' exits with %d", wrong[i][0], r.code);
        assert_contains(r.err, wrong[i][1]);
        assert_int_equal(r.out_size, 0);
    }
    program_input odd = { .environment = "VQZ_CPU=quantum" };
    program_result r = run_vqz_with("compress -m model.vqm a.png", &odd);
    assert_int_equal(r.code, 2);
    assert_contains(r.err, "VQZ_CPU");
    assert_int_equal(count_files("."), START_FILES);
}

static void test_help(void **state) {
    (void)state;
    static const char *const commands[] = { "compress", "decompress", "test", "info", "eval",
                                            "tokens",   "sample",     "train" };
    program_result r = run_vqz("--help");
    assert_done(r);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        assert_contains(r.out, commands[i]);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        char line[64];
        snprintf(line, sizeof line, "%s -h", commands[i]);
        r = run_vqz(line);
        assert_done(r);
        assert_contains(r.out, "--help");
        for (const char *at = r.out; *at != '\0'; at += strcspn(at, "\n") + 1)
            assert_true(strcspn(at, "\n") <= 100);
    }
    r = run_vqz("-V");
    assert_done(r);
    assert_contains(r.out, vqz_version());
}

/* ---- there and back ---- */

static void test_there_and_back(void **state) {
    (void)state;
    rename("a.png", "source.png");
    save_picture("a.png", 61, 45, 3, 1);
    assert_done(run_vqz("compress -m model.vqm a.png"));
    assert_starts("a.vqz", "VQZ");
    assert_same_files("a.png", "source.png");
    assert_done(run_vqz("decompress a.vqz -o b.png")); /* the model lies beside the file */
    assert_starts("b.png", "\x89PNG");

    /* neither threads nor instruction set show */
    program_input scalar = { .environment = "VQZ_CPU=scalar" };
    assert_done(run_vqz_with("compress -T1 -m model.vqm a.png -o c.vqz", &scalar));
    assert_same_files("a.vqz", "c.vqz");
    assert_done(run_vqz_with("decompress -T1 c.vqz", &scalar));
    assert_same_files("b.png", "c.png");

    /* the quality reaches the file */
    assert_done(run_vqz("compress -m model.vqm -q 90 a.png -o d.vqz"));
    program_result r = run_vqz("info --json d.vqz");
    assert_done(r);
    assert_contains(r.out, "\"quality\": 90,");
}

static void test_formats(void **state) {
    (void)state;
    save_picture("gray.pgm", 20, 9, 1, 2);
    save_picture("alpha.png", 20, 9, 4, 3);
    assert_done(run_vqz("compress -m model.vqm a.png gray.pgm alpha.png"));
    assert_done(run_vqz("decompress a.vqz -o a.ppm"));
    assert_starts("a.ppm", "P6");
    assert_done(run_vqz("decompress gray.vqz --format pnm"));
    assert_starts("gray.pnm", "P5");
    assert_done(run_vqz("decompress gray.vqz --format ppm"));
    assert_starts("gray.ppm", "P6");
    assert_done(run_vqz("decompress alpha.vqz -o alpha.pam"));
    assert_starts("alpha.pam", "P7");
    int files = count_files(".");
    assert_fails(run_vqz("decompress a.vqz -o a.pgm"), "a.vqz: ", "colour", files);
    assert_fails(run_vqz("decompress alpha.vqz -o b.ppm"), "alpha.vqz: ", "alpha", files);
    /* gray spread to three equal samples */
    size_t pgm_size, ppm_size;
    char *pgm = read_test_file("gray.pnm", &pgm_size), *ppm = read_test_file("gray.ppm", &ppm_size);
    for (size_t i = 1; i <= 20 * 9; i++)
        for (size_t c = 0; c < 3; c++)
            assert_int_equal(pgm[pgm_size - i], ppm[ppm_size - 3 * i + c]);
    free(pgm);
    free(ppm);
}

static void test_standard_streams(void **state) {
    (void)state;
    assert_done(run_vqz("compress -m model.vqm a.png"));
    assert_done(run_vqz("decompress a.vqz -o b.png"));
    size_t png_size, vqz_size, back_size;
    char *png = read_test_file("a.png", &png_size), *vqz = read_test_file("a.vqz", &vqz_size);
    char *back = read_test_file("b.png", &back_size);
    program_input in = { .data = png, .size = png_size };
    program_result r = run_vqz_with("compress -m model.vqm -", &in);
    assert_done(r);
    assert_int_equal(r.out_size, vqz_size);
    assert_memory_equal(r.out, vqz, vqz_size);
    in = (program_input){ .data = vqz, .size = vqz_size };
    r = run_vqz_with("decompress -m model.vqm -", &in);
    assert_done(r);
    assert_int_equal(r.out_size, back_size);
    assert_memory_equal(r.out, back, back_size);
    r = run_vqz_with("decompress -m model.vqm --format pnm - -o -", &in);
    assert_done(r);
    assert_memory_equal(r.out, "P6\n61 45\n255\n", 13);
    r = run_vqz_with("decompress -m model.vqm - -o x.png", &in);
    assert_done(r);
    assert_same_files("x.png", "b.png");
    r = run_vqz_with("compress -m model.vqm - -", &in);
    assert_int_equal(r.code, 1);
    free(png);
    free(vqz);
    free(back);
}

static void test_metadata(void **state) {
    (void)state;
    assert_done(run_vqz("compress -m model.vqm a.png"));
    assert_done(run_vqz("compress -m model.vqm --strip a.png -o bare.vqz"));
    assert_contains(run_vqz("info --json a.vqz").out, "\"exif_bytes\": 14,");
    assert_contains(run_vqz("info --json bare.vqz").out, "\"exif_bytes\": 0,");
    assert_done(run_vqz("decompress a.vqz -o b.png"));
    assert_done(run_vqz("compress -m model.vqm b.png"));
    assert_contains(run_vqz("info --json b.vqz").out, "\"exif_bytes\": 14,");
    size_t size;
    char *png = read_test_file("b.png", &size);
    const char *first = memmem(png, size, "eXIf", 4);
    assert_non_null(first);
    assert_null(memmem(first + 4, size - (size_t)(first + 4 - png), "eXIf", 4));
    free(png);
}

/* ---- several files, folders ---- */

static void test_several_files(void **state) {
    (void)state;
    write_test_file("bad.png", "no picture", 10);
    save_picture("b.png", 16, 16, 1, 4);
    program_result r = run_vqz("compress -m model.vqm a.png bad.png missing.png b.png");
    assert_int_equal(r.code, 1);
    assert_contains(r.err, "vqz: bad.png: ");
    assert_contains(r.err, "vqz: missing.png: ");
    assert_contains(r.err, "2 of 4 failed");
    assert_true(file_exists("a.vqz") && file_exists("b.vqz") && !file_exists("bad.vqz"));
    assert_int_equal(count_files("."), START_FILES + 4);
    assert_done(run_vqz("decompress a.vqz b.vqz -o out/"));
    assert_true(file_exists("out/a.png") && file_exists("out/b.png"));
    assert_int_equal(run_vqz("decompress a.vqz b.vqz -o a.png").code, 1);
    assert_int_equal(run_vqz("decompress a.vqz b.vqz -o -").code, 1);
}

static void test_folders(void **state) {
    (void)state;
    mkdir("in", 0777);
    mkdir("in/deep", 0777);
    save_picture("in/x.png", 16, 16, 3, 1);
    save_picture("in/deep/y.ppm", 16, 16, 3, 2);
    write_test_file("in/notes.txt", "text", 4);
    assert_fails(run_vqz("compress -m model.vqm in"), "in: ", "-r", START_FILES + 1);
    assert_done(run_vqz("compress -m model.vqm -r in -o out"));
    assert_true(file_exists("out/x.vqz") && file_exists("out/deep/y.vqz"));
    assert_int_equal(count_files("out"), 2);
    assert_done(run_vqz("compress -m model.vqm -r in"));
    assert_same_files("in/x.vqz", "out/x.vqz");
    assert_same_files("in/deep/y.vqz", "out/deep/y.vqz");
    assert_done(run_vqz("decompress -m model.vqm -r out"));
    assert_true(file_exists("out/deep/y.png"));
    mkdir("empty", 0777);
    assert_fails(run_vqz("compress -m model.vqm -r empty"), "empty: ", "no pictures",
                 START_FILES + 3);
    /* a link back up must not go round in circles */
    assert_int_equal(symlink("..", "in/deep/up"), 0);
    assert_done(run_vqz("compress -f -m model.vqm -r in"));
}

static void test_outputs_that_collide(void **state) {
    (void)state;
    save_picture("a.ppm", 16, 16, 3, 2);
    program_result r = run_vqz("compress -f -m model.vqm a.png a.ppm");
    assert_int_equal(r.code, 1);
    assert_contains(r.err, "vqz: a.ppm: would become a.vqz, as a.png does");
    assert_contains(run_vqz("info --json a.vqz").out, "\"width\": 61,");
}

/* ---- nothing is destroyed, nothing is left ---- */

static void test_no_overwriting(void **state) {
    (void)state;
    write_test_file("a.vqz", "precious", 8);
    assert_fails(run_vqz("compress -m model.vqm a.png"), "a.vqz: ", "-f", START_FILES + 1);
    assert_starts("a.vqz", "precious");
    chmod("a.vqz", 0600);
    assert_done(run_vqz("compress -f -m model.vqm a.png"));
    assert_starts("a.vqz", "VQZ");
    struct stat facts;
    assert_int_equal(stat("a.vqz", &facts), 0);
    assert_int_equal(facts.st_mode & 0777, 0600); /* who could not read it still cannot */

    /* a failure with -f keeps the old file too, and the source is never the target */
    write_test_file("bad.png", "no picture", 10);
    assert_fails(run_vqz("compress -f -m model.vqm bad.png -o a.vqz"), "bad.png: ", "",
                 START_FILES + 2);
    assert_starts("a.vqz", "VQZ");
    assert_fails(run_vqz("compress -f -m model.vqm a.png -o a.png"), "a.png: ", "input",
                 START_FILES + 2);
    assert_starts("a.png", "\x89PNG");

    /* a link stays a link */
    assert_int_equal(symlink("a.vqz", "link.vqz"), 0);
    assert_done(run_vqz("compress -f -q 9 -m model.vqm a.png -o link.vqz"));
    assert_int_equal(lstat("link.vqz", &facts), 0);
    assert_true(S_ISLNK(facts.st_mode));
    assert_contains(run_vqz("info --json a.vqz").out, "\"quality\": 9,");
}

static void test_unwritable(void **state) {
    (void)state;
    assert_fails(run_vqz("compress -m model.vqm a.png -o a.png/x.vqz"), "a.png/x.vqz: ", "",
                 START_FILES);
    assert_fails(run_vqz("compress -m model.vqm a.png -o none/x.vqz"), "none/x.vqz: ", "",
                 START_FILES);
    assert_fails(run_vqz("compress -m model.vqm a.png -o /proc/x.vqz"), "/proc/x.vqz: ", "",
                 START_FILES);
    assert_fails(run_vqz("compress -f -m model.vqm a.png -o /dev/null"), "/dev/null: ",
                 "regular file", START_FILES);
    program_input full = { .output = "/dev/full" };
    assert_fails(run_vqz_with("compress -m model.vqm a.png -o -", &full), "standard output: ",
                 "No space", START_FILES);
    assert_fails(run_vqz_with("info model.vqm", &full), "standard output: ", "No space",
                 START_FILES);
    assert_fails(run_vqz_with("--help", &full), "standard output: ", "No space", START_FILES);
}

/* ---- bad input ---- */

static void test_bad_pictures(void **state) {
    (void)state;
    write_test_file("text.png", "not a picture", 13);
    write_test_file("empty.png", "", 0);
    size_t size;
    char *png = read_test_file("a.png", &size);
    write_test_file("cut.png", png, size / 2);
    memcpy(png + 16, "\x7f\xff\xff\xff\x7f\xff\xff\xff", 8); /* width and height in IHDR */
    write_test_file("absurd.png", png, size);
    free(png);
    write_test_file("absurd.ppm", "P6 60000 60000 255\nxyz", 22);
    int files = START_FILES + 5;
    assert_fails(run_vqz("compress -m model.vqm text.png"), "text.png: ", "", files);
    assert_fails(run_vqz("compress -m model.vqm empty.png"), "empty.png: ", "", files);
    assert_fails(run_vqz("compress -m model.vqm cut.png"), "cut.png: ", "", files);
    assert_fails(run_vqz("compress -m model.vqm absurd.png"), "absurd.png: ", "", files);
    assert_fails(run_vqz("compress -m model.vqm absurd.ppm"), "absurd.ppm: ", "", files);
    assert_fails(run_vqz("compress -m model.vqm --max-pixels 2k a.png"), "a.png: ", "", files);
    assert_fails(run_vqz("compress -m a.png a.png"), "a.png: model a.png: ", "", files);
}

static void test_sixteen_bit(void **state) {
    (void)state;
    char data[11 + 2 * 64] = "P5 8 8 999\n";
    write_test_file("deep.pgm", data, sizeof data);
    program_result r = run_vqz("compress -m model.vqm deep.pgm");
    assert_int_equal(r.code, 0);
    assert_contains(r.err, "vqz: deep.pgm: warning: 16-bit");
    assert_done(run_vqz("compress -f --quiet -m model.vqm deep.pgm"));
}

static void test_bad_files(void **state) {
    (void)state;
    assert_done(run_vqz("compress -m model.vqm a.png"));
    size_t size;
    char *file = read_test_file("a.vqz", &size);
    for (size_t length = 0; length < size; length += 1 + size / 40) {
        write_test_file("cut.vqz", file, length);
        assert_fails(run_vqz("decompress cut.vqz"), "cut.vqz: ", "", START_FILES + 2);
        assert_int_equal(run_vqz("info cut.vqz").code, 1);
    }
    for (size_t at = 0; at < size; at += 1 + size / 40) {
        file[at] ^= 0x10;
        write_test_file("cut.vqz", file, size);
        assert_fails(run_vqz("decompress cut.vqz"), "cut.vqz: ", "", START_FILES + 2);
        file[at] ^= 0x10;
    }
    free(file);
    assert_fails(run_vqz("decompress a.png -o b.png"), "a.png: ", "", START_FILES + 2);
    assert_fails(run_vqz("decompress . -o b.png"), ".: ", "folder", START_FILES + 2);
    assert_fails(run_vqz("decompress --max-pixels 100 a.vqz -o b.png"), "a.vqz: ", "--max-pixels",
                 START_FILES + 2);
}

/* ---- models ---- */

static void test_models(void **state) {
    (void)state;
    assert_done(run_vqz("compress -m model.vqm a.png"));
    mkdir("models", 0777);
    rename("model.vqm", "models/fine.vqm");
    save_model("other.vqm", 2, NULL);
    write_test_file("models/junk.vqm", "VQM\1", 4);

    /* nowhere: the error names the hash, and the model that was wrong */
    program_result r = run_vqz("decompress a.vqz -o b.png");
    assert_fails(r, "a.vqz: ", model_hash, START_FILES + 2);
    assert_contains(r.err, "-m MODEL");
    r = run_vqz("decompress -m other.vqm a.vqz -o b.png");
    assert_fails(r, "a.vqz: ", model_hash, START_FILES + 2);
    assert_contains(r.err, "given with -m");

    /* by path, by name, by hash */
    assert_done(run_vqz("decompress -m models/fine.vqm a.vqz -o b.png"));
    program_input path = { .environment = "VQZ_MODEL_PATH=/nonexistent:models" };
    assert_done(run_vqz_with("decompress a.vqz -o c.png", &path));
    assert_same_files("b.png", "c.png");
    assert_done(run_vqz_with("compress -m fine a.png -o c.vqz", &path));
    assert_same_files("a.vqz", "c.vqz");
    assert_contains(run_vqz_with("info a.vqz", &path).out, "models/fine.vqm");
    assert_fails(run_vqz_with("compress -m rough a.png -o d.vqz", &path), "a.png: model rough: ",
                 "models", START_FILES + 5);

    /* in the data folder of the user, which only counts when it is absolute */
    char folder[512], variable[600];
    assert_non_null(getcwd(folder, sizeof folder));
    mkdir("data", 0777);
    mkdir("data/vqz", 0777);
    rename("models", "data/vqz/models");
    snprintf(variable, sizeof variable, "XDG_DATA_HOME=%s/data", folder);
    path.environment = variable;
    assert_done(run_vqz_with("decompress -f a.vqz -o c.png", &path));
}

static void test_default_model(void **state) {
    (void)state;
    size_t size;
    vqz_default_model(&size);
    if (size == 0)
        assert_fails(run_vqz("compress a.png"), "a.png: ", "no default model", START_FILES);
    else
        assert_done(run_vqz("compress a.png"));
}

/* ---- info, eval, train ---- */

static void assert_json_line(const char *text) {
    size_t length = strcspn(text, "\n");
    assert_int_equal(length + 1, strlen(text));
    if (!json_is_valid(text))
        fail_msg("no JSON: %s", text);
}

static void test_info(void **state) {
    (void)state;
    assert_done(run_vqz("compress -m model.vqm a.png -o a\"\\\xff.vqz"));
    program_result r = run_vqz("info --json a\"\\\xff.vqz");
    assert_done(r);
    assert_json_line(r.out);
    assert_contains(r.out, "\"width\": 61, \"height\": 45, \"channels\": 3, \"quality\": 50,");
    assert_contains(r.out, model_hash);
    r = run_vqz("info --json model.vqm");
    assert_done(r);
    assert_json_line(r.out);
    assert_contains(r.out, "\"stride\": 8,");
    r = run_vqz("info model.vqm a\"\\\xff.vqz");
    assert_done(r);
    assert_contains(r.out, "61x45, RGB");
    assert_contains(r.out, model_hash);
    assert_fails(run_vqz("info a.png"), "a.png: ", "neither", START_FILES + 1);
    assert_fails(run_vqz("info ."), ".: ", "folder", START_FILES + 1);
}

static void test_eval(void **state) {
    (void)state;
    mkdir("set", 0777);
    rename("a.png", "set/a.png");
    save_picture("set/tiny.pgm", 3, 2, 1, 5);
    save_picture("set/alpha.png", 200, 180, 4, 6);
    program_result r = run_vqz("eval -m model.vqm -q 20,80 set --csv out.csv");
    assert_done(r);
    assert_contains(r.out, "mean of 3 pictures");
    size_t size;
    char *csv = read_test_file("out.csv", &size);
    int lines = 0;
    for (const char *at = csv; *at != '\0'; at += strcspn(at, "\n") + 1, lines++)
        if (lines > 0) {
            unsigned width, height, channels, quality, bytes;
            double bpp, psnr, similarity;
            const char *fields = strchr(at, ',');
            assert_int_equal(sscanf(fields, ",%u,%u,%u,%u,%u,%lf,%lf,%lf", &width, &height,
                                    &channels, &quality, &bytes, &bpp, &psnr, &similarity),
                             8);
            double exact = 8.0 * bytes / (width * height);
            assert_true(bpp > exact - 1e-5 && bpp < exact + 1e-5);
            assert_true(psnr > 3 && psnr < 100);
            assert_true(similarity >= 0 && similarity < 1);
        }
    assert_int_equal(lines, 1 + 3 * 2);

    /* the bytes are those of the file that compress would write */
    assert_done(run_vqz("compress --strip -m model.vqm -q 80 set/a.png -o a.vqz"));
    struct stat facts;
    assert_int_equal(stat("a.vqz", &facts), 0);
    char row[64];
    snprintf(row, sizeof row, "set/a.png,61,45,3,80,%ld,", (long)facts.st_size);
    assert_contains(csv, row);
    free(csv);

    assert_int_equal(run_vqz("eval -m model.vqm set --csv out.csv").code, 1);
    assert_int_equal(run_vqz("eval -m model.vqm missing.png --csv out.csv -f").code, 1);
    csv = read_test_file("out.csv", &size); /* nothing was measured: what was there stays */
    assert_contains(csv, row);
    free(csv);
    r = run_vqz("eval -m model.vqm set --csv -");
    assert_done(r);
    assert_memory_equal(r.out, "file,width,", 11);
    write_test_file("set/bad.png", "bad", 3);
    r = run_vqz("eval -m model.vqm set");
    assert_int_equal(r.code, 1);
    assert_contains(r.out, "mean of 3 pictures");
}

static void test_train_refusals(void **state) {
    (void)state;
    mkdir("empty", 0777);
    program_result r = run_vqz("train empty -o new.vqm --steps 1");
    assert_int_equal(r.code, 1);
    /* a program without the trainer knows no more than that */
    assert_contains(r.err, strstr(r.err, "without training") ? "TRAINER=" : "empty");
    assert_false(file_exists("new.vqm"));
    assert_fails(run_vqz("train . -o model.vqm --steps 1"), "model.vqm: ", "-f", START_FILES + 1);
    assert_fails(run_vqz("train . -o new.bin --steps 1"), "new.bin: ", ".vqm", START_FILES + 1);
    write_test_file("new.vqm.ckpt", "hours", 5);
    assert_fails(run_vqz("train . -o new.vqm --steps 1"), "new.vqm: ", "--resume", START_FILES + 2);
    assert_int_equal(unlink("new.vqm.ckpt"), 0);
    assert_fails(run_vqz("train . -o none/new.vqm --init nothing --steps 1"), "model nothing: ", "",
                 START_FILES + 1);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, program_leave_folder)
    const struct CMUnitTest tests[] = {
        TEST(test_usage),           TEST(test_help),
        TEST(test_there_and_back),  TEST(test_formats),
        TEST(test_standard_streams), TEST(test_metadata),
        TEST(test_several_files),   TEST(test_folders),
        TEST(test_outputs_that_collide), TEST(test_no_overwriting),
        TEST(test_unwritable),      TEST(test_bad_pictures),
        TEST(test_sixteen_bit),     TEST(test_bad_files),
        TEST(test_models),          TEST(test_default_model),
        TEST(test_info),            TEST(test_eval),
        TEST(test_train_refusals),
    };
    if (!program_find())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
