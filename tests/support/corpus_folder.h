/*
 * corpus_folder.h - a temporary folder of picture files for tests of the corpus, as a cmocka
 * fixture.
 */
#ifndef TESTS_CORPUS_FOLDER_H
#define TESTS_CORPUS_FOLDER_H

#include "trainer/corpus.h"

typedef struct corpus_folder {
    char folder[64];
    char skipped[64][64]; /* "name: reason" */
    size_t skipped_count;
} corpus_folder;

int corpus_folder_setup(void **state);
int corpus_folder_teardown(void **state);
#define TEST_IN_FOLDER(name)                                                                       \
    cmocka_unit_test_setup_teardown(name, corpus_folder_setup, corpus_folder_teardown)

void write_file(const corpus_folder *f, const char *name, const void *data, size_t size);
#define WRITE_LITERAL(f, name, literal) write_file(f, name, literal, sizeof(literal) - 1)
void make_subfolder(const corpus_folder *f, const char *name);
/* A PNM picture whose samples are value + 3x + 5y + 7c. */
void write_picture(const corpus_folder *f, const char *name, uint32_t width, uint32_t height,
                   uint32_t channels, unsigned value);
/* 000.ppm, 001.ppm, ...: (20 + 7i mod 50) x (20 + 11i mod 30) pixels, value 5i. */
void write_many_pictures(const corpus_folder *f, int count);

/* Options for one path, with room for everything, that note skipped files in the fixture. */
corpus_options corpus_options_for(corpus_folder *f, const char *const *paths);
/* Fails the test when the corpus cannot be loaded. */
corpus *load_corpus(const corpus_options *o, corpus_stats *stats);

#endif
