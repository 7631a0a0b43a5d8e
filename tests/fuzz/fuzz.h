/*
 * fuzz.h - what the fuzz targets share.  tests/README.md says how they are built and run.
 *
 * A target is one file, fuzz_NAME.c, with the three definitions below.  It is linked with
 * libfuzzer.c for `make fuzz`, and with replay.c for `make check`.  A target aborts when a promise
 * of the library does not hold; that a hostile input is refused is no failure.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include "tests/support/random_model.h"

/* Changes some of size <= capacity bytes; returns the new size. */
typedef size_t fuzz_byte_mutator(uint8_t *data, size_t size, size_t capacity);

/* ---- in every target ---- */

/* Name of the folder of seeds in tests/fuzz/corpus. */
extern const char fuzz_name[];
/* Runs one input; returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Mutates an input with `mutate` and repairs the checksums that would keep the result out. */
size_t fuzz_mutate(uint8_t *data, size_t size, size_t capacity, test_random *random,
                   fuzz_byte_mutator *mutate);

/* ---- for all of them: common.c ---- */

/* Inputs that were taken for what they seem to be, to the end. */
extern size_t fuzz_accepted;

/* Aborts with a message. */
#define FUZZ_REQUIRE(condition)                                                                    \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fuzz_fail(__FILE__, __LINE__, #condition);                                             \
    } while (0)
_Noreturn void fuzz_fail(const char *file, int line, const char *condition);

/* Bits that depend on all bytes, for choices that an input does not spell out. */
test_random fuzz_choices(const uint8_t *data, size_t size);
/* malloc; aborts when there is none. */
void *fuzz_allocate(size_t size);
/* A context of one thread with limits under which an input cannot take long; the best instruction
   set, or none. */
vqz_context *fuzz_context(uint64_t max_pixels, bool scalar);
/* A picture, dense, with pixels malloc'ed. */
vqz_image fuzz_image(uint32_t width, uint32_t height, uint32_t channels);
/* Whether the crop at (x, y) of whole is part. */
bool fuzz_is_part(const vqz_image *whole, const vqz_image *part, uint32_t x, uint32_t y);
/* Decodes by rows, a few at a time, into image, which is set up for the region. */
VQZ_MUST_CHECK vqz_status fuzz_decode_rows(vqz_context *context, const vqz_model *model,
                                           const void *file, size_t size,
                                           const vqz_decode_options *options,
                                           const vqz_image *image);

/* The models that the seeds of fuzz_decode.c were made with; made at the first call, never
 * released. */
enum { FUZZ_MODELS = 5 };
const vqz_model *fuzz_model(uint32_t index);
void fuzz_model_options(random_model_options *options, uint32_t index);

#endif
