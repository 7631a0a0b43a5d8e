/*
 * random_files.c - random models and files, valid and damaged, through the library and through the
 * second decoder: both must give the same pixels and metadata, or both refuse.
 *
 *     random_files VQZDEC COUNT SEED
 *
 * Every one of COUNT models gets a few valid files, damaged copies of those with right checksums,
 * and a damaged body with a right hash.  A difference is printed with the seed of its model: with
 * COUNT 1 that seed makes it again and leaves it in the current folder, as model.vqm and file.vqz.
 */
#include "tests/support/file_maker.h"
#include "tests/support/outcome.h"
#include "tests/support/random_prior.h"
#include "tests/support/varied_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILES = 3, DAMAGED = 4, DAMAGED_BODIES = 3, SIDE = 48 };

static const char *decoder;
static struct { unsigned long decoded, refused, limits; } counts;

static void write_file(const char *path, const vqzi_buffer *bytes) {
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(bytes->data, 1, bytes->size, file) != bytes->size ||
        fclose(file) != 0) {
        fprintf(stderr, "random_files: cannot write %s\n", path);
        exit(1);
    }
}

/* What the second decoder prints: an outcome, or "invalid", "unsupported", "limit"; anything else
 * is wrong. */
static void decoder_outcome(char outcome[OUTCOME_SIZE], const vqzi_buffer *model,
                            const vqzi_buffer *file) {
    char command[512], line[512] = "", class[32] = "";
    write_file("model.vqm", model);
    write_file("file.vqz", file);
    snprintf(command, sizeof command, "'%s' -s model.vqm file.vqz 2>&1", decoder);
    FILE *pipe = popen(command, "r");
    if (pipe == NULL || fgets(line, sizeof line, pipe) == NULL)
        strcpy(line, "nothing\n");
    bool whole = pipe != NULL && fgetc(pipe) == EOF;
    int status = pipe != NULL ? pclose(pipe) : -1;
    line[strcspn(line, "\n")] = '\0';
    if (status == 256 && whole && sscanf(line, "vqzdec: %*[^:]: %31[a-z]:", class) == 1)
        snprintf(outcome, OUTCOME_SIZE, "%s", class);
    else
        snprintf(outcome, OUTCOME_SIZE, "%s%.240s", status == 0 && whole ? "" : "crashed: ", line);
}

static bool is_limit(const char *outcome) {
    return strcmp(outcome, "limit") == 0 || strcmp(outcome, "memory") == 0;
}

/* Compares the two; true when they agree. */
static bool check(test_random *random, const vqzi_buffer *model, const vqzi_buffer *file,
                  const char *what, uint64_t seed) {
    static const vqz_cpu cpus[] = {VQZ_CPU_BEST, VQZ_CPU_SCALAR, VQZ_CPU_AVX2, VQZ_CPU_AVX512};
    char ours[OUTCOME_SIZE], theirs[OUTCOME_SIZE];
    library_outcome(ours, cpus[test_random_range(random, 0, 3)], test_random_range(random, 1, 2),
                    model->data, model->size, file->data, file->size);
    decoder_outcome(theirs, model, file);
    if (is_limit(ours) || is_limit(theirs)) {
        counts.limits++;
        return true;
    }
    bool later = strcmp(ours, "unsupported") == 0 || strcmp(ours, "version") == 0;
    const char *expected = strchr(ours, ' ') != NULL ? ours : later ? "unsupported" : "invalid";
    if (strcmp(expected, theirs) != 0) {
        printf("seed %llu, %s: the library says %s, the second decoder %s\n",
               (unsigned long long)seed, what, ours, theirs);
        return false;
    }
    counts.decoded += expected == ours;
    counts.refused += expected != ours;
    return true;
}

/* Changes a few bytes behind `start`, removes or doubles some. */
static void damage(vqzi_buffer *bytes, test_random *random, size_t start, size_t end) {
    for (int32_t changes = test_random_range(random, 1, 3); changes > 0 && end > start; changes--) {
        size_t at = start + test_random_next(random) % (end - start);
        uint8_t *byte = bytes->data + at;
        switch (test_random_range(random, 0, 4)) {
        case 0:
            *byte ^= (uint8_t)(1 << test_random_range(random, 0, 7));
            break;
        case 1:
            *byte = (uint8_t)test_random_next(random);
            break;
        case 2:
            *byte = (uint8_t)(*byte + test_random_range(random, 0, 1) * 2 - 1);
            break;
        case 3: /* gone */
            memmove(byte, byte + 1, bytes->size - at - 1);
            bytes->size--;
            end--;
            break;
        default: /* twice */
            vqzi_buffer_byte(bytes, 0);
            memmove(bytes->data + at + 1, bytes->data + at, bytes->size - 1 - at);
            end++;
        }
    }
}

