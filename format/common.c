/*
 * common.c - what the library says about itself: status names, version, diagnostics, limits.
 */
#include "format/common.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define VQZI_TEXT_(x) #x
#define VQZI_TEXT(x) VQZI_TEXT_(x)

vqz_status vqzi_fail(vqz_diag *diag, vqz_status status, const char *format, ...) {
    if (diag != NULL) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(diag->message, sizeof diag->message, format, arguments);
        va_end(arguments);
    }
    return status;
}

void *vqzi_allocate(uint64_t count, size_t size) {
    return count > SIZE_MAX / size ? NULL : calloc(VQZI_MAX((size_t)count, 1), size);
}

const char *vqz_status_string(vqz_status status) {
    switch (status) {
    case VQZ_OK: return "success";
    case VQZ_ERROR_ARGUMENT: return "invalid argument";
    case VQZ_ERROR_FORMAT: return "unrecognised format";
    case VQZ_ERROR_TRUNCATED: return "truncated data";
    case VQZ_ERROR_CORRUPT: return "corrupt data";
    case VQZ_ERROR_VERSION: return "newer format version";
    case VQZ_ERROR_UNSUPPORTED: return "unsupported feature";
    case VQZ_ERROR_MODEL_INVALID: return "invalid model";
    case VQZ_ERROR_MODEL_MISMATCH: return "file made with another model";
    case VQZ_ERROR_MEMORY: return "out of memory";
    case VQZ_ERROR_LIMIT: return "limit exceeded";
    case VQZ_ERROR_IO: return "input/output error";
    }
    return "unknown status";
}

const char *vqz_version(void) {
    return VQZI_TEXT(VQZ_VERSION_MAJOR) "." VQZI_TEXT(VQZ_VERSION_MINOR) "." VQZI_TEXT(
        VQZ_VERSION_PATCH);
}

void vqz_free(void *memory) {
    free(memory);
}

void vqz_limits_init(vqz_limits *limits) {
    limits->max_pixels = (uint64_t)1 << 28;
    limits->max_memory = (uint64_t)1 << 30;
    limits->max_macs_per_pixel = 250000;
}
