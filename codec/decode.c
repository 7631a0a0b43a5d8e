/*
 * decode.c - .vqz -> picture.
 *
 * Container tiles are read (tile_reader.h) into a ring that holds just as many tile rows as the
 * synthesis of one tile row looks at (its own and the neighbours its halo reaches): of indices in
 * version 1, of latents in version 2, whose prior has looked them up already.  The picture is
 * synthesised in bands one work tile high: straight into the caller's rows when he asks for a whole
 * band, else into a buffer that his rows are copied from.
 *
 * Of a region only the bands, the work tiles and the container tiles are looked at that its pixels depend
 * on.  Partial files have latents in either version: what is missing are zeros there.  A sample is a file
 * whose codes are drawn.
 */
#include "codec/alpha.h"
#include "codec/internal.h"
#include "codec/pixels.h"
#include "codec/quantise.h"
#include "codec/tile_reader.h"

#include <stdlib.h>
#include <string.h>

struct vqz_decoder {
    const vqz_context *context;
    const vqzi_model *model;
    const vqzi_prepared_net *net;
    vqzi_header header;
    uint32_t channels;
    vqz_decode_options options; /* the region is never empty */
    bool partial;               /* and the file was cut */
    vqzi_job job;
    vqzi_quantiser *quantiser;
    vqzi_tile_reader *reader;
    vqzi_alpha alpha;
    uint32_t ring_size;  /* tile rows held */
    uint32_t tiles_read; /* tile rows read so far */
    uint16_t *ring;      /* version 1: (ring_size, planes, tile rows, columns), or NULL */
    int16_t *latents;    /* else: (ring_size, tile rows, columns, D) */
    uint32_t y;          /* of the picture: the row that is next */
    uint8_t *band;       /* (job.band, width, channels): the band that y is in, or NULL */
    uint8_t *alpha_row;  /* (width): of regions narrower than the picture */
};

/* ---- setting up ---- */

static size_t row_bytes(const vqz_decoder *decoder) {
    return (size_t)decoder->options.width * decoder->channels;
}

/* Where the region ends. */
static uint32_t end_x(const vqz_decoder *decoder) {
    return decoder->options.x + decoder->options.width;
}

static uint32_t end_y(const vqz_decoder *decoder) {
    return decoder->options.y + decoder->options.height;
}

/* Rows of pixels of a container tile. */
static uint32_t tile_height(const vqz_decoder *decoder) {
    return decoder->job.tile_rows * decoder->model->stride;
}

/* Latent rows that the region's bands in container tile row `tile` look at. */
static vqzi_span rows_needed(const vqz_decoder *decoder, uint32_t tile) {
    int64_t begin = (int64_t)tile * tile_height(decoder), end = begin + tile_height(decoder);
    int64_t work = decoder->job.work_height;
    begin = VQZI_MAX(begin, decoder->options.y / work * work);
    end = VQZI_MIN(end, (end_y(decoder) + work - 1) / work * work);
    if (begin >= end)
        return (vqzi_span){0, 0};
    return vqzi_net_input_span(decoder->net, decoder->job.rows, (vqzi_span){begin, end});
}

/* Tile rows that must be held at once. */
static uint32_t ring_rows(const vqz_decoder *decoder) {
    const vqzi_job *job = &decoder->job;
    uint32_t most = 1, tiles = (job->rows + job->tile_rows - 1) / job->tile_rows;
    for (uint32_t tile = 0; tile < tiles; tile++) {
        vqzi_span rows = rows_needed(decoder, tile);
        if (rows.end > rows.begin)
            most = VQZI_MAX(most, (uint32_t)((rows.end - 1) / job->tile_rows -
                                             rows.begin / job->tile_rows + 1));
    }
    return most;
}

/* Work tiles that suit a region: not much larger than it. */
static uint32_t shrink(uint32_t work, uint32_t side) {
    while (work / 2 >= VQZI_MIN(side, work) && work > VQZI_MIN_WORK)
        work /= 2;
    return work;
}

