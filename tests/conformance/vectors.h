/*
 * vectors.h - what make_vectors.c makes vectors from: tables in vector_models.c and vector_files.c.
 */
#ifndef TESTS_VECTORS_H
#define TESTS_VECTORS_H

#include "tests/support/file_maker.h"
#include "tests/support/outcome.h"

/* A string of bytes and its size, for initialisers. */
#define BYTES(string) string, sizeof(string) - 1

enum { END = 1 << 30 };
/* Replaces `removed` bytes from `at` on by others; at below 0 counts from the end, END is behind
   the last byte. All zero: nothing. */
typedef struct byte_edit {
    int at;
    size_t removed;
    const char *bytes;
    size_t size;
} byte_edit;

typedef struct good_model {
    const char *name, *text;
    random_model_options options; /* but for the seed */
    void (*finish)(vqzi_model *model, const random_model_options *options, test_random *random);
} good_model;

/* Pictures of file_maker.c. */
typedef struct good_file {
    const char *name, *model, *text;
    file_options options;
    int method, filter; /* of file_options, plus 1: 0 is any */
} good_file;

enum { PLAIN_ALPHA = 1, PLAIN_RANS = 2, PLAIN_SCANS = 4 };

/* An interval of rANS; frequency 0 ends a list. */
typedef struct interval {
    uint32_t start, frequency;
} interval;

/* Pictures written byte by byte: header, chunks, body, rANS symbols, checksum; then edited.  Gray
   under a gray model, quality 50. */
typedef struct plain_file {
    const char *folder, *name, *model, *expected, *text; /* expected: NULL for a picture */
    uint32_t width, height;
    int flags;
    const char *chunks; /* without the zero behind the last one; NULL: none */
    size_t chunks_size;
    const char *body;
    size_t body_size;
    const interval *symbols; /* NULL: none */
    uint64_t end_state;      /* of rANS; 1 in good files */
    byte_edit edit;
    bool keep_checksum; /* as it was before the edit */
} plain_file;

/* A good model with a change in memory, in its body, or in its file, which mostly breaks a rule. */
typedef struct changed_model {
    const char *folder, *name, *base, *expected, *text;
    void (*apply)(vqzi_model *model);
    byte_edit edit;
    bool in_body;
} changed_model;

/* All end with a name that is NULL. */
extern const good_model good_models[];
extern const changed_model changed_models[];
extern const good_file good_files[];
extern const plain_file plain_files[];

/* Appends the rANS stream of some symbols that leaves a decoder with `end_state`. */
void encode_symbols(vqzi_buffer *file, const interval *symbols, uint64_t end_state);

#endif
