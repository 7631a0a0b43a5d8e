/*
 * source.h - a file that is read where and when its bytes are needed: a regular file in pieces, a
 * pipe or a block of memory as a whole.
 */
#ifndef CLI_SOURCE_H
#define CLI_SOURCE_H

#include "format/common.h"

typedef struct source source;

/* A file or standard input ("-").  What is not a regular file is read into memory at once, at most
   max_size bytes. */
VQZ_MUST_CHECK vqz_status source_open(source **s, const char *path, size_t max_size,
                                      vqz_diag *diag);
/* data is borrowed. */
VQZ_MUST_CHECK vqz_status source_from_memory(source **s, const void *data, size_t size,
                                             vqz_diag *diag);
void source_close(source *s);

/* Bytes in all. */
uint64_t source_size(const source *s);
/* The bytes at an offset: *data points to *available of them until the next call; 0 at the end (or
   behind it). */
VQZ_MUST_CHECK vqz_status source_at(source *s, uint64_t offset, const uint8_t **data,
                                    size_t *available, vqz_diag *diag);
/* Copies what is there, at most size bytes; *got is less than size at the end only. */
VQZ_MUST_CHECK vqz_status source_copy(source *s, uint64_t offset, void *dst, size_t size,
                                      size_t *got, vqz_diag *diag);

#endif