/* The plan, with the work tiles that the region touches. */
static vqz_status plan(vqz_decoder *decoder, const vqz_model *model, uint64_t other,
                       vqz_diag *diag) {
    vqzi_job *job = &decoder->job;
    const vqzi_header *header = &decoder->header;
    vqz_context context = *decoder->context;
    if (decoder->options.width < header->width || decoder->options.height < header->height) {
        context.work_width = shrink(context.work_width, decoder->options.width);
        context.work_height = shrink(context.work_height, decoder->options.height);
    }
    VQZ_TRY(vqzi_job_plan(job, &context, model, decoder->net, header->width, header->height,
                          vqzi_tile_rows(decoder->model, header), row_bytes(decoder), other, diag));
    job->first_tile = decoder->options.x / job->work_width;
    job->end_tile = (end_x(decoder) - 1) / job->work_width + 1;
    return VQZ_OK;
}

static vqz_status prepare(vqz_decoder *decoder, const vqz_model *model, const uint8_t *file,
                          const vqz_sample_options *sample, vqz_diag *diag) {
    const vqz_context *context = decoder->context;
    const vqzi_header *header = &decoder->header;
    vqzi_job *job = &decoder->job;
    bool codes = header->version == VQZI_VERSION && !decoder->partial;
    vqzi_quantiser_options options = {
        .level = vqzi_model_level(decoder->model, (int)header->quality),
        .kernels = &context->kernels,
        .threads = context->team.threads,
    };
    if (vqzi_model_net(model, false, &decoder->net) != VQZ_OK)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for the synthesis network");
    /* First the sizes that the ring and the quantiser follow from, then again within what they
       leave of the memory limit; a smaller work tile only needs narrower rows. */
    VQZ_TRY(plan(decoder, model, 0, diag));
    decoder->ring_size = ring_rows(decoder);
    options.max_width = job->plan.max_tile_width;
    uint32_t depth = codes ? decoder->model->plane_count : decoder->model->latent_channels;
    uint64_t ring = vqzi_mul_sizes((uint64_t)decoder->ring_size * job->tile_rows * job->columns,
                                   depth * sizeof(uint16_t));
    vqzi_tile_reader_options reader = {
        .context = context,
        .model = model,
        .header = header,
        .file = file,
        .columns = job->columns,
        .rows = job->rows,
        .quantiser_width = options.max_width,
        .partial = decoder->partial,
        .sample = sample,
    };
    uint64_t other = vqzi_add_sizes(ring, vqzi_quantiser_memory(decoder->model, &options));
    other = vqzi_add_sizes(other, vqzi_tile_reader_memory(&reader));
    if (header->alpha_data)
        other = vqzi_add_sizes(other, vqzi_alpha_memory(header->width) + header->width);
    VQZ_TRY(plan(decoder, model, other, diag));
    vqzi_span columns =
        vqzi_net_input_span(decoder->net, job->columns,
                            (vqzi_span){(int64_t)job->first_tile * job->work_width,
                                        (int64_t)job->end_tile * job->work_width});
    reader.begin_column = (uint32_t)columns.begin;
    reader.end_column = (uint32_t)VQZI_MAX(columns.end, columns.begin + 1);

    vqz_status status = VQZ_ERROR_MEMORY;
    void *memory = ring <= SIZE_MAX ? malloc((size_t)ring) : NULL;
    if (codes)
        decoder->ring = memory;
    else
        decoder->latents = memory;
    if (memory)
        status = vqzi_quantiser_create(&decoder->quantiser, decoder->model, &options);
    if (status == VQZ_OK)
        status = vqzi_job_open(job, context, decoder->net, options.level);
    if (status == VQZ_OK) {
        reader.quantiser = decoder->quantiser;
        status = vqzi_tile_reader_create(&decoder->reader, &reader);
        if (status == VQZ_ERROR_CORRUPT || status == VQZ_ERROR_TRUNCATED)
            return vqzi_fail(diag, status, "the index of the file's segments is damaged (%s)",
                             vqz_status_string(status));
    }
    if (status == VQZ_OK && header->alpha_data) {
        decoder->alpha_row = malloc(header->width);
        status = VQZ_ERROR_MEMORY;
        if (decoder->alpha_row)
            status = vqzi_alpha_read_begin(&decoder->alpha, header->width, header->height,
                                           header->alpha_data, header->alpha_size);
        if (status != VQZ_OK && status != VQZ_ERROR_MEMORY)
            return vqzi_fail(diag, status, "the alpha of the file is damaged (%s)",
                             vqz_status_string(status));
    }
    return status == VQZ_OK ? VQZ_OK
                            : vqzi_fail(diag, status, "the decoder cannot be set up: %s",
                                        vqz_status_string(status));
}

