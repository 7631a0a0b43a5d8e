/*
 * outcome.h - what the library makes of a picture file and its model, in one line: as
 * spec/vectors/list.txt has it, and as the second decoder prints it.
 */
#ifndef TESTS_OUTCOME_H
#define TESTS_OUTCOME_H

#include "codec/vqz.h"

enum { OUTCOME_SIZE = 256 };

/* "WIDTHxHEIGHTxCHANNELS" and the SHA-256 of the pixels, of the ICC profile and of the EXIF block
   ("-": none); or the name of the error that loading, decoding or reading the metadata gave.  cpu
   and threads as in vqz_context_options. */
void library_outcome(char outcome[OUTCOME_SIZE], vqz_cpu cpu, int threads, const void *model_file,
                     size_t model_size, const void *file, size_t size);

#endif
