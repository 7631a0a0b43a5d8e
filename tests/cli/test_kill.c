/*
 * test_kill.c - SIGKILL at any moment: what was there before, or the whole new file, is there
 * afterwards; the next run leaves no temporary file; training goes on from its last checkpoint.
 *
 * COUNT=200 (make check-kill): so many kills of each kind; SEED=n: other moments.  Half of them
 * come at a random time of a run, half shortly after a temporary file has appeared.
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
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/program.h"
#include "tests/support/random_model.h"

static int count, train_count;
static test_random random_state;

static int set_up(void **state) {
    return program_enter_folder(state) == 0 && mkdir("out", 0777) == 0 ? 0 : -1;
}

/* Microseconds since 1970, as files have them. */
static long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return time.tv_sec * 1000000L + time.tv_nsec / 1000;
}

static void wait_microseconds(long time) {
    struct timespec pause = {.tv_sec = time / 1000000, .tv_nsec = time % 1000000 * 1000};
    nanosleep(&pause, NULL);
}

static long draw(long most) {
    return test_random_range(&random_state, 0, (int32_t)most);
}

/* How many temporary files a folder has; *newest, unless NULL, receives when the last was written,
   in microseconds since 1970. */
static int count_temporaries(const char *folder, long *newest) {
    int found = 0;
    DIR *entries = opendir(folder);
    assert_non_null(entries);
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        struct stat facts;
        if (strncmp(entry->d_name, ".vqz-", 5) != 0)
            continue;
        found++;
        if (newest != NULL && fstatat(dirfd(entries), entry->d_name, &facts, 0) == 0) {
            long at = facts.st_mtim.tv_sec * 1000000L + facts.st_mtim.tv_nsec / 1000;
            *newest = at > *newest ? at : *newest;
        }
    }
    closedir(entries);
    return found;
}

typedef struct tally {
    int killed, finished; /* before it was */
    int old, fresh, left; /* what was there then; temporary files that were */
} tally;

static void tell(const char *what, const tally *t) {
    printf("%s: %d killed, %d had finished; then old file %d, new file %d, temporary files left "
           "%d\n",
           what, t->killed, t->finished, t->old, t->fresh, t->left);
    assert_true(t->killed > 0);
}

/* Runs the command, `usual` microseconds long, and kills it at some moment.  True when it had ended. */
static bool run_and_kill(const char *line, long usual, bool early, tally *t) {
    long start = now(), newest = 0;
    pid_t child = start_vqz(line);
    int status, ended = 0;
    if (early) {
        while (!ended && newest <= start && now() < start + 2 * usual) {
            wait_microseconds(20);
            ended = waitpid(child, &status, WNOHANG);
            (void)count_temporaries("out", &newest);
        }
        if (!ended)
            wait_microseconds(draw(2) * draw(500));
    } else {
        wait_microseconds(draw(usual));
    }
    if (!ended) {
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
    }
    t->killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    t->finished += WIFEXITED(status);
    t->left += count_temporaries("out", NULL);
    return WIFEXITED(status);
}

static bool same(const char *a, const char *b) {
    size_t size_a, size_b;
    char *data_a = read_test_file(a, &size_a), *data_b = read_test_file(b, &size_b);
    bool equal = size_a == size_b && memcmp(data_a, data_b, size_a) == 0;
    free(data_a);
    free(data_b);
    return equal;
}

static void copy(const char *from, const char *to) {
    size_t size;
    char *data = read_test_file(from, &size);
    write_test_file(to, data, size);
    free(data);
}

static long run_to_end(const char *line) {
    long start = now();
    program_result r = run_vqz(line);
    if (r.code != 0)
        fail_msg("vqz %s: exit code %d, '%s'", line, r.code, r.err);
    return now() - start;
}

/* A command that replaces `target`, which is as `old` before and as `fresh` after. */
static void kill_command(const char *line, const char *target, const char *old, const char *fresh) {
    tally t = {0};
    long usual = run_to_end(line);
    assert_true(same(target, fresh));
    for (int i = 0; i < count; i++) {
        copy(old, target);
        run_and_kill(line, usual, i % 2 != 0, &t);
        if (same(target, old))
            t.old++;
        else if (same(target, fresh))
            t.fresh++;
        else
            fail_msg("kill %d: %s is neither the old nor the new file", i, target);
        run_to_end(line);
        assert_true(same(target, fresh));
        assert_int_equal(count_files("out"), 1);
    }
    tell(line, &t);
}

