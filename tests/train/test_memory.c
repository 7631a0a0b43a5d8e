/*
 * test_memory.c - training steps allocate nothing: everything is made at set-up.  The C library's
 * allocation functions are replaced by counting ones; what libraries allocate for themselves inside a
 * call (oneDNN's argument lists, OpenMP's teams) is counted apart and only reported.
 */
#include "trainer/train.c" /* the steps themselves are private to it */
#include "cli/picture.h"
#include <dlfcn.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
/* cmocka wants the headers above first. */
#include <cmocka.h>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define COUNTS 1
#define EXPORT __attribute__((visibility("default"), noinline))

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

/* Compilers know that malloc changes no variable of the program; here it does. */
static volatile struct {
    int active;
    size_t own, of_libraries;
    const void *caller; /* of the last own allocation */
} counter;

static void count(const void *caller) {
    static const char here; /* whatever object it is in is ours */
    Dl_info own, other;
    if (!__atomic_load_n(&counter.active, __ATOMIC_RELAXED))
        return;
    bool is_own = dladdr(&here, &own) && dladdr(caller, &other) && own.dli_fbase == other.dli_fbase;
    __atomic_add_fetch(is_own ? &counter.own : &counter.of_libraries, 1, __ATOMIC_RELAXED);
    if (is_own)
        counter.caller = caller;
}

EXPORT void *malloc(size_t size) {
    count(__builtin_return_address(0));
    return __libc_malloc(size);
}

EXPORT void *calloc(size_t members, size_t size) {
    count(__builtin_return_address(0));
    return __libc_calloc(members, size);
}

EXPORT void *realloc(void *memory, size_t size) {
    count(__builtin_return_address(0));
    return __libc_realloc(memory, size);
}

EXPORT void *aligned_alloc(size_t alignment, size_t size) {
    count(__builtin_return_address(0));
    return __libc_memalign(alignment, size);
}

EXPORT void *memalign(size_t alignment, size_t size);
EXPORT void *memalign(size_t alignment, size_t size) {
    count(__builtin_return_address(0));
    return __libc_memalign(alignment, size);
}

EXPORT int posix_memalign(void **memory, size_t alignment, size_t size) {
    count(__builtin_return_address(0));
    *memory = __libc_memalign(alignment, size);
    return *memory ? 0 : ENOMEM;
}
#else
#define COUNTS 0
static volatile struct {
    int active;
    size_t own, of_libraries;
    const void *caller;
} counter;
#endif

static void must(vqz_status status, const vqz_diag *diag) {
    if (status != VQZ_OK)
        fail_msg("%s: %s", vqz_status_string(status), diag->message);
}

static void run_steps(trainer *t, int steps) {
    vqz_diag diag = {""};
    loss_parts parts;
    for (int i = 0; i < steps; i++) {
        memset(t->shared, 0, (SHARED_COUNT + (size_t)t->whole_batch) * sizeof *t->shared);
        must(compute_step(t), &diag);
        share_step(t, false, false, false, 0);
        apply_step(t, &parts);
        if (t->run.hard) {
            follow_epoch(t);
            restart_dead_codes(t);
        }
    }
}

static void check_phase(trainer *t, const char *preset, const char *phase) {
    enum { STEPS = 4 };
    run_steps(t, 2); /* threads start, and libraries make what they keep */
    counter.own = counter.of_libraries = 0;
    counter.active = 1;
    run_steps(t, STEPS);
    counter.active = 0;
    print_message("%s, %s: %zu allocations a step in libraries\n", preset, phase,
                  counter.of_libraries / STEPS);
    if (counter.own)
        fail_msg("%s, %s: %zu allocations in %d steps, one at %p (main is at %p)", preset, phase,
                 counter.own, STEPS, counter.caller, (const void *)(uintptr_t)run_steps);
}

static void check_preset(const char *preset, int crop) {
    static const char *const folder = "samples/pictures";
    vqz_diag diag = {""};
    trainer *t = calloc(1, sizeof *t);
    progress *report = NULL;
    assert_non_null(t);
    train_options_init(&t->options);
    t->options.paths = &folder;
    t->options.path_count = 1;
    t->options.preset = preset;
    t->options.precision = "auto";
    t->options.threads = 2;
    t->options.steps = 100;
    t->options.batch = 3;
    t->options.crop = crop;
    t->options.holdout = 0;
    t->options.read = picture_read_pixels;
    t->options.output = "";
    t->options.quiet = true;
    t->cluster = cluster_alone();
    omp_set_num_threads(2);
    must(progress_create(&report, &t->options, &diag), &diag);
    must(trainer_set_up(t, report, &diag), &diag);
    progress_free(report);
    if (!t->run.hard) {
        check_phase(t, preset, "noise");
        must(start_hard_phase(t), &diag);
    }
    check_phase(t, preset, "hard");
    trainer_clear(t);
    free(t);
}

static void test_classic(void **state) {
    (void)state;
    check_preset("classic", 40);
}

static void test_photo(void **state) {
    (void)state;
    check_preset("photo", 24);
}

/* The counting itself: a test that cannot fail would be worth nothing. */
static void test_counter(void **state) {
    (void)state;
    if (!COUNTS)
        skip();
    void *volatile kept;
    counter.own = 0;
    counter.active = 1;
    kept = malloc(10);
    counter.active = 0;
    free(kept);
    assert_int_equal(counter.own, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counter),
        cmocka_unit_test(test_classic),
        cmocka_unit_test(test_photo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
