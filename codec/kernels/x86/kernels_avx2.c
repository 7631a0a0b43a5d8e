/* kernels_avx2.c - AVX2: vpmaddwd and vpaddd on 8 lanes. */
#include "codec/kernels/kernels.h"
#include "codec/kernels/x86/vector_256.h"

#define NAME(x) x##_avx2

INLINE vec multiply_add(vec acc, vec_pairs pairs, vec_spread pair) {
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, pair));
}

#include "codec/kernels/template.h"

VQZI_CONV_KERNEL(vqzi_conv_avx2) {
    conv_avx2(job);
}

void vqzi_kernels_init_avx2(vqzi_kernels *kernels) {
    if (__builtin_cpu_supports("avx2"))
        fill_avx2(kernels);
}