static void test_compress(void **state) {
    (void)state;
    save_prior_model("model.vqm", 1, 3);
    save_picture("a.png", 150, 110, 3, 1);
    run_to_end("compress -T1 -m model.vqm -q 10 a.png -o old.vqz");
    run_to_end("compress -T1 -m model.vqm -q 90 a.png -o new.vqz");
    copy("old.vqz", "out/a.vqz");
    kill_command("compress -f -T1 -m model.vqm -q 90 a.png -o out/a.vqz", "out/a.vqz", "old.vqz",
                 "new.vqz");
}

static void test_decompress(void **state) {
    (void)state;
    save_model("model.vqm", 1, NULL);
    save_picture("a.png", 400, 300, 3, 1);
    run_to_end("compress -T1 -m model.vqm a.png");
    run_to_end("decompress -T1 -m model.vqm a.vqz -o new.png");
    copy("a.png", "out/a.png");
    kill_command("decompress -f -T1 -m model.vqm a.vqz -o out/a.png", "out/a.png", "a.png",
                 "new.png");
}

/* The hash of a model, which the figures in its card do not change. */
static void model_hash(const char *path, char hash[65]) {
    size_t size, at = 4;
    unsigned char *data = (unsigned char *)read_test_file(path, &size);
    assert_true(size > 50 && memcmp(data, "VQM", 3) == 0);
    while (data[at++] >= 0x80)
        ;
    for (int i = 0; i < 32; i++)
        snprintf(hash + 2 * i, 3, "%02x", data[at + (size_t)i]);
    free(data);
}

static bool is_log_whole(const char *path) {
    size_t size;
    char *text = read_test_file(path, &size);
    long last = -1;
    bool good = strlen(text) == size;
    for (char *row = strchr(text, '\n'); good && row != NULL && row[1] != '\0';
         row = strchr(row + 1, '\n')) {
        long step = strtol(row + 1, NULL, 10);
        good = step > last;
        last = step;
    }
    free(text);
    return good;
}

/* A run is killed and resumed, again and again, until it finishes; then the next starts. */
static void test_train(void **state) {
    (void)state;
#define TRAIN                                                                                      \
    "train corpus -T1 -q --preset classic --codes 4 --latent-channels 4 --batch 1 --crop 16 "      \
    "--steps 12 --checkpoint 0.001s -o out/m.vqm"
    char wanted[65], hash[65];
    tally t = {0};
    assert_int_equal(mkdir("corpus", 0777), 0);
    save_picture("corpus/a.pgm", 32, 32, 1, 1);
    save_model("old.vqm", 1, NULL);
    long usual = run_to_end(TRAIN);
    model_hash("out/m.vqm", wanted);
    copy("old.vqm", "out/m.vqm");
    int finished = 0;
    for (int i = 0; i < train_count; i++) {
        bool resumed = file_exists("out/m.vqm.ckpt");
        bool ended = run_and_kill(resumed ? TRAIN " --resume" : TRAIN " -f", usual, i % 2 != 0, &t);
        assert_true(is_log_whole("out/m.vqm.csv"));
        if (same("out/m.vqm", "old.vqm")) {
            t.old++;
            assert_false(ended);
            continue;
        }
        t.fresh++;
        model_hash("out/m.vqm", hash);
        assert_string_equal(hash, wanted);
        if (ended) {
            finished++;
            assert_int_equal(count_files("out"), 2);
        }
        copy("old.vqm", "out/m.vqm");
    }
    run_to_end(file_exists("out/m.vqm.ckpt") ? TRAIN " --resume" : TRAIN " -f");
    model_hash("out/m.vqm", hash);
    assert_string_equal(hash, wanted);
    assert_int_equal(count_files("out"), 2); /* the model and its log */
    printf("finished after kills: %d\n", finished + 1);
    tell("train", &t);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, program_leave_folder)
    const struct CMUnitTest tests[] = {
        TEST(test_compress),
        TEST(test_decompress),
        TEST(test_train),
    };
    const char *text = getenv("COUNT"), *start = getenv("SEED");
    count = text == NULL ? 10 : atoi(text);
    train_count = text == NULL ? 4 : count; /* a life of training takes a second or two */
    random_state.state = start == NULL ? 1 : strtoull(start, NULL, 10);
    if (!program_find())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