static vqzi_buffer copy_of(const void *data, size_t size) {
    vqzi_buffer copy = {0};
    vqzi_buffer_append(&copy, data, size);
    return copy;
}

static bool check_damaged_files(test_random *random, const vqzi_buffer *model,
                                const vqzi_buffer *file, uint64_t seed) {
    bool good = true;
    for (int i = 0; i < DAMAGED && good; i++) {
        vqzi_buffer copy = copy_of(file->data, file->size);
        damage(&copy, random, test_coin(random) ? 3 : 8, copy.size - 4);
        mend_checksum(copy.data, copy.size);
        good = check(random, model, &copy, "a damaged file", seed);
        vqzi_buffer_clear(&copy);
    }
    return good;
}

/* The file asks for the model that the damaged body is. */
static bool check_damaged_bodies(test_random *random, const vqzi_buffer *model,
                                 const vqzi_buffer *file, uint64_t seed) {
    size_t size;
    uint8_t *body = unwrap_body(model->data, model->size, &size);
    bool good = true;
    for (int i = 0; i < DAMAGED_BODIES && good; i++) {
        vqzi_buffer copy = copy_of(body, size), wrapped = {0},
                    other = copy_of(file->data, file->size);
        uint8_t hash[VQZI_HASH_SIZE];
        /* most of a body is weights, where anything goes: look at its ends too */
        size_t end = test_random_range(random, 0, 2) == 0 ? VQZI_MIN(size, (size_t)60) : size;
        size_t start = test_random_range(random, 0, 2) == 0 && size > 200 ? size - 200 : 0;
        damage(&copy, random, start, VQZI_MAX(start, end));
        vqzi_sha256(hash, copy.data, copy.size);
        wrap_body(&wrapped, model->data[3], copy.data, copy.size);
        memcpy(other.data + 4, hash, 4);
        mend_checksum(other.data, other.size);
        good = check(random, &wrapped, &other, "a damaged body", seed);
        vqzi_buffer_clear(&copy);
        vqzi_buffer_clear(&wrapped);
        vqzi_buffer_clear(&other);
    }
    free(body);
    return good;
}

static bool check_model(uint64_t seed) {
    test_random random = {seed ^ 0xc0de};
    vqzi_model model;
    vqzi_buffer model_file = {0};
    bool good = true;
    varied_model(&model, seed);
    make_model_file(&model_file, &model);
    for (int i = 0; i < FILES && good; i++) {
        file_options options;
        vqzi_buffer file = {0};
        file_options_draw(&options, &model, test_random_next(&random),
                          model.planes[0].codes > 256 ? SIDE / 3 : SIDE);
        make_file(&file, &model, &options);
        good = check(&random, &model_file, &file, "a valid file", seed) &&
               check_damaged_files(&random, &model_file, &file, seed) &&
               (i > 0 || check_damaged_bodies(&random, &model_file, &file, seed));
        vqzi_buffer_clear(&file);
    }
    vqzi_buffer_clear(&model_file);
    vqzi_model_clear(&model);
    return good;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fputs("usage: random_files VQZDEC COUNT SEED\n", stderr);
        return 2;
    }
    decoder = argv[1];
    unsigned long models = strtoul(argv[2], NULL, 10), different = 0;
    uint64_t seed = strtoull(argv[3], NULL, 10);
    for (unsigned long i = 0; i < models && different < 10; i++) {
        different += !check_model(seed + i);
        if (i % 100 == 99)
            printf("%lu models so far\n", i + 1);
        fflush(stdout);
    }
    printf(
        "%lu models: %lu times the same picture, %lu times refused by both, %lu over a limit, %lu "
        "different\n",
        models, counts.decoded, counts.refused, counts.limits, different);
    return different > 0 || counts.decoded == 0;
}
