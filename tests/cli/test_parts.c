/*
 * test_parts.c - pieces of the program that a subprocess cannot show well: what a signal leaves
 * behind, the option parser, the metrics against a slow and plain version, JSON.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/file.h"
#include "cli/metrics.h"
#include "cli/text.h"
#include "tests/support/program.h"
#include "tests/support/random_model.h"

static void wait_microseconds(long count) {
    struct timespec pause = { .tv_nsec = count * 1000 };
    nanosleep(&pause, NULL);
}

/* ---- signals ---- */

static void test_signal_while_writing(void **state) {
    (void)state;
    /* killed while the temporary file is there, for certain: the parent waits until it sees it */
    static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
    enum { SIZE = 64 << 20 };
    write_test_file("target", "old", 3);
    int hit = 0;
    for (int i = 0; i < 12; i++) {
        fflush(stdout);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            void *data = calloc(1, SIZE);
            file_install_signal_handlers();
            for (;;)
                if (data == NULL || file_write("target", data, i % 2 == 0 ? SIZE : 1, true, NULL))
                    _exit(1);
        }
        for (int tries = 0; count_files(".") < 2 && tries < 100000; tries++)
            wait_microseconds(20);
        hit += count_files(".") == 2;
        assert_int_equal(kill(child, signals[i % 3]), 0);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == signals[i % 3]);
        assert_int_equal(count_files("."), 1);
    }
    assert_true(hit > 0);
}

/* Without a commit nothing happens, however much has been written. */
static void test_output_in_pieces(void **state) {
    (void)state;
    static const char data[300000];
    file_output *a, *b;
    write_test_file("target", "old", 3);
    assert_int_equal(file_create(&a, "target", false, NULL), VQZ_ERROR_IO);
    assert_int_equal(file_create(&a, "target", true, NULL), VQZ_OK);
    assert_int_equal(file_create(&b, "other", false, NULL), VQZ_OK);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(file_append(a, data, sizeof data, NULL), VQZ_OK);
        assert_int_equal(file_append(b, data, (size_t)i, NULL), VQZ_OK);
    }
    assert_int_equal(count_files("."), 3);
    file_close(a);
    assert_int_equal(count_files("."), 2);
    assert_int_equal(file_commit(b, NULL), VQZ_OK);
    file_close(b);
    size_t size;
    free(read_test_file("target", &size));
    assert_int_equal(size, 3);
    free(read_test_file("other", &size));
    assert_int_equal(size, 6);
    assert_int_equal(count_files("."), 2);
}

/* Standard output: small pictures come whole or not at all, large ones as they are made. */
static void test_standard_output_is_held(void **state) {
    (void)state;
    static const struct {
        int pieces; /* of a mebibyte */
        bool commit;
        size_t least, most;
    } cases[] = {{1, false, 0, 0}, {63, false, 0, 0}, {1, true, 1, 1}, {70, false, 64, 70},
                 {70, true, 70, 70}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_test_file("out", "", 0);
        fflush(stdout);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            static char data[1 << 20];
            file_output *o;
            if (freopen("out", "wb", stdout) == NULL || file_create(&o, "-", false, NULL) != VQZ_OK)
                _exit(1);
            for (int k = 0; k < cases[i].pieces; k++)
                if (file_append(o, data, sizeof data, NULL) != VQZ_OK)
                    _exit(1);
            if (cases[i].commit && file_commit(o, NULL) != VQZ_OK)
                _exit(1);
            file_close(o);
            _exit(0);
        }
        int status;
        size_t size;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        free(read_test_file("out", &size));
        assert_in_range(size, cases[i].least << 20, cases[i].most << 20);
    }
}

