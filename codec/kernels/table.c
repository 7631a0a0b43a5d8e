/*
 * table.c - chooses the kernels of a context: the reference first, then every instruction set that
 * the processor has and the caller allows, in ascending order.
 */
#include "codec/kernels/kernels.h"

void vqzi_kernels_init(vqzi_kernels *kernels, vqz_cpu cpu) {
    vqzi_kernels_init_ref(kernels);
#if defined(__x86_64__)
    if (cpu == VQZ_CPU_BEST || cpu >= VQZ_CPU_AVX2)
        vqzi_kernels_init_avx2(kernels);
#else
    (void)cpu;
#endif
}
