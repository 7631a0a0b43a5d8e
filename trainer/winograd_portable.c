/* winograd_portable.c - the kernels for vectors of four floats: any processor. */
#define LANES 4
#define ROWS 2
#define OUTPUTS 1
#define GROUP 1
#define GRAD_ROWS 2
#define GRAD_PANELS 1
#define TABLE winograd_kernels_portable
#include "trainer/winograd_template.h"
