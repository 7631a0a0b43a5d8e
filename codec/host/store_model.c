/*
 * store_model.c - makes the model that is built in; run by the build, on the machine that builds.
 *
 *   store_model MODEL.vqm BUILT_IN.vqm
 *
 * Both files hold the same model.  The second is hardly compressed, and it has passed
 * vqzi_model_parse: the library takes it on trust (vqzi_model_parse_known), so that no start has
 * to inflate it, to hash it and to try its dictionaries.  An empty file, no model, stays empty.
 */
#include "format/model.h"

#include <stdio.h>
#include <stdlib.h>

/* What a reader accepts is for its limits to say. */
static const vqz_limits unlimited = {UINT64_MAX, UINT64_MAX, UINT64_MAX};

/* All of a file: malloc'ed.  NULL when it cannot be had. */
static void *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    void *data = NULL;
    long end = -1;
    if (file && fseek(file, 0, SEEK_END) == 0)
        end = ftell(file);
    if (end >= 0 && fseek(file, 0, SEEK_SET) == 0)
        data = malloc((size_t)end + 1);
    if (data && fread(data, 1, (size_t)end, file) != (size_t)end) {
        free(data);
        data = NULL;
    }
    if (file)
        fclose(file);
    *size = data ? (size_t)end : 0;
    return data;
}

static bool write_file(const char *path, const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    bool written = file && fwrite(data, 1, size, file) == size;
    return file && fclose(file) == 0 && written;
}

static vqz_status store(const void *data, size_t size, void **stored, size_t *stored_size,
                        vqz_diag *diag) {
    vqzi_model model, again;
    VQZ_TRY(vqzi_model_parse(&model, data, size, &unlimited, diag));
    vqz_status status = vqzi_model_store(&model, stored, stored_size, diag);
    vqzi_model_clear(&model);
    if (status != VQZ_OK)
        return status;
    status = vqzi_model_parse(&again, *stored, *stored_size, &unlimited, diag);
    if (status == VQZ_OK)
        vqzi_model_clear(&again);
    return status;
}

int main(int argc, char **argv) {
    size_t size, stored_size = 0;
    vqz_diag diag = {""};
    if (argc != 3) {
        fprintf(stderr, "usage: store_model MODEL.vqm BUILT_IN.vqm\n");
        return 2;
    }
    void *data = read_file(argv[1], &size), *stored = NULL;
    bool ok = data != NULL;
    if (!ok)
        perror(argv[1]);
    else if (size > 0 && store(data, size, &stored, &stored_size, &diag) != VQZ_OK) {
        fprintf(stderr, "%s: %s\n", argv[1], diag.message);
        ok = false;
    }
    if (ok && !write_file(argv[2], stored, stored_size)) {
        perror(argv[2]);
        ok = false;
    }
    free(data);
    free(stored);
    return ok ? 0 : 1;
}
