/*
 * replay.c - runs a fuzz target without libFuzzer.
 *
 *   replay_NAME          every seed of tests/fuzz/corpus/NAME and MUTATIONS mutations of each,
 * always the same ones; seeds called good-* must be accepted replay_NAME FILE...  these inputs
 *
 * The input that was at work when the program crashed is left in crash-NAME.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MUTATIONS = 100, MAX_SIZE = 1 << 16 };

static test_random randomness;
/* What is at work. */
static struct {
    const char *file;
    int mutation;
    const uint8_t *data;
    size_t size;
} now;

static void save_input(int signal_number) {
    char path[64];
    snprintf(path, sizeof path, "crash-%s", fuzz_name);
    int handle = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    bool saved = handle >= 0 && write(handle, now.data, now.size) == (ssize_t)now.size;
    fprintf(stderr, "signal %d at mutation %d of %s, %s %s\n", signal_number, now.mutation,
            now.file, saved ? "saved as" : "not saved as", path);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

/* A few changes of the kinds that find bugs: bits, extreme bytes, bytes moved, added and dropped.
 */
static size_t mutate_bytes(uint8_t *data, size_t size, size_t capacity) {
    static const uint8_t extremes[] = {0, 1, 0x7f, 0x80, 0xff};
    for (int32_t n = test_random_range(&randomness, 1, 4); n > 0 && size > 0; n--) {
        size_t at = test_random_next(&randomness) % size;
        size_t from = test_random_next(&randomness) % size;
        size_t count = test_random_next(&randomness) % 8 + 1;
        switch (test_random_range(&randomness, 0, 5)) {
        case 0:
            data[at] ^= (uint8_t)(1 << test_random_range(&randomness, 0, 7));
            break;
        case 1:
            data[at] = extremes[test_random_range(&randomness, 0, 4)];
            break;
        case 2:
            data[at] = (uint8_t)test_random_next(&randomness);
            break;
        case 3:
            memmove(data + at, data + from, VQZI_MIN(count, size - VQZI_MAX(at, from)));
            break;
        case 4:
            count = VQZI_MIN(count, capacity - size);
            memmove(data + at + count, data + at, size - at);
            size += count;
            break;
        default:
            count = VQZI_MIN(count, size - at);
            memmove(data + at, data + at + count, size - at - count);
            size -= count;
        }
    }
    return size;
}

/* On a copy of the exact size, so that a sanitizer sees what is read beyond it. */
static void run(const uint8_t *data, size_t size) {
    uint8_t *copy = fuzz_allocate(size);
    memcpy(copy, data, size);
    now.data = copy;
    now.size = size;
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

/* Reads at most MAX_SIZE bytes. */
static size_t load(const char *path, uint8_t *data) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "%s: cannot be read\n", path);
        exit(1);
    }
    size_t size = fread(data, 1, MAX_SIZE, file);
    fclose(file);
    return size;
}

static bool run_seed(const char *path, bool good) {
    static uint8_t seed[MAX_SIZE], data[MAX_SIZE];
    size_t seed_size = load(path, seed), accepted = fuzz_accepted;
    now.file = path;
    now.mutation = 0;
    run(seed, seed_size);
    bool right = !good || fuzz_accepted > accepted;
    randomness = fuzz_choices(seed, seed_size);
    for (now.mutation = 1; now.mutation <= MUTATIONS; now.mutation++) {
        memcpy(data, seed, seed_size);
        size_t size = fuzz_mutate(data, seed_size, MAX_SIZE, &randomness, mutate_bytes);
        run(data, size);
    }
    if (!right)
        fprintf(stderr, "%s: a good input is refused; `make fuzz-seeds` makes it anew\n", path);
    return right;
}

static int is_seed(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

static int run_corpus(void) {
    struct dirent **entries;
    char folder[128], path[512];
    snprintf(folder, sizeof folder, "tests/fuzz/corpus/%s", fuzz_name);
    int count = scandir(folder, &entries, is_seed, alphasort), wrong = 0;
    if (count <= 0) {
        fprintf(stderr, "%s: no seeds\n", folder);
        return 1;
    }
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        wrong += !run_seed(path, strncmp(entries[i]->d_name, "good-", 5) == 0);
        free(entries[i]);
    }
    free(entries);
    printf("%d seeds, %d mutations of each; %zu inputs accepted\n", count, MUTATIONS,
           fuzz_accepted);
    return wrong > 0;
}

int main(int argc, char **argv) {
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    static uint8_t data[MAX_SIZE];
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        signal(signals[i], save_input);
    if (argc < 2)
        return run_corpus();
    for (int i = 1; i < argc; i++) {
        now.file = argv[i];
        run(data, load(argv[i], data));
    }
    printf("%zu of %d inputs accepted\n", fuzz_accepted, argc - 1);
    return 0;
}