void vqz_decode_options_init(vqz_decode_options *options) {
    memset(options, 0, sizeof *options);
}

/* Fills the region in, or refuses it. */
static vqz_status check_region(vqz_decode_options *options, const vqzi_header *header,
                               vqz_diag *diag) {
    if (options->width == 0) {
        options->x = options->y = 0;
        options->width = header->width;
        options->height = header->height;
    }
    if (options->height == 0 || (uint64_t)options->x + options->width > header->width ||
        (uint64_t)options->y + options->height > header->height)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "the region %ux%u+%u+%u is not within the picture's %ux%u pixels",
                         options->width, options->height, options->x, options->y, header->width,
                         header->height);
    return VQZ_OK;
}

vqz_status vqzi_decoder_open(vqz_decoder **out, vqz_context *context, const vqz_model *model,
                             const vqzi_header *header, const void *file,
                             const vqz_decode_options *options, bool partial,
                             const vqz_sample_options *sample, vqz_diag *diag) {
    vqz_decoder *decoder = calloc(1, sizeof *decoder);
    if (!decoder)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for a decoder");
    decoder->context = context;
    decoder->model = &model->model;
    decoder->header = *header;
    decoder->channels = vqzi_header_channels(header);
    decoder->partial = partial;
    if (options)
        decoder->options = *options;
    vqz_status status = vqzi_check_file(context, model, header, diag);
    if (status == VQZ_OK)
        status = check_region(&decoder->options, header, diag);
    decoder->y = decoder->options.y;
    if (status == VQZ_OK)
        status = prepare(decoder, model, file, sample, diag);
    if (status != VQZ_OK) {
        vqz_decoder_free(decoder);
        return status;
    }
    *out = decoder;
    return VQZ_OK;
}

vqz_status vqz_decoder_create_with(vqz_decoder **out, vqz_context *context, const vqz_model *model,
                                   const void *file, size_t file_size,
                                   const vqz_decode_options *options, vqz_diag *diag) {
    vqzi_header header;
    bool whole;
    VQZ_TRY(vqzi_read_header(&header, &whole, file, file_size, options && options->partial, diag));
    return vqzi_decoder_open(out, context, model, &header, file, options, !whole, NULL, diag);
}

vqz_status vqz_decoder_create(vqz_decoder **out, vqz_context *context, const vqz_model *model,
                              const void *file, size_t file_size, vqz_diag *diag) {
    return vqz_decoder_create_with(out, context, model, file, file_size, NULL, diag);
}

void vqz_decoder_get_found(const vqz_decoder *decoder, uint64_t *found, uint64_t *codes) {
    vqzi_tile_reader_found(decoder->reader, found, codes);
}

void vqz_decoder_free(vqz_decoder *decoder) {
    if (!decoder)
        return;
    vqzi_job_close(&decoder->job);
    vqzi_quantiser_free(decoder->quantiser);
    vqzi_tile_reader_free(decoder->reader);
    vqzi_alpha_clear(&decoder->alpha);
    free(decoder->ring);
    free(decoder->latents);
    free(decoder->band);
    free(decoder->alpha_row);
    free(decoder);
}

/* ---- bands ---- */

/* Indices of plane p from (row, column) of the latent on. */
static uint16_t *ring_at(const vqz_decoder *decoder, uint32_t p, uint32_t row, uint32_t column) {
    const vqzi_job *job = &decoder->job;
    size_t slot = row / job->tile_rows % decoder->ring_size;
    size_t line = (slot * decoder->model->plane_count + p) * job->tile_rows +
                  row % job->tile_rows;
    return decoder->ring + line * job->columns + column;
}

/* Latents from (row, column) on. */
static int16_t *latents_at(const vqz_decoder *decoder, uint32_t row, uint32_t column) {
    const vqzi_job *job = &decoder->job;
    size_t line = (size_t)(row / job->tile_rows % decoder->ring_size) * job->tile_rows +
                  row % job->tile_rows;
    return decoder->latents + (line * job->columns + column) * decoder->model->latent_channels;
}

static vqz_status read_tile_row(vqz_decoder *decoder) {
    uint32_t y = decoder->tiles_read++ * decoder->job.tile_rows;
    uint16_t *planes[VQZI_MAX_PLANES];
    if (decoder->latents)
        return vqzi_tile_reader_run(decoder->reader, latents_at(decoder, y, 0), NULL);
    for (uint32_t p = 0; p < decoder->model->plane_count; p++)
        planes[p] = ring_at(decoder, p, y, 0);
    return vqzi_tile_reader_run(decoder->reader, NULL, planes);
}

