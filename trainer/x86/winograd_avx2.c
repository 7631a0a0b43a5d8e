/* winograd_avx2.c - the kernels for AVX2 with FMA: twelve of sixteen registers are sums. */
#define LANES 8
#define ROWS 6
#define OUTPUTS 1
#define GROUP 1
#define GRAD_ROWS 6
#define GRAD_PANELS 1
#define TABLE winograd_kernels_avx2
#include "trainer/winograd_template.h"
