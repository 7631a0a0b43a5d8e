/* kernels_avxvnni.c - AVX-VNNI: vpdpwssd on 8 lanes, for processors that have it and no AVX-512. */
#include "codec/kernels/kernels.h"
#include "codec/kernels/x86/vector_256.h"

#include <cpuid.h>

#define NAME(x) x##_avxvnni

INLINE vec multiply_add(vec acc, vec_pairs pairs, vec_spread pair) {
    return _mm256_dpwssd_avx_epi32(acc, pairs, pair);
}

#include "codec/kernels/template.h"

void vqzi_kernels_init_avxvnni(vqzi_kernels *kernels) {
    /* clang 14 does not know the name of this feature; that the system saves its registers follows
       from AVX2. */
    unsigned eax = 0, ebx, ecx, edx;
    if (__builtin_cpu_supports("avx2") && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) &&
        (eax & 1u << 4))
        fill_avxvnni(kernels);
}
