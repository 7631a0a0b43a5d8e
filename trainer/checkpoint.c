/*
 * checkpoint.c - a run on disk, so that a kill costs at most one interval.
 *
 * Layout, in the byte order of the machine (a checkpoint is continued where it was made):
 *   "VQZCKPT2", fingerprint (512), run_state, optimiser scalars, parameters, m, v, quantiser state,
 *   epoch counts, CRC-32 of all before.
 */
#include "format/container.h"
#include "trainer/trainer.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char MAGIC[8] = {'V', 'Q', 'Z', 'C', 'K', 'P', 'T', '2'};

vqz_status save_file(const trainer *t, const char *path, const byte_span *spans, size_t count,
                     vqz_diag *diag) {
    vqz_diag why = {""};
    vqz_status status = t->options.write(path, spans, count, &why);
    return status == VQZ_OK ? VQZ_OK : vqzi_fail(diag, status, "%s: %s", path, why.message);
}

enum { SPANS = 10 };

/* The parts of a checkpoint as they lie in memory; the same list serves both directions. */
static size_t checkpoint_spans(trainer *t, double scalars[3], byte_span *spans) {
    void *state;
    size_t state_size, floats = t->parameter_count * sizeof(float), n = 0;
    quantiser_state(t->quantiser, &state, &state_size);
    spans[n++] = (byte_span){t->fingerprint, sizeof t->fingerprint};
    spans[n++] = (byte_span){&t->run, sizeof t->run};
    spans[n++] = (byte_span){scalars, 3 * sizeof *scalars};
    spans[n++] = (byte_span){t->parameters, floats};
    spans[n++] = (byte_span){t->optimiser.m, floats};
    spans[n++] = (byte_span){t->optimiser.v, floats};
    spans[n++] = (byte_span){state, state_size};
    spans[n++] = (byte_span){t->epoch_counts, t->epoch_count_size * sizeof *t->epoch_counts};
    return n;
}

vqz_status checkpoint_save(trainer *t, const char *path, vqz_diag *diag) {
    double scalars[3] = {t->optimiser.steps, t->optimiser.average_norm, t->optimiser.gated};
    byte_span spans[SPANS] = {{MAGIC, sizeof MAGIC}};
    size_t count = 1 + checkpoint_spans(t, scalars, spans + 1);
    uint32_t crc = 0;
    for (size_t i = 0; i < count; i++)
        crc = vqzi_crc32(crc, spans[i].data, spans[i].size);
    spans[count++] = (byte_span){&crc, sizeof crc};
    return save_file(t, path, spans, count, diag);
}

static void take_scalars(trainer *t, const double scalars[3]) {
    t->optimiser.steps = scalars[0];
    t->optimiser.average_norm = scalars[1];
    t->optimiser.gated = scalars[2];
}

void checkpoint_copy(trainer *t) {
    double scalars[3] = {t->optimiser.steps, t->optimiser.average_norm, t->optimiser.gated};
    byte_span spans[SPANS];
    size_t count = checkpoint_spans(t, scalars, spans);
    for (size_t i = 0; i < count; i++)
        cluster_copy(&t->cluster, (void *)(uintptr_t)spans[i].data, spans[i].size);
    take_scalars(t, scalars);
}

uint32_t checkpoint_hash(trainer *t) {
    double scalars[3] = {t->optimiser.steps, t->optimiser.average_norm, t->optimiser.gated};
    byte_span spans[SPANS];
    size_t count = checkpoint_spans(t, scalars, spans);
    uint64_t log_size = t->run.log_size;
    uint32_t crc = 0;
    t->run.log_size = 0; /* only the leader has a log */
    for (size_t i = 0; i < count; i++)
        crc = vqzi_crc32(crc, spans[i].data, spans[i].size);
    t->run.log_size = log_size;
    return crc;
}

