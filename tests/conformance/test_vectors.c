/*
 * test_vectors.c - the library decodes every vector of spec/vectors/ to the pixels of its list, or
 * refuses it with the error of its list, for every instruction set of this processor and with one
 * thread and two.
 */
#include "codec/internal.h"
#include "tests/support/outcome.h"
#include "tests/support/program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FOLDER "spec/vectors/"

static char *read_vector(const char *name, size_t *size) {
    char path[256];
    snprintf(path, sizeof path, FOLDER "%s", name);
    return read_test_file(path, size);
}

/* Every line under one setting; how many there are. */
static int check_list(vqz_cpu cpu, int threads) {
    char line[512], file[128], model[128];
    FILE *list = fopen(FOLDER "list.txt", "r");
    int count = 0, behind;
    assert_non_null(list);
    for (; fgets(line, sizeof line, list) != NULL; count++) {
        char outcome[OUTCOME_SIZE];
        size_t model_size, size;
        line[strcspn(line, "\n")] = '\0';
        assert_int_equal(sscanf(line, "%127s %127s %n", file, model, &behind), 2);
        char *model_bytes = read_vector(model, &model_size), *bytes = read_vector(file, &size);
        library_outcome(outcome, cpu, threads, model_bytes, model_size, bytes, size);
        if (strcmp(outcome, line + behind) != 0)
            fail_msg("%s, cpu %d, %d threads: %s", line, (int)cpu, threads, outcome);
        free(model_bytes);
        free(bytes);
    }
    fclose(list);
    return count;
}

static void test_list(void **state) {
    static const vqz_cpu cpus[] = {VQZ_CPU_SCALAR, VQZ_CPU_AVX2,        VQZ_CPU_AVX_VNNI,
                                   VQZ_CPU_AVX512, VQZ_CPU_AVX512_VNNI, VQZ_CPU_NEON};
    vqzi_kernels before, now;
    (void)state;
    memset(&before, 0, sizeof before);
    for (size_t i = 0; i < sizeof cpus / sizeof *cpus; i++) {
        memset(&now, 0, sizeof now);
        vqzi_kernels_init(&now, cpus[i]);
        if (memcmp(&now, &before, sizeof now) == 0)
            continue; /* this processor lacks it: the kernels of the one before */
        before = now;
        for (int threads = 1; threads <= 2; threads++)
            assert_true(check_list(cpus[i], threads) > 150);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_list)};
    return cmocka_run_group_tests_name("conformance vectors", tests, NULL, NULL);
}
