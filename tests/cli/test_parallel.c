/*
 * test_parallel.c - several files at a time: the same files and the same words as one after the
 * other, and nothing left behind whatever ends the run.
 *
 * Each test runs the real program in its own folder, which holds model.vqm and nothing else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "format/common.h"
#include "tests/support/program.h"

static int set_up(void **state) {
    if (program_enter_folder(state) != 0)
        return -1;
    save_model("model.vqm", 1, NULL);
    return 0;
}

/* in/: pictures of many sizes, so that they finish in another order than they start. */
enum { PICTURES = 14 };
static void save_pictures(void) {
    mkdir("in", 0777);
    for (unsigned i = 0; i < PICTURES; i++) {
        char path[64];
        snprintf(path, sizeof path, "in/%02u.%s", i, i % 3 == 0 ? "png" : "pnm");
        save_picture(path, i % 4 == 0 ? 700 : 20 + i, i % 4 == 0 ? 500 : 30, 1 + i % 4, i);
    }
}

static void assert_same_folders(const char *a, const char *b, int files) {
    assert_int_equal(count_files(a), files);
    assert_int_equal(count_files(b), files);
    DIR *folder = opendir(a);
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        char path_a[600], path_b[600];
        size_t size_a, size_b;
        snprintf(path_a, sizeof path_a, "%s/%s", a, entry->d_name);
        snprintf(path_b, sizeof path_b, "%s/%s", b, entry->d_name);
        char *data_a = read_test_file(path_a, &size_a), *data_b = read_test_file(path_b, &size_b);
        if (size_a != size_b || memcmp(data_a, data_b, size_a) != 0)
            fail_msg("%s and %s differ", path_a, path_b);
        free(data_a);
        free(data_b);
    }
    closedir(folder);
}

/* A copy in which every line with a time ends at its first comma. */
static char *without_times(const char *text) {
    char *copy = calloc(strlen(text) + 2, 1), *to = copy;
    assert_non_null(copy);
    for (size_t length, at = 0; text[at] != '\0'; at += length + 1) {
        length = strcspn(text + at, "\n");
        size_t kept =
            memmem(text + at, length, " s, ", 4) == NULL ? length : strcspn(text + at, ",");
        memcpy(to, text + at, kept);
        to += kept;
        *to++ = '\n';
    }
    return copy;
}

/* Runs a command that writes to out/ with one thread and with three, and compares. */
static void assert_same_run(const char *command, int outputs) {
    static const char *const folders[] = {"one", "three"};
    char *said[2], line[256];
    for (int i = 0; i < 2; i++) {
        snprintf(line, sizeof line, "%s -v -T %d -m model.vqm -o out", command, i == 0 ? 1 : 3);
        program_result r = run_vqz(line);
        assert_int_equal(r.code, 1);
        said[i] = without_times(r.err);
        assert_int_equal(rename("out", folders[i]), 0);
    }
    assert_non_null(strstr(said[0], "failed\n"));
    assert_string_equal(said[1], said[0]);
    free(said[0]);
    free(said[1]);
    assert_same_folders("one", "three", outputs);
}

static void test_same_as_one_by_one(void **state) {
    (void)state;
    save_pictures();
    write_test_file("in/05.png", "no picture", 10); /* beside 05.pnm: also a name taken twice */
    write_test_file("in/07a.png", "\x89PNG\r\n\x1a\n", 8);
    char deep[11 + 2 * 64] = "P5 8 8 999\n";
    write_test_file("in/12a.pgm", deep, sizeof deep); /* a warning */
    assert_same_run("compress -r in", PICTURES);      /* 05.pnm fails: 05.png was first */
    size_t size;
    char *file = read_test_file("one/08.vqz", &size);
    write_test_file("one/08.vqz", file, size / 2);
    free(file);
    assert_int_equal(rename("one", "files"), 0);
    assert_int_equal(rename("three", "others"), 0);
    assert_same_run("decompress -r files", PICTURES - 1);
}

/* The columns of a CSV up to the times. */
static char *figures_of(const char *path) {
    size_t size;
    char *csv = read_test_file(path, &size), *to = csv;
    for (size_t length, at = 0; csv[at] != '\0'; at += length + 1) {
        length = strcspn(csv + at, "\n");
        int commas = 0;
        for (size_t i = 0; i < length; i++) {
            commas += csv[at + i] == ',';
            if (commas < 9)
                *to++ = csv[at + i];
        }
        *to++ = '\n';
    }
    *to = '\0';
    return csv;
}