static void test_write_that_fails(void **state) {
    (void)state;
    /* a limit on file sizes stands in for the full disk: writing breaks off in the middle */
    write_test_file("target", "old", 3);
    fflush(stdout);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        static const char data[100000];
        struct rlimit limit = { 4096, 4096 };
        vqz_diag diag = { "" };
        file_install_signal_handlers();
        bool right = setrlimit(RLIMIT_FSIZE, &limit) == 0 &&
                     file_write("target", data, sizeof data, true, &diag) == VQZ_ERROR_IO &&
                     strstr(diag.message, "limit on file sizes") != NULL &&
                     file_write("other", data, sizeof data, false, &diag) == VQZ_ERROR_IO &&
                     file_write("fits", data, 4096, false, &diag) == VQZ_OK;
        _exit(right ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    size_t size;
    char *kept = read_test_file("target", &size);
    assert_int_equal(size, 3);
    free(kept);
    assert_int_equal(count_files("."), 2);
}

static void test_signal_during_compress(void **state) {
    (void)state;
    save_model("model.vqm", 1, NULL);
    save_picture("large.ppm", 1500, 1100, 3, 1);
    save_picture("small.ppm", 40, 40, 3, 2);
    int killed = 0;
    for (int i = 0; i < 10; i++) {
        pid_t child = start_vqz("compress -f -m model.vqm small.ppm large.ppm");
        wait_microseconds(3000 + 20000L * i);
        kill(child, SIGTERM);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM;
        int finished = file_exists("small.vqz") + file_exists("large.vqz");
        assert_int_equal(count_files("."), 3 + finished);
    }
    assert_true(killed > 0);
    /* what is there is whole */
    if (file_exists("small.vqz"))
        assert_int_equal(run_vqz("info small.vqz").code, 0);
}

/* ---- options ---- */

static const option *table_of(const char *name) {
    for (const command *c = commands; c->name != NULL; c++)
        if (strcmp(c->name, name) == 0)
            return c->options;
    return NULL;
}

static vqz_status parse(const char *command_name, const char *line, settings *s, char **operands,
                        int *count, vqz_diag *diag) {
    static char copy[256]; /* the values point into it */
    char *words[32];
    int words_count = 0;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok(copy, " "); word != NULL && words_count < 32; word = strtok(NULL, " "))
        words[words_count++] = word;
    *s = (settings){ .quality = 50 };
    return options_parse(table_of(command_name), words_count, words, s, operands, count, diag);
}

