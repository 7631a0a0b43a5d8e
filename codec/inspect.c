/*
 * inspect.c - what a .vqz file says without being decoded to pixels: facts, metadata, index planes; and
 * whether a model and the limits suit it.
 */
#include "codec/internal.h"
#include "codec/tile_reader.h"

#include <stdlib.h>
#include <string.h>

uint32_t vqzi_header_channels(const vqzi_header *header) {
    return (header->gray ? 1u : 3u) + (header->alpha ? 1u : 0u);
}

vqz_status vqzi_check_file(const vqz_context *context, const vqz_model *model,
                           const vqzi_header *header, vqz_diag *diag) {
    const vqzi_model *raw = &model->model;
    const uint8_t *needs = header->model_hash, *has = raw->hash;

    if (memcmp(needs, has, sizeof header->model_hash) != 0)
        return vqzi_fail(diag, VQZ_ERROR_MODEL_MISMATCH,
                         "the file was made with model %02x%02x%02x%02x and this is model "
                         "%02x%02x%02x%02x; load the model whose hash starts with "
                         "%02x%02x%02x%02x",
                         needs[0], needs[1], needs[2], needs[3], has[0], has[1], has[2], has[3],
                         needs[0], needs[1], needs[2], needs[3]);
    if ((header->version > VQZI_VERSION) != (raw->prior.stage_count > 0))
        return vqzi_fail(diag, VQZ_ERROR_CORRUPT,
                         raw->prior.stage_count > 0
                             ? "the file is of version 1 and its model has a prior"
                             : "the file needs a prior and its model has none");
    if (raw->channels == 1 && !header->gray)
        return vqzi_fail(diag, VQZ_ERROR_CORRUPT, "the file has colours but its model is gray");
    if ((header->alpha_data != NULL) != (header->alpha && raw->channels != 4))
        return vqzi_fail(diag, VQZ_ERROR_CORRUPT, header->alpha_data
                         ? "the file stores its alpha twice" : "the file lacks its alpha chunk");
    return vqzi_check_size(context, header->width, header->height, vqzi_header_channels(header),
                           diag);
}

vqz_status vqz_read_info(const void *file, size_t file_size, vqz_info *info, vqz_diag *diag) {
    vqzi_header header;
    uint64_t icc = 0, exif = 0;
    vqz_status status;
    VQZ_TRY(vqzi_header_read(&header, file, file_size, diag));
    status = header.icc_data ? vqzi_packed_size(header.icc_data, header.icc_size, &icc) : VQZ_OK;
    if (status == VQZ_OK && header.exif_data)
        status = vqzi_packed_size(header.exif_data, header.exif_size, &exif);
    if (status != VQZ_OK)
        return vqzi_fail(diag, status, "a metadata chunk of the file is damaged");
    memset(info, 0, sizeof *info);
    info->version = header.version;
    info->width = header.width;
    info->height = header.height;
    info->channels = vqzi_header_channels(&header);
    info->quality = header.quality;
    memcpy(info->model_hash, header.model_hash, sizeof info->model_hash);
    info->icc_size = icc;
    info->exif_size = exif;
    info->index_bytes = header.tiles_size;
    info->chunk_bytes = header.tiles_offset - header.chunks_offset;
    info->header_bytes = file_size - info->index_bytes - info->chunk_bytes;
    info->tiles = vqzi_tile_count(header.version, header.width, header.height);
    info->rans = header.rans;
    info->scans = header.scans;
    return VQZ_OK;
}

vqz_status vqz_read_metadata(const void *file, size_t file_size, vqz_metadata kind, void **data,
                             size_t *size, vqz_diag *diag) {
    vqzi_header header;
    uint64_t raw_size;
    if (kind != VQZ_METADATA_ICC && kind != VQZ_METADATA_EXIF)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "unknown kind of metadata %d", (int)kind);
    VQZ_TRY(vqzi_header_read(&header, file, file_size, diag));
    const char *name = kind == VQZ_METADATA_ICC ? "ICC profile" : "EXIF block";
    const uint8_t *payload = kind == VQZ_METADATA_ICC ? header.icc_data : header.exif_data;
    size_t payload_size = kind == VQZ_METADATA_ICC ? header.icc_size : header.exif_size;
    if (!payload) {
        *data = NULL;
        *size = 0;
        return VQZ_OK;
    }
    vqz_status status = vqzi_packed_size(payload, payload_size, &raw_size);
    if (status != VQZ_OK)
        return vqzi_fail(diag, status, "the %s of the file is damaged", name);
    if (raw_size > VQZI_MAX_METADATA)
        return vqzi_fail(diag, VQZ_ERROR_LIMIT, "the %s of the file exceeds %d bytes", name,
                         VQZI_MAX_METADATA);
    uint8_t *raw = malloc(raw_size > 0 ? (size_t)raw_size : 1);
    if (!raw)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for the %s", name);
    status = vqzi_unpack(payload, payload_size, raw, (size_t)raw_size);
    if (status != VQZ_OK) {
        free(raw);
        return vqzi_fail(diag, status, "the %s of the file is damaged", name);
    }
    *data = raw;
    *size = (size_t)raw_size;
    return VQZ_OK;
}

static vqz_status read_rows(const vqzi_tile_reader_options *options, uint16_t *codes) {
    const vqzi_model *model = &options->model->model;
    uint32_t tile_rows = vqzi_tile_rows(model, options->header);
    vqzi_tile_reader *reader;
    VQZ_TRY(vqzi_tile_reader_create(&reader, options));
    vqz_status status = VQZ_OK;
    for (uint32_t y = 0; status == VQZ_OK && y < options->rows; y += tile_rows) {
        uint16_t *planes[VQZI_MAX_PLANES];
        for (uint32_t p = 0; p < model->plane_count; p++)
            planes[p] = codes + ((size_t)p * options->rows + y) * options->columns;
        status = vqzi_tile_reader_run(reader, NULL, planes);
    }
    if (status == VQZ_OK)
        status = vqzi_tile_reader_finish(reader);
    vqzi_tile_reader_free(reader);
    return status;
}

vqz_status vqz_read_codes(vqz_context *context, const vqz_model *model, const void *file,
                          size_t file_size, uint16_t *codes, size_t count, vqz_diag *diag) {
    vqzi_header header;
    uint32_t stride = model->model.stride;
    VQZ_TRY(vqzi_header_read(&header, file, file_size, diag));
    VQZ_TRY(vqzi_check_file(context, model, &header, diag));
    vqzi_tile_reader_options options = {
        .context = context,
        .model = model,
        .header = &header,
        .file = file,
        .columns = (header.width + stride - 1) / stride,
        .rows = (header.height + stride - 1) / stride,
    };
    uint64_t memory = vqzi_tile_reader_memory(&options);
    uint64_t values = (uint64_t)options.columns * options.rows * model->model.plane_count;
    if (count != values)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "the file holds %u planes of %u x %u indices, %llu, not %zu",
                         model->model.plane_count, options.columns, options.rows,
                         (unsigned long long)values, count);
    if (memory > context->options.limits.max_memory)
        return vqzi_fail(diag, VQZ_ERROR_LIMIT,
                         "reading the index planes needs %llu bytes of work memory; the limit is "
                         "%llu, raise max_memory",
                         (unsigned long long)memory,
                         (unsigned long long)context->options.limits.max_memory);
    vqz_status status = read_rows(&options, codes);
    return status == VQZ_OK ? VQZ_OK
                            : vqzi_fail(diag, status, "the index planes of the file are damaged (%s)",
                                        vqz_status_string(status));
}
