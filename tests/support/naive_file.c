/*
 * naive_file.c - the files of naive_codec.h: their tiles, found without format/tiles.h.
 */
#include "tests/support/naive_codec.h"
#include "tests/support/naive_prior.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION_1_TILE = 1024, VERSION_2_HEIGHT = 512, VERSION_2_WIDTH = 384 };

/* The picture's tiles in raster order, each with its place in `indices`. */
typedef struct tile_list {
    size_t count;
    naive_tile *tiles;
} tile_list;

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count > 0 ? count : 1, size);
    if (!memory) {
        fprintf(stderr, "out of memory in the naive codec\n");
        exit(1);
    }
    return memory;
}

static tile_list list_tiles(const vqzi_model *model, uint32_t version, uint32_t width,
                            uint32_t height, uint16_t *indices) {
    uint32_t rows = naive_latent_side(model, height), columns = naive_latent_side(model, width);
    uint32_t high = (version == 1 ? VERSION_1_TILE : VERSION_2_HEIGHT) / model->stride;
    uint32_t across = (columns * model->stride + VERSION_2_WIDTH - 1) / VERSION_2_WIDTH;
    if (version == 1)
        across = (columns + high - 1) / high;
    tile_list list = {0};
    list.tiles = allocate((size_t)across * (rows / high + 1), sizeof *list.tiles);
    for (uint32_t y = 0; y < rows; y += high)
        for (uint32_t i = 0; i < across; i++) {
            naive_tile *tile = &list.tiles[list.count++];
            uint32_t begin = i * columns / across, end = (i + 1) * columns / across;
            if (version == 1) {
                begin = i * high;
                end = VQZI_MIN(begin + high, columns);
            }
            *tile = (naive_tile){VQZI_MIN(high, rows - y), end - begin, columns, {NULL}};
            for (uint32_t p = 0; p < model->plane_count; p++)
                tile->codes[p] = indices + ((size_t)p * rows + y) * columns + begin;
        }
    return list;
}

void naive_write_file(const vqzi_model *model, int quality, uint32_t width, uint32_t height,
                      const uint16_t *indices, bool scans, vqzi_buffer *file) {
    vqzi_header header = {.version = 2,
                          .width = width,
                          .height = height,
                          .quality = (uint32_t)quality,
                          .gray = model->channels == 1,
                          .rans = true,
                          .scans = scans};
    memcpy(header.model_hash, model->hash, sizeof header.model_hash);
    vqzi_header_write(file, &header);
    /* encoding leaves the codes as they are */
    tile_list list = list_tiles(model, 2, width, height, (uint16_t *)indices);
    uint32_t scan_count = scans ? model->prior.stage_count : 1;
    size_t count = list.count * scan_count;
    vqzi_buffer *streams = allocate(count, sizeof *streams); /* (tiles, scans) */
    for (size_t i = 0; i < list.count; i++)
        naive_prior_encode(model, quality, &list.tiles[i], scan_count, streams + i * scan_count);
    for (int data = 0; data < 2; data++)
        for (size_t i = 0; i < count; i++) {
            const vqzi_buffer *stream = &streams[i % list.count * scan_count + i / list.count];
            if (data)
                vqzi_buffer_append(file, stream->data, stream->size);
            else if (i + 1 < count)
                vqzi_buffer_varint(file, stream->size);
        }
    vqzi_trailer_write(file);
    for (size_t i = 0; i < count; i++)
        vqzi_buffer_clear(&streams[i]);
    free(streams);
    free(list.tiles);
}

/* Both versions have the streams of zstd plane after plane, whatever else lies between. */
static bool read_zstd(vqzi_stream_coder *coder, const naive_tile *tile, vqzi_reader *reader) {
    uint16_t *const *codes = tile->codes;
    return vqzi_tile_read(coder, reader, codes, tile->rows, tile->columns, tile->pitch) == VQZ_OK;
}

static bool read_version_2(const vqzi_model *model, const vqzi_header *header, vqzi_reader *reader,
                           const tile_list *list, vqzi_stream_coder *coder) {
    uint32_t scans = header->scans ? model->prior.stage_count : 1;
    size_t count = list->count * scans;
    vqzi_reader *segments = allocate(count, sizeof *segments); /* (tiles, scans) */
    bool good = true;
    for (int data = 0; data < 2 && good; data++)
        for (size_t i = 0; i < count && good; i++) {
            vqzi_reader *segment = &segments[i % list->count * scans + i / list->count];
            if (!data) {
                uint64_t size = 0;
                if (i + 1 < count)
                    good = vqzi_read_varint(reader, SIZE_MAX, &size) == VQZ_OK;
                segment->size = (size_t)size;
                continue;
            }
            if (i + 1 == count)
                segment->size = reader->size - reader->position;
            good = vqzi_read_bytes(reader, segment->size, &segment->data) == VQZ_OK;
        }
    for (size_t i = 0; i < list->count && good; i++) {
        const vqzi_reader *of_tile = segments + i * scans;
        if (header->rans) {
            good = naive_prior_decode(model, (int)header->quality, &list->tiles[i], scans, of_tile);
            continue;
        }
        vqzi_buffer joined = {0};
        for (uint32_t scan = 0; scan < scans; scan++)
            vqzi_buffer_append(&joined, of_tile[scan].data, of_tile[scan].size);
        vqzi_reader all = {joined.data, joined.size, 0};
        good = read_zstd(coder, &list->tiles[i], &all) && all.position == all.size;
        vqzi_buffer_clear(&joined);
    }
    free(segments);
    return good;
}

uint16_t *naive_read_indices(const vqzi_model *model, const void *file, size_t size) {
    vqzi_header header;
    vqzi_stream_coder *coder = NULL;
    if (vqzi_header_read(&header, file, size, NULL) != VQZ_OK)
        return NULL;
    if ((header.version == 2) != (model->prior.stage_count > 0))
        return NULL;
    vqzi_level level = vqzi_model_level(model, (int)header.quality);
    if (vqzi_stream_coder_create(&coder, model, level.nearest, NULL) != VQZ_OK)
        return NULL;
    uint32_t rows = naive_latent_side(model, header.height);
    uint32_t columns = naive_latent_side(model, header.width);
    uint16_t *indices = allocate((size_t)rows * columns * model->plane_count, sizeof *indices);
    tile_list list = list_tiles(model, header.version, header.width, header.height, indices);
    vqzi_reader reader = {(const uint8_t *)file + header.tiles_offset, header.tiles_size, 0};
    bool good = true;
    if (header.version == 2)
        good = read_version_2(model, &header, &reader, &list, coder);
    for (size_t i = 0; header.version == 1 && i < list.count && good; i++)
        good = read_zstd(coder, &list.tiles[i], &reader);
    good = good && reader.position == reader.size;
    vqzi_stream_coder_free(coder);
    free(list.tiles);
    if (good)
        return indices;
    free(indices);
    return NULL;
}
