/*
 * test_team.c - a shared loop runs every row once, never twice at a time with one thread number, and
 * on several threads where there is work for them.
 */
#include "format/team.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { MAX_ROWS = 300, MAX_THREADS = 9 };

typedef struct counters {
    atomic_int rows[MAX_ROWS];
    atomic_int busy[MAX_THREADS];
    atomic_int clashes, strangers;
    int threads, first, microseconds;
    atomic_int calls[MAX_THREADS];
} counters;

static void count_row(const void *job, int thread, int64_t row) {
    counters *c = *(counters *const *)job;
    thread -= c->first;
    if (thread < 0 || thread >= c->threads) {
        atomic_fetch_add(&c->strangers, 1);
        return;
    }
    if (atomic_fetch_add(&c->busy[thread], 1) != 0)
        atomic_fetch_add(&c->clashes, 1);
    atomic_fetch_add(&c->rows[row], 1);
    atomic_fetch_add(&c->calls[thread], 1);
    if (c->microseconds > 0)
        usleep((useconds_t)c->microseconds);
    atomic_fetch_sub(&c->busy[thread], 1);
}

static void check_loop(const vqzi_team *team, counters *c, int64_t begin, int64_t end) {
    memset(c->rows, 0, sizeof c->rows);
    vqzi_team_run(team, 100, begin, end, count_row, &c);
    for (int64_t row = 0; row < MAX_ROWS; row++)
        assert_int_equal(atomic_load(&c->rows[row]), row >= begin && row < end);
    assert_int_equal(atomic_load(&c->clashes), 0);
    assert_int_equal(atomic_load(&c->strangers), 0);
}

static void test_every_row_once(void **state) {
    (void)state;
    for (int threads = 1; threads <= MAX_THREADS; threads += 2) {
        counters c = {.threads = threads, .first = threads / 2};
        const vqzi_team team = {threads, 0, c.first};
        for (int loop = 0; loop < 200; loop++)
            check_loop(&team, &c, loop % 7, loop % MAX_ROWS);
    }
}

static void test_threads_share(void **state) {
    counters c = {.threads = 3, .microseconds = 2000};
    const vqzi_team team = {3, 0, 0};
    (void)state;
    check_loop(&team, &c, 0, 90);
    for (int thread = 0; thread < 3; thread++)
        assert_true(atomic_load(&c.calls[thread]) > 0);
}

static void test_little_work_stays(void **state) {
    counters c = {.threads = 3, .microseconds = 500};
    const vqzi_team team = {3, 101, 0};
    (void)state;
    check_loop(&team, &c, 0, 20);
    assert_int_equal(atomic_load(&c.calls[0]), 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_once),
        cmocka_unit_test(test_threads_share),
        cmocka_unit_test(test_little_work_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
