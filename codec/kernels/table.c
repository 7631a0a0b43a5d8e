/*
 * table.c - chooses the kernels of a context: the reference first, then every instruction set that
 * the processor has and the caller allows, in ascending order.
 */
#include "codec/kernels/kernels.h"

static const struct {
    vqz_cpu cpu;
    void (*init)(vqzi_kernels *kernels);
} sets[] = {
    {VQZ_CPU_SCALAR, vqzi_kernels_init_ref},
#if defined(__x86_64__)
    {VQZ_CPU_AVX2, vqzi_kernels_init_avx2},
    {VQZ_CPU_AVX_VNNI, vqzi_kernels_init_avxvnni},
    {VQZ_CPU_AVX512, vqzi_kernels_init_avx512},
    {VQZ_CPU_AVX512_VNNI, vqzi_kernels_init_avx512vnni},
#elif defined(__AARCH64EL__)
    {VQZ_CPU_NEON, vqzi_kernels_init_neon},
#endif
};

void vqzi_kernels_init(vqzi_kernels *kernels, vqz_cpu cpu) {
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        if (i == 0 || cpu == VQZ_CPU_BEST || sets[i].cpu <= cpu)
            sets[i].init(kernels);
}
