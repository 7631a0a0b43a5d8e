/*
 * context.c - contexts: threads, instruction set, limits; and what is checked against them.
 */
#include "codec/internal.h"

#include <stdlib.h>

#include <omp.h>

enum { MAX_THREADS = 256 };

void vqz_context_options_init(vqz_context_options *options) {
    options->threads = 0;
    options->cpu = VQZ_CPU_BEST;
    vqz_limits_init(&options->limits);
}

vqz_status vqz_context_create(vqz_context **out, const vqz_context_options *options,
                              vqz_diag *diag) {
    vqz_context_options defaults;
    if (!options) {
        vqz_context_options_init(&defaults);
        options = &defaults;
    }
    if (options->threads < 0 || options->threads > MAX_THREADS)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "%d threads asked for; use 1 to %d, or 0 for one a processor",
                         options->threads, MAX_THREADS);
    if ((unsigned)options->cpu > VQZ_CPU_AVX512_VNNI && options->cpu != VQZ_CPU_NEON)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "unknown instruction set %d in the options",
                         (int)options->cpu);
    vqz_context *context = calloc(1, sizeof *context);
    if (!context)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for a context");
    context->options = *options;
    int threads = options->threads;
    if (threads == 0)
        threads = VQZI_MIN(omp_get_num_procs(), MAX_THREADS);
    context->team = (vqzi_team){.threads = threads, .grain = VQZI_GRAIN};
    context->work_width = VQZI_WORK_WIDTH;
    context->work_height = VQZI_WORK_HEIGHT;
    vqzi_kernels_init(&context->kernels, options->cpu);
    *out = context;
    return VQZ_OK;
}

void vqz_context_free(vqz_context *context) {
    free(context);
}

void vqzi_context_set_tuning(vqz_context *context, uint32_t work_tile, uint64_t grain) {
    context->work_width = context->work_height = work_tile;
    context->team.grain = grain;
}

vqz_status vqzi_check_size(const vqz_context *context, uint32_t width, uint32_t height,
                           uint32_t channels, vqz_diag *diag) {
    uint64_t max_pixels = context->options.limits.max_pixels;
    if (width < 1 || width > 65535 || height < 1 || height > 65535)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "a picture of %u x %u pixels; both sides must be 1 to 65535", width,
                         height);
    if (channels < 1 || channels > 4)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "a picture of %u channels; 1 (gray) to 4 (RGBA) are possible", channels);
    if ((uint64_t)width * height > max_pixels)
        return vqzi_fail(diag, VQZ_ERROR_LIMIT,
                         "%u x %u pixels exceed the limit of %llu pixels; raise max_pixels", width,
                         height, (unsigned long long)max_pixels);
    return VQZ_OK;
}

vqz_status vqzi_check_rows(const void *rows, size_t stride, size_t row_bytes, uint32_t done,
                           uint32_t count, uint32_t height, vqz_diag *diag) {
    if (!rows || stride < row_bytes)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "the picture has no pixels or a stride of %zu bytes; a row takes %zu",
                         stride, row_bytes);
    if (count > height - done)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "%u more rows after %u; the picture has %u",
                         count, done, height);
    return VQZ_OK;
}
