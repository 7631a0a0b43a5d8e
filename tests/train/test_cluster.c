/*
 * test_cluster.c - two processes train one model under mpirun: as one process with twice the batch
 * does, together to the end, and with one voice when something fails.
 *
 * Without mpirun or the module vqz-mpi.so all tests but the last are skipped.
 */
#include "format/model.h"
#include "tests/support/program.h"
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define COMMON                                                                                     \
    "corpus --crop 32 --threads 1 --precision float32 --holdout 0.2 --min-scale 1 --log 0.0001s "
#define CLASSIC COMMON "--preset classic --codes 16 --latent-channels 8 "
/* Tests run as root too, and on machines with one processor. */
#define MPIRUN "mpirun -q --allow-run-as-root --oversubscribe -np "

static char program[512], module[512];

static void need_mpi(void) {
    if (access(module, R_OK) == 0 && system("command -v mpirun >/dev/null 2>&1") == 0)
        return;
    print_message("no mpirun, or vqz was built without MPI\n");
    skip();
}

static int enter(void **state) {
    if (program_enter_folder(state) != 0 || system("mkdir corpus") != 0)
        return -1;
    for (unsigned i = 0; i < 10; i++) {
        char path[64];
        snprintf(path, sizeof path, "corpus/%u.png", i);
        save_picture(path, 48, 48, 3, i);
    }
    return 0;
}

/* A process of its own group, what it says in the file `said`. */
static pid_t start_shell(const char *line) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char command[2048];
        snprintf(command, sizeof command, "exec %s >said 2>&1 </dev/null", line);
        setpgid(0, 0);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    return child;
}

/* Exit code; 128 + signal, as a shell would say. */
static int wait_for(pid_t child) {
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* "%s" in the line is the program. */
static int run_shell(const char *line) {
    char filled[2048];
    snprintf(filled, sizeof filled, line, program, program);
    return wait_for(start_shell(filled));
}

static int count_said(const char *word) {
    size_t size;
    char *text = read_test_file("said", &size);
    int count = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++)
        count++;
    free(text);
    return count;
}

static void must_run(const char *line) {
    int code = run_shell(line);
    if (code == 0)
        return;
    size_t size;
    fail_msg("exit code %d: %s", code, read_test_file("said", &size));
}

/* Each line of both logs: loss, its parts, rate and gradient norm agree. */
static int compare_logs(const char *first, const char *second, double tolerance) {
    FILE *a = fopen(first, "r"), *b = fopen(second, "r");
    assert_true(a && b);
    char x[1024], y[1024];
    int lines = -1; /* the heading */
    while (fgets(x, sizeof x, a)) {
        assert_non_null(fgets(y, sizeof y, b));
        if (lines++ < 0)
            continue;
        double p[10], q[10];
        char *at = x, *bt = y;
        for (int i = 0; i < 10; i++, at++, bt++) {
            p[i] = strtod(at, &at);
            q[i] = strtod(bt, &bt);
            if (i != 1 && fabs(p[i] - q[i]) > tolerance * (fabs(q[i]) + 1e-3)) /* 1: seconds */
                fail_msg("line %d, column %d: %g and %g", lines, i + 1, p[i], q[i]);
        }
    }
    assert_null(fgets(y, sizeof y, b));
    fclose(a);
    fclose(b);
    return lines;
}

static void read_model(const char *path, vqzi_model *model) {
    size_t size;
    vqz_diag diag = {""};
    char *bytes = read_test_file(path, &size);
    *model = (vqzi_model){0};
    if (vqzi_model_parse(model, bytes, size, NULL, &diag) != VQZ_OK)
        fail_msg("%s: %s", path, diag.message);
    free(bytes);
}

static double entry_scale(const vqzi_model *model) {
    const char *at = strstr(model->card, "\"entry_fraction_bits\":[");
    assert_non_null(at);
    return ldexp(1, -atoi(strchr(at, '[') + 1));
}

/* Every codebook entry has one close to it in the other model: codes that were used equally often may
   have changed places. */
static void compare_codebooks(const char *first, const char *second, double tolerance) {
    vqzi_model a, b;
    read_model(first, &a);
    read_model(second, &b);
    double scale_a = entry_scale(&a), scale_b = entry_scale(&b);
    assert_int_equal(a.plane_count, b.plane_count);
    assert_int_equal(a.levels, b.levels);
    for (uint32_t p = 0; p < a.plane_count; p++) {
        size_t dims = a.planes[p].dims, codes = a.planes[p].codes;
        for (size_t k = 0; k < codes * a.planes[p].books; k++) {
            size_t book = k / codes;
            double least = INFINITY;
            for (size_t m = book * codes; m < (book + 1) * codes; m++) {
                double worst = 0;
                for (size_t c = 0; c < dims; c++)
                    worst = fmax(worst, fabs(a.planes[p].codebook[k * dims + c] * scale_a -
                                             b.planes[p].codebook[m * dims + c] * scale_b));
                least = fmin(least, worst);
            }
            if (least > tolerance)
                fail_msg("plane %u, entry %zu: %g away from every entry", p, k, least);
        }
    }
    vqzi_model_clear(&a);
    vqzi_model_clear(&b);
}

