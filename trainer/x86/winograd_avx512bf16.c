/* winograd_avx512bf16.c - the kernels for AVX-512 with products of bfloat16.  A factor that is broadcast
   serves two of them: Zen 4 cannot load one for each.  Products of floats, one a cycle there, gain less by
   that than their results take of its cache. */
#define LANES 16
#define ROWS 12
#define OUTPUTS 2
#define GROUP 1
#define GRAD_ROWS 8
#define GRAD_PANELS 2
#define TABLE winograd_kernels_avx512bf16
#include "trainer/winograd_template.h"
