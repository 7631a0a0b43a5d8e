/*
 * container.c - header, chunk list and checksum of a .vqz file (spec/vqz-format.md).  Nothing but the
 * version is looked at before the checksum matches, unless the caller wants what is left of a file
 * that was cut.
 */
#include "format/container.h"

#include <string.h>

enum {
    FLAG_GRAY = 0x10,
    FLAG_ALPHA = 0x20,
    FLAG_CHUNKS = 0x40,
    FLAG_SCANS = 0x80, /* version 2 */
    QUALITY_RANS = 0x80,
    MAX_SIDE = 65535,
    CRC_SIZE = 4,
    CHUNK_SKIPPABLE = 0x80
};

static void chunk_write(vqzi_buffer *buffer, uint8_t type, const uint8_t *data, size_t size) {
    if (data == NULL)
        return;
    vqzi_buffer_byte(buffer, type);
    vqzi_buffer_varint(buffer, size);
    vqzi_buffer_append(buffer, data, size);
}

void vqzi_header_write(vqzi_buffer *buffer, const vqzi_header *header) {
    bool chunks =
        header->alpha_data != NULL || header->icc_data != NULL || header->exif_data != NULL;
    bool prior = header->version == VQZI_VERSION_PRIOR;
    vqzi_buffer_append(buffer, "VQZ", 3);
    vqzi_buffer_byte(buffer,
                     (uint8_t)((prior ? VQZI_VERSION_PRIOR : VQZI_VERSION) |
                               (header->gray ? FLAG_GRAY : 0) | (header->alpha ? FLAG_ALPHA : 0) |
                               (chunks ? FLAG_CHUNKS : 0) |
                               (prior && header->scans ? FLAG_SCANS : 0)));
    vqzi_buffer_append(buffer, header->model_hash, sizeof header->model_hash);
    vqzi_buffer_varint(buffer, header->width - 1);
    vqzi_buffer_varint(buffer, header->height - 1);
    vqzi_buffer_byte(buffer,
                     (uint8_t)(header->quality | (prior && header->rans ? QUALITY_RANS : 0u)));
    if (!chunks)
        return;
    chunk_write(buffer, VQZI_CHUNK_ALPHA, header->alpha_data, header->alpha_size);
    chunk_write(buffer, VQZI_CHUNK_ICC, header->icc_data, header->icc_size);
    chunk_write(buffer, VQZI_CHUNK_EXIF, header->exif_data, header->exif_size);
    vqzi_buffer_byte(buffer, VQZI_CHUNK_END);
}

void vqzi_trailer_write(vqzi_buffer *buffer) {
    uint32_t crc = vqzi_crc32(0, buffer->data, buffer->size);
    for (int i = 0; i < CRC_SIZE; i++)
        vqzi_buffer_byte(buffer, (uint8_t)(crc >> (8 * i)));
}

static vqz_status read_chunks(vqzi_header *header, vqzi_reader *reader, vqz_diag *diag) {
    for (;;) {
        const uint8_t *type, *data, **slot = NULL;
        uint64_t size;
        size_t *slot_size = NULL;
        VQZ_TRY(vqzi_read_bytes(reader, 1, &type));
        if (*type == VQZI_CHUNK_END)
            return VQZ_OK;
        VQZ_TRY(vqzi_read_varint(reader, reader->size, &size));
        VQZ_TRY(vqzi_read_bytes(reader, (size_t)size, &data));
        if (*type == VQZI_CHUNK_ALPHA)
            slot = &header->alpha_data, slot_size = &header->alpha_size;
        else if (*type == VQZI_CHUNK_ICC)
            slot = &header->icc_data, slot_size = &header->icc_size;
        else if (*type == VQZI_CHUNK_EXIF)
            slot = &header->exif_data, slot_size = &header->exif_size;
        else if ((*type & CHUNK_SKIPPABLE) == 0)
            return vqzi_fail(diag, VQZ_ERROR_UNSUPPORTED,
                             "the file needs a feature (chunk 0x%02x) that this library lacks; "
                             "update vqz",
                             *type);
        if (slot == NULL)
            continue;
        if (*slot != NULL)
            return VQZ_ERROR_CORRUPT;
        *slot = data;
        *slot_size = (size_t)size;
    }
}