/* Both kinds of codebook training.  A short run: a code that is chosen otherwise, because a sum had
   another order, in the end changes all that follows by more than rounding. */
static void test_classic_as_with_twice_the_batch(void **state) {
    (void)state;
    need_mpi();
    for (int loss = 0; loss < 2; loss++) {
        /* Rounding chooses a first code otherwise after some 15 steps where entries learn by gradient, 28
           where they follow averages; until then the runs are alike. */
        const char *kind = loss ? "--codebook loss --steps 12 " : "--codebook ema --steps 24 ";
        char line[1024];
        snprintf(line, sizeof line, "%s2 %%s train -o two.vqm --batch 3 -f -v %s%s", MPIRUN, CLASSIC,
                 kind);
        must_run(line);
        assert_int_equal(count_said("2 processes hold the same state"), 1);
        assert_int_equal(count_said("WARNING: the processes"), 0);
        snprintf(line, sizeof line, "%%s train -o one.vqm --batch 6 -f %s%s", CLASSIC, kind);
        must_run(line);
        assert_int_equal(compare_logs("two.vqm.csv", "one.vqm.csv", 1e-3), loss ? 12 : 24);
        compare_codebooks("two.vqm", "one.vqm", 0.01);
    }
}

/* Noise, and the change to codes. */
static void test_photo_as_with_twice_the_batch(void **state) {
    (void)state;
    need_mpi();
    must_run(MPIRUN "2 %s train -o two.vqm --preset photo --batch 2 --steps 30 -v " COMMON);
    assert_int_equal(count_said("2 processes hold the same state"), 1);
    assert_int_equal(count_said("WARNING: the processes"), 0);
    must_run("%s train -o one.vqm --preset photo --batch 4 --steps 30 " COMMON);
    assert_int_equal(compare_logs("two.vqm.csv", "one.vqm.csv", 1e-3), 30);
    compare_codebooks("two.vqm", "one.vqm", 0.1);
}

/* Dead codes, which restart at step 100, get the same vectors everywhere. */
static void test_restarts_keep_the_state_common(void **state) {
    (void)state;
    need_mpi();
    must_run(MPIRUN "2 %s train -o two.vqm --batch 3 --steps 130 -v " CLASSIC);
    assert_int_equal(count_said("2 processes hold the same state"), 1);
    assert_int_equal(count_said("WARNING: the processes"), 0);
    assert_int_equal(count_said(" 0 codes restarted"), 0);
}

static bool wait_for_checkpoint(const char *path) {
    const struct timespec pause = {0, 20000000};
    for (int i = 0; i < 3000; i++) {
        if (file_exists(path))
            return true;
        nanosleep(&pause, NULL);
    }
    return false;
}

/* A child of mpirun, which starts them in order. */
static pid_t rank_of(pid_t launcher, int rank) {
    const struct timespec pause = {0, 20000000};
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)launcher, (int)launcher);
    int found[8] = {0}, count = 0;
    for (int i = 0; i < 500 && count <= rank; i++, nanosleep(&pause, NULL)) {
        FILE *file = fopen(path, "r");
        for (count = 0; file && count < 8 && fscanf(file, "%d", &found[count]) == 1;)
            count++;
        if (file)
            fclose(file);
    }
    assert_true(count > rank);
    return found[rank];
}

#define LONG_RUN "2 %s train -o m.vqm --batch 2 --steps 60 --checkpoint 0.001s " CLASSIC
#define ENDLESS "2 %s train -o m.vqm --batch 2 --steps 1000000 --checkpoint 0.001s -q " CLASSIC

/* mpirun ends the rest and says so by its exit code; the checkpoint of before can be used. */
static void test_killed_process(void **state) {
    (void)state;
    need_mpi();
    char line[1024];
    for (int victim = 1; victim >= 0; victim--) {
        snprintf(line, sizeof line, MPIRUN ENDLESS "%s", program,
                 file_exists("m.vqm.ckpt") ? " --resume" : "");
        unlink("said");
        pid_t launcher = start_shell(line);
        assert_true(wait_for_checkpoint("m.vqm.ckpt"));
        kill(rank_of(launcher, victim), SIGKILL);
        assert_int_not_equal(wait_for(launcher), 0);
        assert_false(file_exists("m.vqm"));
    }
    /* It is whole: a signal to the second process is the same step's end for both, said once. */
    snprintf(line, sizeof line, MPIRUN ENDLESS "--resume", program);
    struct timespec pause = {2, 0};
    pid_t launcher = start_shell(line);
    pid_t second = rank_of(launcher, 1);
    nanosleep(&pause, NULL); /* before its handler is there a signal just ends it */
    kill(second, SIGTERM);
    assert_int_equal(wait_for(launcher), 1);
    assert_int_equal(count_said("stopped at step"), 1);
    assert_int_equal(count_said("damaged"), 0);
    /* Another number of processes is refused by name. */
    assert_int_equal(run_shell("%s train -o m.vqm --batch 2 --steps 1000000 --resume " CLASSIC), 1);
    assert_int_equal(count_said("made with processes 2, but this run has processes 1"), 1);
}