/* Reads the tile rows that the band in tile row `tile` looks at; the tile row itself is read whether
   the network looks at it or not.  What lies above a region is passed over where it can be. */
static vqz_status read_tiles(vqz_decoder *decoder, uint32_t tile) {
    vqzi_span rows = rows_needed(decoder, tile);
    uint32_t first = tile, last = tile;
    if (rows.end > rows.begin) {
        first = VQZI_MIN(first, (uint32_t)(rows.begin / decoder->job.tile_rows));
        last = VQZI_MAX(last, (uint32_t)((rows.end - 1) / decoder->job.tile_rows));
    }
    while (decoder->tiles_read < first && vqzi_tile_reader_skip(decoder->reader))
        decoder->tiles_read++;
    while (decoder->tiles_read <= last)
        VQZ_TRY(read_tile_row(decoder));
    return VQZ_OK;
}

/* A band of pixels: rows y..y+height-1 of the picture, of which the columns of the region go to rows. */
typedef struct pixel_band {
    const vqz_decoder *decoder;
    uint8_t *rows;
    size_t stride;
    uint32_t y, height;
} pixel_band;

typedef struct work_tile {
    const vqz_decoder *decoder;
    const pixel_band *band;
    uint32_t x; /* pixels */
    vqzi_view input, output;
} work_tile;

/* Latents of a row for the network. */
static void dequantise_row(const void *job, int thread, int64_t row) {
    const work_tile *tile = job;
    const vqzi_view *input = &tile->input;
    int16_t *dst = input->data + (size_t)(row - input->y.begin) * input->pitch;
    uint32_t begin = (uint32_t)input->x.begin, width = (uint32_t)(input->x.end - input->x.begin);
    const uint16_t *planes[VQZI_MAX_PLANES];
    if (tile->decoder->latents) {
        memcpy(dst, latents_at(tile->decoder, (uint32_t)row, begin),
               (size_t)width * input->channels * sizeof *dst);
        return;
    }
    for (uint32_t p = 0; p < tile->decoder->model->plane_count; p++)
        planes[p] = ring_at(tile->decoder, p, (uint32_t)row, begin);
    vqzi_dequantise_row(tile->decoder->quantiser, thread, planes, width, dst);
}

static void store_row(const void *job, int thread, int64_t row) {
    const work_tile *tile = job;
    const vqz_decoder *decoder = tile->decoder;
    uint32_t begin = VQZI_MAX(tile->x, decoder->options.x);
    (void)thread;
    vqzi_pixels_store_row(&tile->output, row, begin,
                          VQZI_MIN(tile->x + decoder->job.work_width, end_x(decoder)),
                          decoder->model->pixel_shift, decoder->options.x,
                          tile->band->rows + (size_t)(row - tile->band->y) * tile->band->stride,
                          decoder->channels);
}

static void decode_work_tile(const void *argument, int worker, int64_t index) {
    const pixel_band *band = argument;
    const vqz_decoder *decoder = band->decoder;
    const vqzi_job *job = &decoder->job;
    const vqzi_team *team = &job->teams[worker];
    uint32_t x = (uint32_t)index * job->work_width, y = band->y;
    uint64_t width = VQZI_MIN(job->work_width, decoder->header.width - x);
    work_tile tile = {.decoder = decoder, .band = band, .x = x};

    tile.input = vqzi_executor_begin(job->executors[worker], x, y);
    const vqzi_view *input = &tile.input;
    uint64_t positions =
        (uint64_t)((input->y.end - input->y.begin) * (input->x.end - input->x.begin));
    vqzi_team_run(team, positions * vqzi_quantiser_work(decoder->quantiser), input->y.begin,
                  input->y.end, dequantise_row, &tile);
    tile.output = vqzi_executor_run(job->executors[worker]);
    vqzi_team_run(team, width * band->height * tile.output.channels * VQZI_ELEMENT_WORK, y,
                  (int64_t)y + band->height, store_row, &tile);
}

