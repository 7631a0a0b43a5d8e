/* kernels_avx512.c - AVX-512 BW: vpmaddwd and vpaddd on 16 lanes. */
#include "codec/kernels/kernels.h"
#include "codec/kernels/x86/vector_512.h"

#define NAME(x) x##_avx512

/* Half of 16 lanes would idle. */
#define CONV_NARROW vqzi_conv_avx2

INLINE vec multiply_add(vec acc, vec_pairs pairs, vec_spread pair) {
    return _mm512_add_epi32(acc, _mm512_madd_epi16(pairs, pair));
}

#include "codec/kernels/template.h"

void vqzi_kernels_init_avx512(vqzi_kernels *kernels) {
    if (__builtin_cpu_supports("avx512bw"))
        fill_avx512(kernels);
}
