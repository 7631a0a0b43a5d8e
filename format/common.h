/*
 * common.h - what every file of the library shares: error forwarding, diagnostics, checked sizes.
 */
#ifndef VQZI_COMMON_H
#define VQZI_COMMON_H

#include "codec/vqz.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Forwards a failure to the caller; for functions with nothing to clean up. */
#define VQZ_TRY(expr)                                                                              \
    do {                                                                                           \
        vqz_status vqzi_try_status = (expr);                                                       \
        if (vqzi_try_status != VQZ_OK)                                                             \
            return vqzi_try_status;                                                                \
    } while (0)

/* Writes a formatted message to diag (NULL is fine) and returns status. */
vqz_status vqzi_fail(vqz_diag *diag, vqz_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* a * b into *product; false when it does not fit size_t. */
static inline bool vqzi_mul(size_t a, size_t b, size_t *product) {
    return !__builtin_mul_overflow(a, b, product);
}

/* calloc; NULL as well when the count is beyond what can be addressed, but not because it is 0. */
void *vqzi_allocate(uint64_t count, size_t size);

/* Saturating sum and product for memory estimates. */
static inline uint64_t vqzi_add_sizes(uint64_t a, uint64_t b) {
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}
static inline uint64_t vqzi_mul_sizes(uint64_t a, uint64_t b) {
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

#define VQZI_MIN(a, b) ((a) < (b) ? (a) : (b))
#define VQZI_MAX(a, b) ((a) > (b) ? (a) : (b))

#endif
