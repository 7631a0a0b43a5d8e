/* winograd_avx512.c - the kernels for AVX-512: 24 of 32 registers are sums.  Two panels at
   once, so that a factor is loaded for two products: Intel's processors do two a cycle. */
#define LANES 16
#define ROWS 12
#define OUTPUTS 2
#define GROUP 2
#define GRAD_ROWS 8
#define GRAD_PANELS 2
#define TABLE winograd_kernels_avx512
#include "trainer/winograd_template.h"
