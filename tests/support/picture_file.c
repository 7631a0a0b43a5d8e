/* picture_file.c - see picture_file.h. */
#include "tests/support/picture_file.h"

static vqz_status read_from(picture *p, source *s, uint64_t max_pixels, vqz_diag *diag) {
    vqz_limits limits;
    vqz_limits_init(&limits);
    limits.max_pixels = max_pixels;
    vqz_status status = picture_read(p, s, &limits, diag);
    source_close(s);
    return status;
}

vqz_status picture_file_parse(picture *p, const void *data, size_t size, uint64_t max_pixels,
                              vqz_diag *diag) {
    source *s;
    VQZ_TRY(source_from_memory(&s, data, size, diag));
    return read_from(p, s, max_pixels, diag);
}

vqz_status picture_file_read(picture *p, const char *path, uint64_t max_pixels, vqz_diag *diag) {
    source *s;
    VQZ_TRY(source_open(&s, path, (size_t)1 << 31, diag));
    return read_from(p, s, max_pixels, diag);
}

vqz_status picture_file_write(const char *path, const picture *p, picture_format format,
                              vqz_diag *diag) {
    file_output *output;
    picture_writer *writer = NULL;
    VQZ_TRY(file_create(&output, path, true, diag));
    vqz_status status = picture_writer_open(&writer, p, format, output, diag);
    if (status == VQZ_OK)
        status =
            picture_writer_rows(writer, p->image.pixels, p->image.stride, p->image.height, diag);
    if (status == VQZ_OK)
        status = picture_writer_finish(writer, diag);
    if (status == VQZ_OK)
        status = file_commit(output, diag);
    picture_writer_close(writer);
    file_close(output);
    return status;
}