/* Alpha comes row by row from the top: those above the region are read and dropped. */
static vqz_status read_alpha(vqz_decoder *decoder, const pixel_band *band) {
    const vqz_decode_options *region = &decoder->options;
    while (decoder->alpha.y < band->y + band->height) {
        uint32_t y = decoder->alpha.y;
        VQZ_TRY(vqzi_alpha_read(&decoder->alpha, decoder->alpha_row, 1));
        if (y < band->y)
            continue;
        uint8_t *dst = band->rows + (y - band->y) * band->stride + decoder->channels - 1;
        for (uint32_t x = 0; x < region->width; x++)
            dst[(size_t)x * decoder->channels] = decoder->alpha_row[region->x + x];
    }
    return VQZ_OK;
}

static vqz_status decode_band(vqz_decoder *decoder, uint8_t *rows, size_t stride, uint32_t y,
                              uint32_t height) {
    pixel_band band = {decoder, rows, stride, y, height};
    VQZ_TRY(read_tiles(decoder, y / tile_height(decoder)));
    vqzi_job_run_band(&decoder->job, decode_work_tile, &band);
    if (decoder->header.alpha_data)
        VQZ_TRY(read_alpha(decoder, &band));
    bool last = y + height == decoder->header.height;
    return last && !decoder->partial ? vqzi_tile_reader_finish(decoder->reader) : VQZ_OK;
}

/* Gives some of `count` rows, at least one. */
static vqz_status read_some(vqz_decoder *decoder, uint8_t *rows, size_t stride, uint32_t count,
                            uint32_t *given) {
    uint32_t work = decoder->job.work_height, into = decoder->y % work, begin = decoder->y - into;
    uint32_t height = VQZI_MIN(work, decoder->header.height - begin);
    bool fresh = into == 0 || decoder->y == decoder->options.y;
    size_t size;

    if (into == 0 && count >= height) {
        *given = height;
        return decode_band(decoder, rows, stride, begin, height);
    }
    if (!decoder->band) {
        if (vqzi_mul(decoder->job.band, row_bytes(decoder), &size))
            decoder->band = malloc(size);
        if (!decoder->band)
            return VQZ_ERROR_MEMORY;
    }
    if (fresh)
        VQZ_TRY(decode_band(decoder, decoder->band, row_bytes(decoder), begin, height));
    *given = VQZI_MIN(count, height - into);
    for (uint32_t y = 0; y < *given; y++)
        memcpy(rows + y * stride, decoder->band + (into + y) * row_bytes(decoder),
               row_bytes(decoder));
    return VQZ_OK;
}

/* ---- the interface ---- */

vqz_status vqz_decoder_read(vqz_decoder *decoder, uint8_t *rows, size_t stride, uint32_t count,
                            vqz_diag *diag) {
    VQZ_TRY(vqzi_check_rows(rows, stride, row_bytes(decoder), decoder->y - decoder->options.y,
                            count, decoder->options.height, diag));
    while (count > 0) {
        uint32_t given;
        vqz_status status = read_some(decoder, rows, stride, count, &given);
        if (status != VQZ_OK)
            return vqzi_fail(diag, status,
                             "the index planes or the alpha of the file are damaged (%s)",
                             vqz_status_string(status));
        decoder->y += given;
        rows += given * stride;
        count -= given;
    }
    return VQZ_OK;
}

/* All of a picture at once; frees the decoder. */
static vqz_status decode_all(vqz_decoder *decoder, const vqz_image *image, vqz_diag *diag) {
    const vqz_decode_options *region = &decoder->options;
    vqz_status status;
    if (image->width != region->width || image->height != region->height ||
        image->channels != decoder->channels)
        status = vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                           "the file holds %u x %u pixels of %u channels, not %u x %u of %u",
                           region->width, region->height, decoder->channels, image->width,
                           image->height, image->channels);
    else
        status = vqz_decoder_read(decoder, image->pixels, image->stride, image->height, diag);
    vqz_decoder_free(decoder);
    return status;
}

vqz_status vqz_decode_with(vqz_context *context, const vqz_model *model, const void *file,
                           size_t file_size, const vqz_decode_options *options,
                           const vqz_image *image, vqz_diag *diag) {
    vqz_decoder *decoder;
    VQZ_TRY(vqz_decoder_create_with(&decoder, context, model, file, file_size, options, diag));
    return decode_all(decoder, image, diag);
}

vqz_status vqz_decode(vqz_context *context, const vqz_model *model, const void *file,
                      size_t file_size, const vqz_image *image, vqz_diag *diag) {
    return vqz_decode_with(context, model, file, file_size, NULL, image, diag);
}
