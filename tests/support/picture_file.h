/*
 * picture_file.h - whole picture files for tests, through the readers and writers of the program.
 */
#ifndef TESTS_PICTURE_FILE_H
#define TESTS_PICTURE_FILE_H

#include "cli/picture.h"

VQZ_MUST_CHECK vqz_status picture_file_parse(picture *p, const void *data, size_t size,
                                             uint64_t max_pixels, vqz_diag *diag);
VQZ_MUST_CHECK vqz_status picture_file_read(picture *p, const char *path, uint64_t max_pixels,
                                            vqz_diag *diag);
/* Overwrites what is there. */
VQZ_MUST_CHECK vqz_status picture_file_write(const char *path, const picture *p,
                                             picture_format format, vqz_diag *diag);

#endif
