/*
 * unpack_model.c - prepares the model that is built in; run by the build, on the machine that
 * builds.
 *
 *   unpack_model MODEL.vqm BODY
 *
 * BODY receives what the frame of the file holds, once it has passed vqzi_model_parse: the library
 * takes it on trust (vqzi_model_parse_known), so that no start has to inflate it, to hash it and to
 * try its dictionaries.  An empty file, no model, has an empty body.
 */
#include "format/model_parts.h"
#include "format/sha256.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static vqz_status unpack(const void *data, size_t size, vqzi_buffer *body, vqz_diag *diag) {
    vqzi_model model;
    uint8_t hash[VQZI_HASH_SIZE];
    VQZ_TRY(vqzi_model_parse(&model, data, size, &unlimited, diag));
    vqzi_put_body(body, &model);
    vqz_status status = vqzi_buffer_status(body);
    if (status != VQZ_OK) {
        vqzi_fail(diag, status, "out of memory");
    } else {
        vqzi_sha256(hash, body->data, body->size);
        if (memcmp(hash, model.hash, sizeof hash) != 0)
            status =
                vqzi_fail(diag, VQZ_ERROR_MODEL_INVALID, "its body would be written otherwise");
    }
    vqzi_model_clear(&model);
    return status;
}

int main(int argc, char **argv) {
    size_t size;
    vqz_diag diag = {""};
    vqzi_buffer body = {0};
    if (argc != 3) {
        fprintf(stderr, "usage: unpack_model MODEL.vqm BODY\n");
        return 2;
    }
    void *data = read_file(argv[1], &size);
    bool ok = data != NULL;
    if (!ok) {
        perror(argv[1]);
    } else if (size > 0 && unpack(data, size, &body, &diag) != VQZ_OK) {
        fprintf(stderr, "%s: %s\n", argv[1], diag.message);
        ok = false;
    }
    if (ok && !write_file(argv[2], body.data, body.size)) {
        perror(argv[2]);
        ok = false;
    }
    free(data);
    vqzi_buffer_clear(&body);
    return ok ? 0 : 1;
}
