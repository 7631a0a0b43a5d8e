/*
 * cmd_tokens.c - vqz tokens: the code indices of .vqz files as NumPy arrays.
 *
 * The array file is that of NumPy's format 1.0: magic, version, length of the header, a Python
 * dictionary padded with blanks to a multiple of 64 bytes, then the elements in C order, here
 * little-endian uint16 of shape (planes, rows, columns).
 */
#include "cli/commands.h"
#include "cli/session.h"
#include "cli/text.h"
#include <stdlib.h>
#include <string.h>

enum { NPY_START = 10, NPY_ALIGNMENT = 64 };

typedef struct token_file {
    void *file;
    size_t size;
    const vqz_model *model;
    uint32_t planes, rows, columns;
    uint16_t *codes;
    size_t count;
    file_output *output;
} token_file;

static vqz_status read_codes(worker *w, const job *j, token_file *t, vqz_diag *diag) {
    session *s = w->session;
    vqz_info info;
    vqz_model_info model;
    vqz_context *context;
    VQZ_TRY(file_read(j->input, s->max_file, &t->file, &t->size, diag));
    VQZ_TRY(vqz_read_info(t->file, t->size, &info, diag));
    VQZ_TRY(
        models_by_hash(s->models, info.model_hash, s->settings->model, j->input, &t->model, diag));
    VQZ_TRY(worker_context(w, &context, diag));
    vqz_model_get_info(t->model, &model);
    t->planes = model.planes;
    t->rows = (info.height + model.stride - 1) / model.stride;
    t->columns = (info.width + model.stride - 1) / model.stride;
    uint64_t count = (uint64_t)t->rows * t->columns * t->planes;
    if (count > s->limits.max_memory / sizeof *t->codes)
        return vqzi_fail(diag, VQZ_ERROR_LIMIT,
                         "has %llu indices, more than the memory limit allows; raise it with "
                         "--max-memory",
                         (unsigned long long)count);
    t->count = (size_t)count;
    t->codes = malloc(t->count * sizeof *t->codes);
    if (t->codes == NULL)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory");
    return vqz_read_codes(context, t->model, t->file, t->size, t->codes, t->count, diag);
}

static vqz_status write_header(const token_file *t, vqz_diag *diag) {
    char header[3 * NPY_ALIGNMENT] = "\x93NUMPY\x01";
    int length = snprintf(header + NPY_START, sizeof header - NPY_START,
                          "{'descr': '<u2', 'fortran_order': False, 'shape': (%u, %u, %u), }",
                          t->planes, t->rows, t->columns);
    size_t used = NPY_START + (size_t)length;
    size_t size = (used + NPY_ALIGNMENT) / NPY_ALIGNMENT * NPY_ALIGNMENT;
    memset(header + used, ' ', size - used);
    header[size - 1] = '\n';
    header[8] = (char)(size - NPY_START); /* below 256 */
    return file_append(t->output, header, size, diag);
}

static vqz_status write_array(worker *w, const job *j, token_file *t, vqz_diag *diag) {
    VQZ_TRY(file_create(&t->output, j->output, w->session->settings->force, diag));
    VQZ_TRY(write_header(t, diag));
    for (size_t i = 0; i < t->count;) {
        uint8_t bytes[8192];
        size_t filled = 0;
        for (; filled < sizeof bytes && i < t->count; i++) {
            bytes[filled++] = (uint8_t)t->codes[i];
            bytes[filled++] = (uint8_t)(t->codes[i] >> 8);
        }
        VQZ_TRY(file_append(t->output, bytes, filled, diag));
    }
    return file_commit(t->output, diag);
}

static vqz_status tokens_one(worker *w, const job *j, size_t index, vqz_diag *diag) {
    (void)index;
    token_file t = {.file = NULL};
    w->at_output = true;
    VQZ_TRY(job_prepare(j, w->session->settings->force, diag));
    w->at_output = false;
    vqz_status status = read_codes(w, j, &t, diag);
    if (status == VQZ_OK) {
        w->at_output = true;
        status = write_array(w, j, &t, diag);
    }
    if (status == VQZ_OK)
        report_result(&w->report, report_input_name(j->input), "%u planes of %ux%u, %s", t.planes,
                      t.columns, t.rows, report_output_name(j->output));
    file_close(t.output);
    models_return(w->session->models, t.model);
    free(t.codes);
    free(t.file);
    return status;
}

int run_tokens(const settings *s, int count, char **operands) {
    const job_rules rules = {.extensions = vqz_extensions,
                             .what = ".vqz files",
                             .new_extension = "npy",
                             .output = s->output,
                             .recursive = s->recursive};
    return session_run_command(s, &rules, count, operands, &(task){.run = tokens_one});
}