/* Two processes that stop and go on come where two that did not stop come. */
static void test_resume(void **state) {
    (void)state;
    need_mpi();
    must_run(MPIRUN LONG_RUN);
    assert_int_equal(rename("m.vqm.csv", "whole.csv"), 0);
    assert_int_equal(rename("m.vqm", "whole.vqm"), 0);

    char line[1024];
    snprintf(line, sizeof line, MPIRUN LONG_RUN, program);
    pid_t launcher = start_shell(line);
    assert_true(wait_for_checkpoint("m.vqm.ckpt"));
    kill(rank_of(launcher, 1), SIGTERM);
    assert_int_equal(wait_for(launcher), 1);
    must_run(MPIRUN LONG_RUN "--resume");
    assert_int_equal(compare_logs("whole.csv", "m.vqm.csv", 0), 60);
    vqzi_model a, b;
    read_model("whole.vqm", &a);
    read_model("m.vqm", &b);
    assert_memory_equal(a.hash, b.hash, sizeof a.hash);
    vqzi_model_clear(&a);
    vqzi_model_clear(&b);
}

/* Whoever fails, one message comes and the exit code is 1. */
static void test_one_voice(void **state) {
    (void)state;
    need_mpi();
    static const struct {
        const char *line, *said;
    } cases[] = {
        {MPIRUN "2 %s train nowhere -o m.vqm --steps 1", "vqz: nowhere: "},
        {MPIRUN "1 %s train corpus -o m.vqm --steps 1 : -np 1 %s train nowhere -o m.vqm --steps 1",
         "vqz: process 2 of 2: nowhere: "},
        {MPIRUN "1 %s train corpus -o m.vqm --batch 2 --steps 9 -q : "
                "-np 1 %s train corpus -o m.vqm --batch 3 --steps 9 -q",
         "vqz: process 2 of 2: other settings"},
        {MPIRUN "2 %s train corpus -o none/m.vqm --batch 2 --steps 1 -q", "vqz: none/m.vqm.csv: "},
        {MPIRUN "2 %s train corpus -o folder.vqm --batch 2 --steps 99 --checkpoint 0.001s -q -f",
         "vqz: folder.vqm.ckpt: is a folder"},
        {MPIRUN "2 %s train corpus -o there.vqm --steps 1", "vqz: there.vqm: already exists"},
    };
    assert_int_equal(system("mkdir -p folder.vqm.ckpt/full && echo keep > there.vqm"), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int code = run_shell(cases[i].line);
        if (code != 1 || count_said(cases[i].said) != 1 || count_said("vqz: ") != 1) {
            size_t size;
            fail_msg("exit code %d, said: %s", code, read_test_file("said", &size));
        }
        assert_false(file_exists("m.vqm"));
    }
}

/* The program alone, without its module, says what it lacks, and other commands do not care. */
static void test_without_the_module(void **state) {
    (void)state;
    char line[1200];
    snprintf(line, sizeof line, "cp %s bare", program);
    assert_int_equal(system(line), 0);
    assert_int_equal(run_shell("env OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_RANK=0 "
                               "./bare train corpus -o m.vqm --steps 1"),
                     1);
    assert_int_equal(count_said("built without MPI"), 1);
    assert_int_equal(run_shell("env OMPI_COMM_WORLD_SIZE=2 ./bare compress corpus/1.png"), 0);
    assert_int_equal(run_shell("env OMPI_COMM_WORLD_SIZE=1 ./bare train -o m.vqm --batch 2 --steps 1 "
                               CLASSIC),
                     0);
    assert_true(file_exists("m.vqm"));
    assert_int_equal(system("echo damaged > vqz-mpi.so"), 0);
    assert_int_equal(run_shell("env OMPI_COMM_WORLD_SIZE=2 ./bare train corpus -o n.vqm --steps 1"), 1);
    assert_int_equal(count_said("cannot load MPI"), 1);
}

int main(void) {
    const char *given = getenv("VQZ");
    char *path = realpath(given ? given : "./vqz", NULL);
    if (!program_find() || !path)
        return 1;
    snprintf(program, sizeof program, "%s", path);
    snprintf(module, sizeof module, "%.*s/vqz-mpi.so", (int)(strrchr(path, '/') - path), path);
    free(path);
#define TEST(f) cmocka_unit_test_setup_teardown(f, enter, program_leave_folder)
    const struct CMUnitTest tests[] = {
        TEST(test_classic_as_with_twice_the_batch),
        TEST(test_photo_as_with_twice_the_batch),
        TEST(test_restarts_keep_the_state_common),
        TEST(test_killed_process),
        TEST(test_resume),
        TEST(test_one_voice),
        TEST(test_without_the_module),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
