/* corpus_folder.c - see corpus_folder.h. */
#include "tests/support/corpus_folder.h"
#include "tests/support/picture_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

int corpus_folder_setup(void **state) {
    corpus_folder *f = calloc(1, sizeof *f);
    if (f == NULL)
        return -1;
    strcpy(f->folder, "/tmp/vqz-corpus-XXXXXX");
    *state = f;
    return mkdtemp(f->folder) == NULL ? -1 : 0;
}

int corpus_folder_teardown(void **state) {
    corpus_folder *f = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", f->folder);
    int result = system(command);
    free(f);
    return result;
}

void write_file(const corpus_folder *f, const char *name, const void *data, size_t size) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", f->folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    fclose(file);
}

void make_subfolder(const corpus_folder *f, const char *name) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", f->folder, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

void write_picture(const corpus_folder *f, const char *name, uint32_t width, uint32_t height,
                   uint32_t channels, unsigned value) {
    size_t stride = (size_t)width * channels;
    picture p = {.image = {width, height, channels, stride, malloc(stride * height)}};
    assert_non_null(p.image.pixels);
    for (size_t y = 0; y < height; y++)
        for (size_t x = 0; x < width; x++)
            for (size_t c = 0; c < channels; c++)
                p.image.pixels[y * stride + x * channels + c] =
                    (uint8_t)(value + 3 * x + 5 * y + 7 * c);
    char path[256];
    snprintf(path, sizeof path, "%s/%s", f->folder, name);
    assert_int_equal(picture_file_write(path, &p, PICTURE_PNM, NULL), VQZ_OK);
    picture_clear(&p);
}

static void note_skipped(void *user, const char *path, const char *reason) {
    corpus_folder *f = user;
    const char *name = strrchr(path, '/');
    assert_true(f->skipped_count < 64);
    snprintf(f->skipped[f->skipped_count++], sizeof f->skipped[0], "%.20s: %.40s",
             name == NULL ? path : name + 1, reason);
}

corpus_options corpus_options_for(corpus_folder *f, const char *const *paths) {
    f->skipped_count = 0;
    return (corpus_options){.paths = paths,
                            .path_count = 1,
                            .memory_budget = 1 << 20,
                            .min_side = 4,
                            .threads = 2,
                            .read = picture_read_pixels,
                            .skipped = note_skipped,
                            .user = f};
}

corpus *load_corpus(const corpus_options *o, corpus_stats *stats) {
    corpus *c;
    vqz_diag diag = {""};
    if (corpus_load(&c, o, &diag) != VQZ_OK)
        fail_msg("%s", diag.message);
    corpus_get_stats(c, stats);
    return c;
}

void write_many_pictures(const corpus_folder *f, int count) {
    for (int i = 0; i < count; i++) {
        char name[16];
        snprintf(name, sizeof name, "%03d.ppm", i);
        write_picture(f, name, 20 + (uint32_t)(i * 7 % 50), 20 + (uint32_t)(i * 11 % 30), 3,
                      (unsigned)i * 5);
    }
}
