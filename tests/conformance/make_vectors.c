/*
 * make_vectors.c - makes the conformance vectors of spec/vectors/ in a folder: the files, list.txt
 * (file, model, outcome) and table.md (what each is for).  Where the library does not do what is
 * written here about a vector, it says so and fails.
 *
 *     make_vectors FOLDER
 *
 * Seeds come from names, so that a new vector changes no other.  Compressed parts depend on the
 * version of zstd; see keep_vectors.sh.
 */
#include "tests/conformance/vectors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *folder;
static FILE *list, *table;
static int faults;

/* FNV-1a */
static uint64_t vector_seed(const char *name) {
    uint64_t seed = 0xcbf29ce484222325u;
    while (*name != '\0')
        seed = (seed ^ (uint8_t)*name++) * 0x100000001b3u;
    return seed;
}

static void fail(const char *name, const char *why) {
    fprintf(stderr, "make_vectors: %s: %s\n", name, why);
    faults++;
}

static FILE *create(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        fprintf(stderr, "make_vectors: cannot create %s\n", path);
        exit(1);
    }
    return file;
}

static void write_vector(const char *name, const vqzi_buffer *bytes) {
    FILE *file = create(name);
    if (fwrite(bytes->data, 1, bytes->size, file) != bytes->size || fclose(file) != 0)
        fail(name, "cannot be written");
}

/* A line of the list and one of the table; `expected` is the error's name, or NULL for a picture.
 */
static void record(const char *file, const vqzi_buffer *bytes, const char *model,
                   const vqzi_buffer *model_bytes, const char *expected, const char *shown,
                   const char *text) {
    char outcome[OUTCOME_SIZE];
    library_outcome(outcome, VQZ_CPU_BEST, 1, model_bytes->data, model_bytes->size, bytes->data,
                    bytes->size);
    bool decoded = strchr(outcome, ' ') != NULL;
    if (expected != NULL ? strcmp(outcome, expected) != 0 : !decoded)
        fail(shown, outcome);
    fprintf(list, "%s %s %s\n", file, model, outcome);
    if (decoded)
        outcome[strcspn(outcome, " ")] = '\0';
    fprintf(table, "| `%s` | `%s` | %s | %s |\n", shown, shown == file ? model : file, outcome,
            text);
}

/* ---- models ---- */

enum { MAX_MODELS = 64 };
static struct {
    const char *name;
    vqzi_model model;
    vqzi_buffer file;
    char path[128];
} models[MAX_MODELS];
static int model_count;

static int find_model(const char *name) {
    for (int i = 0; i < model_count; i++)
        if (strcmp(models[i].name, name) == 0)
            return i;
    fprintf(stderr, "make_vectors: no model %s\n", name);
    exit(1);
}

static void build_model(vqzi_model *model, const good_model *from) {
    random_model_options options = from->options;
    test_random random = {vector_seed(from->name)};
    options.seed = vector_seed(from->name);
    random_model(model, &options);
    if (from->finish != NULL)
        from->finish(model, &options, &random);
}

static void make_models(void) {
    for (const good_model *m = good_models; m->name != NULL; m++) {
        int i = model_count++;
        models[i].name = m->name;
        build_model(&models[i].model, m);
        snprintf(models[i].path, sizeof models[i].path, "models/%s.vqm", m->name);
        make_model_file(&models[i].file, &models[i].model);
        write_vector(models[i].path, &models[i].file);
        fprintf(table, "| `%s` | %s |\n", models[i].path, m->text);
    }
}

/* ---- pictures ---- */

static void make_good(void) {
    for (const good_file *g = good_files; g->name != NULL; g++) {
        int m = find_model(g->model);
        file_options options = g->options;
        vqzi_buffer file = {0};
        char path[128];
        options.seed = vector_seed(g->name);
        options.method = g->method - 1;
        options.filter = g->filter - 1;
        options.gray |= models[m].model.channels == 1;
        snprintf(path, sizeof path, "good/%s.vqz", g->name);
        make_file(&file, &models[m].model, &options);
        write_vector(path, &file);
        record(path, &file, models[m].path, &models[m].file, NULL, path, g->text);
        vqzi_buffer_clear(&file);
    }
}

static void apply(vqzi_buffer *file, const byte_edit *edit) {
    size_t at =
        edit->at < 0 ? file->size - (size_t)-edit->at : VQZI_MIN(file->size, (size_t)edit->at);
    vqzi_buffer result = {0};
    vqzi_buffer_append(&result, file->data, at);
    vqzi_buffer_append(&result, edit->bytes, edit->size);
    vqzi_buffer_append(&result, file->data + at + edit->removed, file->size - at - edit->removed);
    vqzi_buffer_clear(file);
    *file = result;
}