/* The whole file, malloc'ed. */
static vqz_status read_checkpoint(const char *path, uint8_t **bytes, size_t *size, vqz_diag *diag) {
    *bytes = NULL;
    FILE *file = fopen(path, "rb");
    if (!file)
        return vqzi_fail(diag, VQZ_ERROR_IO, "%s: %s; run without --resume to start anew", path,
                         strerror(errno));
    struct stat info;
    vqz_status status = VQZ_OK;
    if (fstat(fileno(file), &info) != 0 || !S_ISREG(info.st_mode))
        status = vqzi_fail(diag, VQZ_ERROR_IO, "%s: not a file that can be read", path);
    else if ((uint64_t)info.st_size > SIZE_MAX - 1 ||
             (*bytes = malloc((size_t)info.st_size + 1)) == NULL)
        status = vqzi_fail(diag, VQZ_ERROR_MEMORY, "%s: out of memory for the checkpoint", path);
    else
        *size = fread(*bytes, 1, (size_t)info.st_size, file);
    if (status == VQZ_OK && ferror(file))
        status = vqzi_fail(diag, VQZ_ERROR_IO, "%s: cannot read", path);
    fclose(file);
    return status;
}

/* Names the first setting that differs; both texts are lists with commas. */
static vqz_status other_settings(const char *path, const char *made, const char *wanted,
                                 vqz_diag *diag) {
    size_t a = 0, b = 0;
    do {
        made += a + (a && *made ? strspn(made + a, ", ") : 0);
        wanted += b + (b && *wanted ? strspn(wanted + b, ", ") : 0);
        a = strcspn(made, ",");
        b = strcspn(wanted, ",");
    } while (a > 0 && a == b && memcmp(made, wanted, a) == 0);
    return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                     "%s: made with %.*s, but this run has %.*s; give the same settings and corpus "
                     "to resume, or start anew with -f",
                     path, (int)VQZI_MIN(a, (size_t)100), made, (int)VQZI_MIN(b, (size_t)100),
                     wanted);
}

static vqz_status check_checkpoint(const trainer *t, const char *path, const uint8_t *bytes,
                                   size_t size, size_t expected, vqz_diag *diag) {
    char made[sizeof t->fingerprint];
    uint32_t crc;
    if (memcmp(bytes, MAGIC, VQZI_MIN(size, sizeof MAGIC)) != 0)
        return vqzi_fail(diag, VQZ_ERROR_FORMAT, "%s: not a checkpoint of this program", path);
    bool whole = size >= sizeof MAGIC + sizeof made + sizeof crc;
    if (whole) {
        memcpy(&crc, bytes + size - sizeof crc, sizeof crc);
        whole = crc == vqzi_crc32(0, bytes, size - sizeof crc);
    }
    if (!whole)
        return vqzi_fail(diag, VQZ_ERROR_CORRUPT,
                         "%s: the checkpoint is damaged; start anew with -f", path);
    memcpy(made, bytes + sizeof MAGIC, sizeof made);
    made[sizeof made - 1] = '\0';
    if (strcmp(made, t->fingerprint) != 0)
        return other_settings(path, made, t->fingerprint, diag);
    if (size != expected)
        return vqzi_fail(diag, VQZ_ERROR_UNSUPPORTED,
                         "%s: made by another version of this program; start anew with -f", path);
    return VQZ_OK;
}

vqz_status checkpoint_load(trainer *t, const char *path, vqz_diag *diag) {
    double scalars[3];
    byte_span spans[SPANS];
    size_t count = checkpoint_spans(t, scalars, spans), size = 0;
    size_t expected = sizeof MAGIC + sizeof(uint32_t);
    for (size_t i = 0; i < count; i++)
        expected += spans[i].size;
    uint8_t *bytes;
    vqz_status status = read_checkpoint(path, &bytes, &size, diag);
    if (status == VQZ_OK)
        status = check_checkpoint(t, path, bytes, size, expected, diag);
    if (status == VQZ_OK) {
        const uint8_t *at = bytes + sizeof MAGIC;
        for (size_t i = 0; i < count; i++) {
            memcpy((void *)(uintptr_t)spans[i].data, at, spans[i].size);
            at += spans[i].size;
        }
        take_scalars(t, scalars);
    }
    free(bytes);
    return status;
}