/* The fields behind the magic; reader ends where the checksum starts. */
static vqz_status read_fields(vqzi_header *header, vqzi_reader *reader, vqz_diag *diag) {
    const uint8_t *bytes;
    uint64_t width, height;
    VQZ_TRY(vqzi_read_bytes(reader, 4, &bytes));
    memcpy(header->model_hash, bytes, 4);
    VQZ_TRY(vqzi_read_varint(reader, MAX_SIDE - 1, &width));
    VQZ_TRY(vqzi_read_varint(reader, MAX_SIDE - 1, &height));
    VQZ_TRY(vqzi_read_bytes(reader, 1, &bytes));
    header->width = (uint32_t)width + 1;
    header->height = (uint32_t)height + 1;
    header->quality = *bytes;
    if (header->version == VQZI_VERSION_PRIOR) {
        header->rans = (*bytes & QUALITY_RANS) != 0;
        header->quality &= ~(uint32_t)QUALITY_RANS;
    }
    if (header->quality < 1 || header->quality > 100)
        return VQZ_ERROR_CORRUPT;
    header->chunks_offset = reader->position;
    if ((reader->data[3] & FLAG_CHUNKS) != 0)
        VQZ_TRY(read_chunks(header, reader, diag));
    if (header->alpha_data != NULL && !header->alpha)
        return VQZ_ERROR_CORRUPT;
    header->tiles_offset = reader->position;
    header->tiles_size = reader->size - reader->position;
    return VQZ_OK;
}

/* What comes before the checksum is looked at; result->version is one that this library knows. */
static vqz_status read_magic(vqzi_header *result, const uint8_t *bytes, size_t size,
                             vqz_diag *diag) {
    if (size < 3 || memcmp(bytes, "VQZ", 3) != 0)
        return vqzi_fail(diag, VQZ_ERROR_FORMAT, "this is not a .vqz file");
    if (size < 4 + CRC_SIZE)
        return vqzi_fail(diag, VQZ_ERROR_TRUNCATED, "the file ends within its header");
    result->version = bytes[3] & 15;
    if (result->version == 0)
        return vqzi_fail(diag, VQZ_ERROR_CORRUPT, "the file claims version 0, which never was");
    if (result->version > VQZI_VERSION_PRIOR)
        return vqzi_fail(
            diag, VQZ_ERROR_VERSION,
            "the file has format version %u; this library knows versions up to %d; update vqz",
            result->version, VQZI_VERSION_PRIOR);
    return VQZ_OK;
}

static bool checksum_matches(const uint8_t *bytes, size_t size) {
    size_t covered = size - CRC_SIZE;
    uint32_t crc = 0;
    for (int i = 0; i < CRC_SIZE; i++)
        crc |= (uint32_t)bytes[covered + (size_t)i] << (8 * i);
    return vqzi_crc32(0, bytes, covered) == crc;
}

/* Everything behind the version, in the first `covered` bytes. */
static vqz_status read_rest(vqzi_header *result, const uint8_t *bytes, size_t covered,
                            vqz_diag *diag) {
    result->scans = (bytes[3] & FLAG_SCANS) != 0;
    if (result->scans && result->version == VQZI_VERSION)
        return vqzi_fail(diag, VQZ_ERROR_UNSUPPORTED, "the file uses a reserved flag; update vqz");
    result->gray = (bytes[3] & FLAG_GRAY) != 0;
    result->alpha = (bytes[3] & FLAG_ALPHA) != 0;
    vqzi_reader reader = {bytes, covered, 4};
    vqz_status status = read_fields(result, &reader, diag);
    if (status == VQZ_OK || status == VQZ_ERROR_UNSUPPORTED)
        return status; /* said already */
    if (status == VQZ_ERROR_TRUNCATED)
        return vqzi_fail(diag, status,
                         "the file ends within its header, alpha or metadata, at byte %zu", covered);
    return vqzi_fail(diag, status, "the header breaks the format at byte %zu", reader.position);
}

vqz_status vqzi_header_read(vqzi_header *header, const void *file, size_t size, vqz_diag *diag) {
    vqzi_header result = {0};
    VQZ_TRY(read_magic(&result, file, size, diag));
    if (!checksum_matches(file, size))
        return vqzi_fail(diag, VQZ_ERROR_CORRUPT,
                         "the checksum does not match: the file is damaged or cut short");
    VQZ_TRY(read_rest(&result, file, size - CRC_SIZE, diag));
    *header = result;
    return VQZ_OK;
}

vqz_status vqzi_header_read_partial(vqzi_header *header, bool *whole, const void *file, size_t size,
                                    vqz_diag *diag) {
    vqzi_header result = {0};
    VQZ_TRY(read_magic(&result, file, size, diag));
    bool matches = checksum_matches(file, size);
    VQZ_TRY(read_rest(&result, file, matches ? size - CRC_SIZE : size, diag));
    *header = result;
    *whole = matches;
    return VQZ_OK;
}
