/* kernels_avx512vnni.c - AVX-512 VNNI: vpdpwssd, which wraps (vpdpwssds would saturate). */
#include "codec/kernels/kernels.h"
#include "codec/kernels/x86/vector_512.h"

#define NAME(x) x##_avx512vnni

/* Half of 16 lanes would idle. */
#define CONV_NARROW vqzi_conv_avx2

INLINE vec multiply_add(vec acc, vec_pairs pairs, vec_spread pair) {
    return _mm512_dpwssd_epi32(acc, pairs, pair);
}

#include "codec/kernels/template.h"

void vqzi_kernels_init_avx512vnni(vqzi_kernels *kernels) {
    if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw"))
        fill_avx512vnni(kernels);
}