static void make_plain_file(vqzi_buffer *file, const plain_file *p, const vqzi_model *model) {
    file_options options;
    file_options_init(&options, model, 0);
    options.width = p->width;
    options.height = p->height;
    options.alpha = (p->flags & PLAIN_ALPHA) != 0;
    options.rans = (p->flags & PLAIN_RANS) != 0;
    options.scans = (p->flags & PLAIN_SCANS) != 0;
    make_header(file, model, &options);
    /* chunks are those given, whatever the model would need */
    file->data[3] = (uint8_t)((file->data[3] & ~64) | (p->chunks_size > 0 ? 64 : 0));
    vqzi_buffer_append(file, p->chunks, p->chunks_size);
    vqzi_buffer_append(file, p->body, p->body_size);
    if (p->symbols != NULL)
        encode_symbols(file, p->symbols, p->end_state);
    vqzi_trailer_write(file);
    apply(file, &p->edit);
    if (!p->keep_checksum)
        mend_checksum(file->data, file->size);
}

static void make_plain(void) {
    for (const plain_file *p = plain_files; p->name != NULL; p++) {
        int m = find_model(p->model);
        vqzi_buffer file = {0};
        char path[128];
        make_plain_file(&file, p, &models[m].model);
        snprintf(path, sizeof path, "%s/%s.vqz", p->folder, p->name);
        write_vector(path, &file);
        record(path, &file, models[m].path, &models[m].file, p->expected, path, p->text);
        vqzi_buffer_clear(&file);
    }
}

/* ---- changed models ---- */

static void apply_to_body(vqzi_buffer *file, const byte_edit *edit) {
    size_t size;
    uint8_t *data = unwrap_body(file->data, file->size, &size), version = file->data[3];
    vqzi_buffer body = {0};
    vqzi_buffer_append(&body, data, size);
    apply(&body, edit);
    vqzi_buffer_clear(file);
    wrap_body(file, version, body.data, body.size);
    vqzi_buffer_clear(&body);
    free(data);
}

/* The plain picture of this name; without one no bytes: a bad model is refused before they are
 * looked at. */
static void put_picture(vqzi_buffer *file, const char *name) {
    for (const plain_file *p = plain_files; p->name != NULL; p++)
        if (strcmp(p->name, name) == 0)
            make_plain_file(file, p, &models[find_model(p->model)].model);
}

static void make_changed_models(void) {
    for (const changed_model *c = changed_models; c->name != NULL; c++) {
        const good_model *base = good_models;
        vqzi_model model, kept;
        vqzi_buffer file = {0}, picture = {0};
        char path[128], picture_path[128];
        while (strcmp(base->name, c->base) != 0)
            base++;
        build_model(&model, base);
        kept = model; /* counts as they were, for freeing */
        if (c->apply != NULL)
            c->apply(&model);
        make_model_file(&file, &model);
        if (c->in_body)
            apply_to_body(&file, &c->edit);
        else
            apply(&file, &c->edit);
        snprintf(path, sizeof path, "%s/%s.vqm", c->folder, c->name);
        snprintf(picture_path, sizeof picture_path, "good/%s.vqz", c->base);
        put_picture(&picture, c->base);
        write_vector(path, &file);
        record(picture_path, &picture, path, &file, c->expected, path, c->text);
        vqzi_buffer_clear(&picture);
        vqzi_buffer_clear(&file);
        vqzi_model_clear(&kept);
    }
}

static void make_folder(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    mkdir(path, 0777);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fputs("usage: make_vectors FOLDER\n", stderr);
        return 2;
    }
    folder = argv[1];
    make_folder("");
    make_folder("models");
    make_folder("good");
    make_folder("bad");
    make_folder("unsupported");
    list = create("list.txt");
    table = create("table.md");
    fputs("| model | what it has |\n| --- | --- |\n", table);
    make_models();
    fputs("\n| picture | model | outcome | what it is for |\n| --- | --- | --- | --- |\n", table);
    make_good();
    make_plain();
    fputs("\n| changed model | picture | outcome | what is changed |\n"
          "| --- | --- | --- | --- |\n",
          table);
    make_changed_models();
    if (fclose(list) != 0 || fclose(table) != 0)
        fail(folder, "cannot be written");
    return faults > 0;
}