static void test_eval_is_the_same(void **state) {
    (void)state;
    save_pictures();
    write_test_file("in/09.jpg", "bad", 3);
    assert_int_equal(run_vqz("eval -T 1 -m model.vqm -q 20,80 in --csv one.csv").code, 1);
    program_result r = run_vqz("eval -T 3 -m model.vqm -q 20,80 in --csv three.csv");
    assert_int_equal(r.code, 1);
    assert_non_null(strstr(r.out, "mean of 14 pictures"));
    assert_non_null(strstr(r.err, "vqz: in/09.jpg: "));
    char *one = figures_of("one.csv"), *three = figures_of("three.csv");
    assert_non_null(strstr(one, "in/13.pnm,"));
    assert_string_equal(one, three);
    free(one);
    free(three);
}

/* More models than the store keeps, asked for by several threads. */
static void test_many_models(void **state) {
    (void)state;
    enum { MODELS = 12 };
    mkdir("in", 0777);
    save_picture("a.png", 40, 30, 3, 1);
    for (unsigned i = 0; i < 4 * MODELS; i++) {
        char line[128];
        snprintf(line, sizeof line, "in/%02u.vqm", i % MODELS);
        if (i < MODELS)
            save_model(line, i + 10, NULL);
        snprintf(line, sizeof line, "compress -m in/%02u.vqm a.png -o in/%02u.vqz", i % MODELS, i);
        assert_int_equal(run_vqz(line).code, 0);
    }
    assert_int_equal(run_vqz("decompress -T 1 -r in -o one").code, 0);
    assert_int_equal(run_vqz("decompress -T 4 -r in -o four").code, 0);
    assert_same_folders("one", "four", 4 * MODELS);
}

/* ---- what ends a run ---- */

static int count_temporaries(const char *path) {
    DIR *folder = opendir(path);
    int count = 0;
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;)
        count += strncmp(entry->d_name, ".vqz-", 5) == 0;
    if (folder != NULL)
        closedir(folder);
    return count;
}

static void test_signal_in_the_middle(void **state) {
    (void)state;
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    enum { RUNS = 9 };
    mkdir("in", 0777);
    save_picture("large.ppm", 1200, 900, 3, 1);
    assert_int_equal(run_vqz("compress -m model.vqm large.ppm -o in/0.vqz").code, 0);
    for (int i = 1; i < 8; i++) {
        char name[32];
        snprintf(name, sizeof name, "in/%d.vqz", i);
        assert_int_equal(link("in/0.vqz", name), 0);
    }
    int several = 0, killed = 0;
    for (int i = 0; i < RUNS; i++) {
        pid_t child = start_vqz("decompress -f -T 4 -m model.vqm -r in -o out");
        int seen = 0, status;
        for (int tries = 0; tries < 20000 && seen < 2 + i % 3; tries++) {
            seen = count_temporaries("out");
            nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
        }
        several += seen >= 2;
        kill(child, signals[i % 3]);
        assert_int_equal(waitpid(child, &status, 0), child);
        killed += WIFSIGNALED(status) && WTERMSIG(status) == signals[i % 3];
        assert_int_equal(count_temporaries("out"), 0);
    }
    assert_true(several > 0 && killed > 0);
}

/* A limit on file sizes stands in for the full disk: writing breaks off after some rows. */
static void test_output_that_breaks_off(void **state) {
    (void)state;
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
    skip(); /* its run-time maps a file of its own at the start, which the limit cuts short */
#endif
#endif
    save_pictures();
    assert_int_equal(run_vqz("compress -T 1 -m model.vqm -r in -o out").code, 0);
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 300000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    program_result r = run_vqz("decompress -T 3 -m model.vqm --format pam -r out -o back");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(r.code, 1);
    assert_non_null(strstr(r.err, "vqz: back/00.pam: cannot write: "));
    assert_non_null(strstr(r.err, "4 of 14 failed"));
    assert_int_equal(count_files("back"), PICTURES - 4);
    assert_int_equal(count_temporaries("back"), 0);
    program_input full = {.output = "/dev/full"};
    r = run_vqz_with("decompress -m model.vqm out/01.vqz -o -", &full);
    assert_int_equal(r.code, 1);
    assert_non_null(strstr(r.err, "vqz: standard output: cannot write: "));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, program_leave_folder)
    const struct CMUnitTest tests[] = {
        TEST(test_same_as_one_by_one),   TEST(test_eval_is_the_same),       TEST(test_many_models),
        TEST(test_signal_in_the_middle), TEST(test_output_that_breaks_off),
    };
    if (!program_find())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
