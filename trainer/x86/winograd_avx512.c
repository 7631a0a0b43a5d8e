/* winograd_avx512.c - the kernels for AVX-512: factors are broadcast by the multiplication itself. */
#define LANES 16
#define ROWS 12
#define GRAD_ROWS 16
#define TABLE winograd_kernels_avx512
#include "trainer/winograd_template.h"
