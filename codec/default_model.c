/*
 * default_model.c - the default model, embedded as the file that host/store_model.c makes of it
 * (samples/default.vqm), which has checked all of it.
 *
 * .incbin keeps the build free of generated sources and costs nothing at compile time.  The labels
 * are global, if hidden: link-time optimisation may put the function below into another unit.
 */
#include "codec/vqz.h"

#ifndef VQZI_DEFAULT_MODEL
#define VQZI_DEFAULT_MODEL "build/default.vqm"
#endif

__asm__(".pushsection .rodata\n"
        ".balign 16\n"
        ".globl vqzi_default_model_begin, vqzi_default_model_end\n"
        ".hidden vqzi_default_model_begin, vqzi_default_model_end\n"
        "vqzi_default_model_begin:\n"
        ".incbin \"" VQZI_DEFAULT_MODEL "\"\n"
        "vqzi_default_model_end:\n"
        ".byte 0\n"
        ".popsection\n");

extern const unsigned char vqzi_default_model_begin[] __attribute__((visibility("hidden")));
extern const unsigned char vqzi_default_model_end[] __attribute__((visibility("hidden")));

const void *vqz_default_model(size_t *size) {
    /* two symbols, which C takes for two objects */
    *size = (size_t)((uintptr_t)vqzi_default_model_end - (uintptr_t)vqzi_default_model_begin);
    return vqzi_default_model_begin;
}
