/* tiles.c - see tiles.h. */
#include "format/tiles.h"

#include <stdlib.h>

static uint32_t divide_up(uint32_t value, uint32_t divisor) {
    return value / divisor + (value % divisor > 0);
}

vqzi_tiling vqzi_tiling_make(uint32_t version, uint32_t columns, uint32_t rows, uint32_t stride) {
    bool balanced = version != VQZI_VERSION;
    vqzi_tiling tiling = {.columns = columns, .rows = rows, .balanced = balanced};
    tiling.tile_rows = (balanced ? VQZI_TILE_HEIGHT : VQZI_TILE) / stride;
    tiling.down = divide_up(rows, tiling.tile_rows);
    if (balanced) {
        tiling.across = divide_up(columns * stride, VQZI_TILE_WIDTH);
        tiling.tile_columns = divide_up(columns, tiling.across);
    } else {
        tiling.tile_columns = tiling.tile_rows;
        tiling.across = divide_up(columns, tiling.tile_columns);
    }
    return tiling;
}

uint32_t vqzi_tile_count(uint32_t version, uint32_t width, uint32_t height) {
    vqzi_tiling tiling = vqzi_tiling_make(version, width, height, 1);
    return tiling.across * tiling.down;
}

void vqzi_segment_sizes_write(vqzi_buffer *buffer, const size_t *sizes, size_t count) {
    for (size_t i = 0; i + 1 < count; i++)
        vqzi_buffer_varint(buffer, sizes[i]);
}

vqz_status vqzi_segments_read(vqzi_segments *segments, const uint8_t *data, size_t size,
                              uint32_t tiles, uint32_t scans, bool partial) {
    size_t count;
    vqzi_reader reader = {data, size, 0};
    if (tiles == 0 || scans == 0 || !vqzi_mul(tiles, scans, &count))
        return VQZ_ERROR_ARGUMENT;
    size_t sizes = count - 1; /* a byte each, at least */
    if (sizes > size) {
        if (!partial)
            return VQZ_ERROR_TRUNCATED;
        sizes = size;
    }
    size_t *ends = calloc(sizes + 1, sizeof *ends);
    if (ends == NULL)
        return VQZ_ERROR_MEMORY;
    vqzi_segments result = {.tiles = tiles, .count = count, .data = data, .ends = ends};
    vqz_status status = VQZ_OK;
    size_t end = 0;
    for (; status == VQZ_OK && result.known < sizes; result.known++) {
        uint64_t more;
        status = vqzi_read_varint(&reader, UINT64_MAX, &more);
        if (status != VQZ_OK)
            break;
        /* once beyond the file, all are: a sum that does not fit stays there */
        if (more > SIZE_MAX || __builtin_add_overflow(end, (size_t)more, &end))
            end = SIZE_MAX;
        ends[result.known] = end;
    }
    bool indexed = status == VQZ_OK && result.known + 1 == count;
    if (status == VQZ_OK && !indexed)
        status = VQZ_ERROR_TRUNCATED;
    if (partial && status == VQZ_ERROR_TRUNCATED)
        status = VQZ_OK;
    size_t left = size - reader.position;
    if (status == VQZ_OK && indexed) {
        result.data = data + reader.position;
        ends[result.known++] = VQZI_MAX(end, left);
        for (size_t i = 0; i < count; i++)
            if (ends[i] > left)
                ends[i] = left;
            else if (i + 1 < count || !partial)
                result.whole = i + 1;
        if (!partial && end > left)
            status = VQZ_ERROR_TRUNCATED;
    } else {
        result.known = 0; /* no segment's bytes are there */
    }
    if (status != VQZ_OK) {
        free(ends);
        return status;
    }
    *segments = result;
    return VQZ_OK;
}

vqzi_reader vqzi_segment(const vqzi_segments *segments, uint32_t scan, uint32_t tile, bool *whole) {
    size_t i = scan * segments->tiles + tile;
    if (whole != NULL)
        *whole = i < segments->whole;
    if (i >= segments->known)
        return (vqzi_reader){segments->data, 0, 0};
    size_t begin = i > 0 ? segments->ends[i - 1] : 0;
    return (vqzi_reader){segments->data + begin, segments->ends[i] - begin, 0};
}

void vqzi_segments_clear(vqzi_segments *segments) {
    free(segments->ends);
    *segments = (vqzi_segments){0};
}
