/* alpha.c - see alpha.h. */
#include "codec/alpha.h"
#include "format/predict.h"

#include <stdlib.h>
#include <string.h>

uint64_t vqzi_alpha_memory(uint32_t width) {
    return (uint64_t)3 * width;
}

static vqz_status begin(vqzi_alpha *alpha, uint32_t width, uint32_t height) {
    alpha->width = width;
    alpha->height = height;
    alpha->rows = malloc((size_t)3 * width);
    return alpha->rows ? VQZ_OK : VQZ_ERROR_MEMORY;
}

/* What was this row becomes the row above. */
static void advance(vqzi_alpha *alpha) {
    memcpy(alpha->rows, alpha->rows + alpha->width, alpha->width);
    alpha->y++;
}

vqz_status vqzi_alpha_write_begin(vqzi_alpha *alpha, uint32_t width, uint32_t height,
                                  vqzi_buffer *payload) {
    VQZ_TRY(begin(alpha, width, height));
    return vqzi_packer_create(&alpha->packer, payload, (uint64_t)width * height);
}

vqz_status vqzi_alpha_write(vqzi_alpha *alpha, const uint8_t *src, size_t step) {
    size_t width = alpha->width;
    uint8_t *row = alpha->rows + width, *residuals = row + width;
    for (size_t x = 0; x < width; x++, src += step) {
        row[x] = *src;
        residuals[x] = (uint8_t)(*src - vqzi_predict(row + x, x, alpha->y, 1, width));
    }
    advance(alpha);
    VQZ_TRY(vqzi_packer_write(alpha->packer, residuals, width));
    return alpha->y == alpha->height ? vqzi_packer_finish(alpha->packer) : VQZ_OK;
}

vqz_status vqzi_alpha_read_begin(vqzi_alpha *alpha, uint32_t width, uint32_t height,
                                 const uint8_t *payload, size_t size) {
    VQZ_TRY(begin(alpha, width, height));
    return vqzi_unpacker_create(&alpha->unpacker, payload, size, (uint64_t)width * height);
}

vqz_status vqzi_alpha_read(vqzi_alpha *alpha, uint8_t *dst, size_t step) {
    size_t width = alpha->width;
    uint8_t *row = alpha->rows + width, *residuals = row + width;
    VQZ_TRY(vqzi_unpacker_read(alpha->unpacker, residuals, width));
    for (size_t x = 0; x < width; x++, dst += step) {
        row[x] = (uint8_t)(residuals[x] + vqzi_predict(row + x, x, alpha->y, 1, width));
        *dst = row[x];
    }
    advance(alpha);
    return alpha->y == alpha->height ? vqzi_unpacker_finish(alpha->unpacker) : VQZ_OK;
}

void vqzi_alpha_clear(vqzi_alpha *alpha) {
    vqzi_packer_free(alpha->packer);
    vqzi_unpacker_free(alpha->unpacker);
    free(alpha->rows);
    memset(alpha, 0, sizeof *alpha);
}