static void test_options(void **state) {
    (void)state;
    settings s;
    char *operands[32];
    int count;
    vqz_diag diag;
    assert_int_equal(parse("compress", "-frq7 x - --output=y -T 3 -- -z -q", &s, operands, &count,
                           &diag),
                     VQZ_OK);
    assert_true(s.force && s.recursive && !s.quiet);
    assert_int_equal(s.quality, 7);
    assert_int_equal(s.threads, 3);
    assert_string_equal(s.output, "y");
    assert_int_equal(count, 4);
    assert_string_equal(operands[0], "x");
    assert_string_equal(operands[1], "-");
    assert_string_equal(operands[2], "-z");
    assert_string_equal(operands[3], "-q");
    assert_int_equal(parse("train",
                           "-q --time 1h30m --memory 1.5G --steps 20k --seed 18446744073709551615 "
                           "--background #0a0bFF --lr 2e-3 --checkpoint 45",
                           &s, operands, &count, &diag),
                     VQZ_OK);
    assert_true(s.quiet);
    assert_true(s.train.seconds == 5400 && s.train.checkpoint_seconds == 45);
    assert_true(s.train.memory_budget == (size_t)3 << 29);
    assert_true(s.train.steps == 20000 && s.train.seed == UINT64_MAX);
    assert_true(s.train.learning_rate == 2e-3);
    assert_memory_equal(s.train.background, "\x0a\x0b\xff", 3);
    assert_int_equal(parse("eval", "-q 1,100,50", &s, operands, &count, &diag), VQZ_OK);
    assert_int_equal(s.qualities.count, 3);
    assert_int_equal(s.qualities.values[1], 100);
    static const char *const wrong[] = { "--time -5m",  "--time 5x",   "--time 0",     "--lr nan",
                                         "--lr 0x1",    "--seed -1",   "--memory 1e30", "--steps",
                                         "--steps 1.5.2", "--batch 99999999999999999999",
                                         "--seed 18446744073709551616" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (parse("train", wrong[i], &s, operands, &count, &diag) != VQZ_ERROR_ARGUMENT)
            fail_msg("'%s' was accepted", wrong[i]);
}

/* A letter or a name that is there twice would silently win over the other. */
static void test_tables(void **state) {
    (void)state;
    for (const command *c = commands; c->name != NULL; c++)
        for (const option *a = c->options; a->name != NULL; a++) {
            assert_true((a->value_name == NULL) == (a->kind == OPTION_FLAG));
            for (const option *b = a + 1; b->name != NULL; b++)
                if (strcmp(a->name, b->name) == 0 || (a->letter != 0 && a->letter == b->letter))
                    fail_msg("%s: --%s and --%s", c->name, a->name, b->name);
        }
}

/* ---- metrics ---- */

/* One scale straight from the definition, in double, a window at a time. */
static double plain_ssim(const double *a, const double *b, int width, int height, bool full) {
    int taps_x = width < 11 ? width : 11, taps_y = height < 11 ? height : 11;
    double total = 0;
    for (int y = 0; y + taps_y <= height; y++)
        for (int x = 0; x + taps_x <= width; x++) {
            double sum = 0, m[5] = { 0 };
            for (int j = 0; j < taps_y; j++)
                for (int i = 0; i < taps_x; i++) {
                    double u = (i - (taps_x - 1) / 2.0) / (1.5 * taps_x / 11);
                    double v = (j - (taps_y - 1) / 2.0) / (1.5 * taps_y / 11);
                    double w = exp(-(u * u + v * v) / 2);
                    double p = a[(y + j) * width + x + i], q = b[(y + j) * width + x + i];
                    double terms[5] = { p, q, p * p, q * q, p * q };
                    for (int k = 0; k < 5; k++)
                        m[k] += w * terms[k];
                    sum += w;
                }
            for (int k = 0; k < 5; k++)
                m[k] /= sum;
            double cs = (2 * (m[4] - m[0] * m[1]) + 58.5225) /
                        (m[2] - m[0] * m[0] + m[3] - m[1] * m[1] + 58.5225);
            double l = (2 * m[0] * m[1] + 6.5025) / (m[0] * m[0] + m[1] * m[1] + 6.5025);
            total += full ? l * cs : cs;
        }
    return total / ((width - taps_x + 1.0) * (height - taps_y + 1.0));
}

/* What a pixel shows on white. */
static double shown(const vqz_image *image, size_t pixel, int c) {
    const uint8_t *p = image->pixels + pixel * image->channels;
    if (image->channels % 2 == 1)
        return p[c];
    double alpha = p[image->channels - 1] / 255.0;
    return floor(p[c] * alpha + 255 * (1 - alpha) + 0.5);
}

static double plain_ms_ssim(const vqz_image *x, const vqz_image *y, int scales,
                            const double *weights) {
    double result = 0;
    int channels = x->channels >= 3 ? 3 : 1;
    size_t count = (size_t)x->width * x->height;
    double *a = malloc(count * sizeof *a), *b = malloc(count * sizeof *b);
    assert_true(a != NULL && b != NULL);
    for (int c = 0; c < channels; c++) {
        int width = (int)x->width, height = (int)x->height;
        for (size_t i = 0; i < count; i++) {
            a[i] = shown(x, i, c);
            b[i] = shown(y, i, c);
        }
        double product = 1;
        for (int s = 0; s < scales; s++) {
            double value = plain_ssim(a, b, width, height, s == scales - 1);
            product *= pow(value < 0 ? 0 : value, weights[s]);
            for (int j = 0; j < height / 2; j++)
                for (int i = 0; i < width / 2; i++)
                    for (int k = 0; k < 2; k++) {
                        double *p = k == 0 ? a : b, *q = p + 2 * j * width + 2 * i;
                        p[j * (width / 2) + i] = (q[0] + q[1] + q[width] + q[width + 1]) / 4;
                    }
            width /= 2;
            height /= 2;
        }
        result += product / channels;
    }
    free(a);
    free(b);
    return result;
}

static void test_metrics(void **state) {
    (void)state;
    static const struct {
        uint32_t width, height, channels;
        int scales;
    } cases[] = { { 176, 180, 3, 5 }, { 175, 190, 1, 4 }, { 47, 60, 4, 3 }, { 30, 12, 2, 1 },
                  { 7, 5, 3, 1 },     { 1, 1, 1, 1 },     { 300, 23, 3, 2 } };
    static const double wang[] = { .0448, .2856, .3001, .2363, .1333 };
    test_random random = { 42 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t stride = (size_t)cases[i].width * cases[i].channels;
        vqz_image a = { cases[i].width, cases[i].height, cases[i].channels, stride,
                        malloc(stride * cases[i].height) };
        vqz_image b = a;
        b.pixels = malloc(stride * cases[i].height);
        assert_true(a.pixels != NULL && b.pixels != NULL);
        double squares = 0, samples = 0;
        for (size_t k = 0; k < stride * a.height; k++) {
            a.pixels[k] = (uint8_t)(128 + 100 * sin(0.05 * (double)k) +
                                    test_random_range(&random, -20, 20));
            int value = a.pixels[k] + test_random_range(&random, -25, 25);
            b.pixels[k] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
        }
        for (size_t k = 0; k < (size_t)a.width * a.height; k++)
            for (int c = 0; c < (a.channels >= 3 ? 3 : 1); c++) {
                squares += pow(shown(&a, k, c) - shown(&b, k, c), 2);
                samples++;
            }
        if (squares > 0)
            assert_true(fabs(metrics_psnr(&a, &b) - 10 * log10(65025 * samples / squares)) < 1e-9);
        double weights[5], sum = 0, one, two;
        for (int s = 0; s < cases[i].scales; s++)
            sum += wang[s];
        for (int s = 0; s < cases[i].scales; s++)
            weights[s] = wang[s] / sum;
        double expected = plain_ms_ssim(&a, &b, cases[i].scales, weights);
        assert_int_equal(metrics_ms_ssim(&a, &b, 1, &one), VQZ_OK);
        assert_int_equal(metrics_ms_ssim(&a, &b, 2, &two), VQZ_OK);
        if (fabs(one - expected) > 1e-5)
            fail_msg("%ux%u: %.7f instead of %.7f", a.width, a.height, one, expected);
        assert_true(one == two);
        assert_int_equal(metrics_ms_ssim(&a, &a, 1, &one), VQZ_OK);
        assert_true(fabs(one - 1) < 1e-6 && isinf(metrics_psnr(&a, &a)));
        free(a.pixels);
        free(b.pixels);
    }
}

/* ---- text ---- */

static void test_json(void **state) {
    (void)state;
    static const char *const good[] = { "{}", " [1, -2.5e+3, true, null] ", "\"\\u00e9\\n\"",
                                        "{\"a\": {\"b\": []}}", "0", "\"\xc3\xa9\"" };
    static const char *const bad[] = { "", "{", "{\"a\"}", "[1,]", "01", "1.", "\"\n\"", "tru",
                                       "{} {}", "'a'", "\"\xff\"", "\"\\x\"", "[1 2]", "-",
                                       "{a: 1}", "\"open", "\"\\" };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!json_is_valid(good[i]))
            fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (json_is_valid(bad[i]))
            fail_msg("accepted: %s", bad[i]);
    char deep[401];
    memset(deep, '[', 200);
    memset(deep + 200, ']', 200);
    deep[400] = '\0';
    assert_false(json_is_valid(deep));
}

static void test_paths(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        { "a.png", "a.vqz" },         { "d.x/a", "d.x/a.vqz" },       { "a.b.png", "a.b.vqz" },
        { ".hidden", ".hidden.vqz" }, { "/x/.h.png", "/x/.h.vqz" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = path_replace_extension(cases[i][0], "vqz");
        assert_string_equal(path, cases[i][1]);
        free(path);
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, program_enter_folder, program_leave_folder)
    const struct CMUnitTest tests[] = {
        TEST(test_signal_while_writing), TEST(test_signal_during_compress),
        TEST(test_write_that_fails), TEST(test_output_in_pieces),
        TEST(test_standard_output_is_held),
        cmocka_unit_test(test_options),  cmocka_unit_test(test_tables),
        cmocka_unit_test(test_metrics),  cmocka_unit_test(test_json),
        cmocka_unit_test(test_paths),
    };
    if (!program_find())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
