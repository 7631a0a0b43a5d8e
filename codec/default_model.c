/*
 * default_model.c - the default model, embedded twice: as it lies on disk (samples/default.vqm),
 * and its body alone as host/unpack_model.c has checked and inflated it.  Starting reads the body
 * where it is mapped and leaves the rest of the file on disk.
 *
 * .incbin keeps the build free of generated sources and costs nothing at compile time.  The labels
 * are global, if hidden: link-time optimisation may put the functions below into another unit.
 */
#include "codec/internal.h"

#ifndef VQZI_DEFAULT_MODEL
#define VQZI_DEFAULT_MODEL "samples/default.vqm"
#define VQZI_DEFAULT_BODY  "build/default.body"
#endif

/* A byte more, so that no two labels are the same where there is no model. */
#define EMBED(name, path)                                                                          \
    __asm__(".pushsection .rodata\n"                                                               \
            ".balign 16\n"                                                                         \
            ".globl " name "_begin, " name "_end\n"                                                \
            ".hidden " name "_begin, " name "_end\n" name "_begin:\n"                              \
            ".incbin \"" path "\"\n" name "_end:\n"                                                \
            ".byte 0\n"                                                                            \
            ".popsection\n")

EMBED("vqzi_default_model", VQZI_DEFAULT_MODEL);
EMBED("vqzi_default_body", VQZI_DEFAULT_BODY);

extern const unsigned char vqzi_default_model_begin[] __attribute__((visibility("hidden")));
extern const unsigned char vqzi_default_model_end[] __attribute__((visibility("hidden")));
extern const unsigned char vqzi_default_body_begin[] __attribute__((visibility("hidden")));

const void *vqz_default_model(size_t *size) {
    /* two symbols, which C takes for two objects */
    *size = (size_t)((uintptr_t)vqzi_default_model_end - (uintptr_t)vqzi_default_model_begin);
    return vqzi_default_model_begin;
}

const uint8_t *vqzi_default_body(void) {
    return vqzi_default_body_begin;
}
