/*
 * quantise.c - search and reconstruction of index planes; see quantise.h.
 *
 * A plane is searched in one of three ways that all find the same code:
 *   - the kernel, with costs in int32: for codebooks whose costs provably fit, nearly all;
 *   - the same in int64, for extreme codebooks of many dimensions;
 *   - a table of one code for each residual value, for planes of one dimension and large pictures.
 */
#include "codec/quantise.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PENALTY = 1 << 29 };

typedef struct plane_book {
    int16_t *entries; /* (K, d) */
    vqzi_codes codes; /* encoder only */
    bool wide;        /* costs may leave int32 */
    uint16_t *table;  /* (2^latent_bits), code of residual - smallest residual, or NULL */
} plane_book;

/* What one thread needs for a row. */
typedef struct scratch {
    int32_t *sums;      /* (max_width, D) */
    int16_t *residuals; /* (max_width, 64) */
    uint16_t *found;    /* (max_width) */
} scratch;

struct vqzi_quantiser {
    const vqzi_model *model;
    vqzi_kernels kernels;
    int32_t minimum, maximum; /* of a latent */
    plane_book *books;        /* (plane_count) */
    scratch *scratch;         /* (threads) */
    int threads;
};

static bool wants_table(const vqzi_model *model, const vqzi_plane *plane,
                        const vqzi_quantiser_options *options) {
    return options->encode && plane->dims == 1 &&
           options->positions >= (uint64_t)2 << model->latent_bits;
}

static uint32_t blocks_of(const vqzi_plane *plane) {
    return (plane->codes + VQZI_SEARCH_BLOCK - 1u) / VQZI_SEARCH_BLOCK;
}

uint64_t vqzi_quantiser_memory(const vqzi_model *model, const vqzi_quantiser_options *options) {
    uint64_t total = 0;
    for (uint32_t p = 0; p < model->plane_count; p++) {
        const vqzi_plane *plane = &model->planes[p];
        total += (uint64_t)plane->codes * plane->dims * sizeof(int16_t);
        if (options->encode)
            total += (uint64_t)blocks_of(plane) * VQZI_SEARCH_BLOCK *
                     (plane->dims * 2u + 2 + sizeof(int32_t));
        if (wants_table(model, plane, options))
            total += sizeof(uint16_t) << model->latent_bits;
    }
    uint64_t position = model->latent_channels * sizeof(int32_t) +
                        VQZI_MAX_PLANE_DIMS * sizeof(int16_t) + sizeof(uint16_t);
    return total + (uint64_t)options->threads * options->max_width * position;
}

uint64_t vqzi_lambda(const vqzi_model *model, vqzi_level level, int bias) {
    uint64_t lambda = model->lambdas[level.lower];
    if (level.fraction > 0)
        lambda = (lambda * (99 - level.fraction) +
                  (uint64_t)model->lambdas[level.lower + 1] * level.fraction + 49) / 99;
    return lambda * (uint64_t)(100 + bias) / 100;
}

/* lambda * rate / 8 */
static int32_t penalty(uint64_t lambda, const vqzi_plane *plane, vqzi_level level, uint32_t code) {
    uint64_t value = lambda * plane->rates[(size_t)level.nearest * plane->codes + code] / 8;
    return (int32_t)VQZI_MIN(value, (uint64_t)MAX_PENALTY);
}

/* int64 costs; codes keep their packed form. */
static void search_wide(const vqzi_codes *codes, const int16_t *residuals, size_t count,
                        uint16_t *found) {
    size_t dims = (size_t)codes->pairs * 2;
    for (size_t i = 0; i < count; i++, residuals += dims) {
        int64_t best = INT64_MAX;
        for (uint32_t k = 0; k < codes->codes; k++) {
            const int16_t *packed =
                codes->packed + (size_t)(k / VQZI_SEARCH_BLOCK) * dims * VQZI_SEARCH_BLOCK +
                (size_t)(k % VQZI_SEARCH_BLOCK) * 2;
            int64_t cost = codes->base[k];
            for (size_t d = 0; d < dims; d++)
                cost += residuals[d] * packed[d / 2 * 2 * VQZI_SEARCH_BLOCK + d % 2];
            if (cost < best) {
                best = cost;
                found[i] = (uint16_t)k;
            }
        }
    }
}

static void search(const vqzi_quantiser *quantiser, const plane_book *book,
                   const int16_t *residuals, size_t count, uint16_t *found) {
    if (book->wide)
        search_wide(&book->codes, residuals, count, found);
    else
        quantiser->kernels.search(&book->codes, residuals, count, found);
}

static vqz_status prepare_search(const vqzi_quantiser *quantiser, plane_book *book,
                                 const vqzi_plane *plane, const vqzi_quantiser_options *options) {
    vqzi_codes *codes = &book->codes;
    size_t dims = plane->dims;
    uint64_t lambda = vqzi_lambda(quantiser->model, options->level, options->rate_bias);
    int64_t top = 0, reach = 0;

    codes->codes = plane->codes;
    codes->pairs = (uint32_t)(dims + 1) / 2;
    codes->blocks = blocks_of(plane);
    size_t padded = (size_t)codes->blocks * VQZI_SEARCH_BLOCK;
    codes->packed = calloc(padded * codes->pairs, 2 * sizeof *codes->packed);
    codes->base = malloc(padded * sizeof *codes->base);
    if (!codes->packed || !codes->base)
        return VQZ_ERROR_MEMORY;
    for (size_t k = 0; k < padded; k++) {
        if (k >= plane->codes) {
            codes->base[k] = INT32_MAX;
            continue;
        }
        const int16_t *entry = book->entries + k * dims;
        int16_t *packed = codes->packed +
                          k / VQZI_SEARCH_BLOCK * codes->pairs * 2 * VQZI_SEARCH_BLOCK +
                          k % VQZI_SEARCH_BLOCK * 2;
        int64_t norm = penalty(lambda, plane, options->level, (uint32_t)k), sum = 0;
        for (size_t d = 0; d < dims; d++) {
            packed[d / 2 * 2 * VQZI_SEARCH_BLOCK + d % 2] = (int16_t)(-2 * entry[d]);
            norm += entry[d] * entry[d];
            sum += entry[d] < 0 ? -entry[d] : entry[d];
        }
        codes->base[k] = (int32_t)norm; /* at most 64 * 2^24 + 2^29 */
        top = VQZI_MAX(top, norm);
        reach = VQZI_MAX(reach, 2 * sum * -(int64_t)quantiser->minimum);
    }
    book->wide = top + reach >= INT32_MAX;
    return VQZ_OK;
}

static vqz_status make_table(const vqzi_quantiser *quantiser, plane_book *book) {
    size_t count = (size_t)(quantiser->maximum - quantiser->minimum) + 1;
    int16_t *residuals = calloc(count, 2 * sizeof *residuals); /* pairs with a zero */
    uint16_t *table = malloc(count * sizeof *table);
    if (!residuals || !table) {
        free(residuals);
        free(table);
        return VQZ_ERROR_MEMORY;
    }
    for (size_t i = 0; i < count; i++)
        residuals[2 * i] = (int16_t)((int32_t)i + quantiser->minimum);
    search(quantiser, book, residuals, count, table);
    free(residuals);
    book->table = table;
    return VQZ_OK;
}

static vqz_status prepare_book(const vqzi_quantiser *quantiser, uint32_t index,
                               const vqzi_quantiser_options *options) {
    const vqzi_model *model = quantiser->model;
    const vqzi_plane *plane = &model->planes[index];
    plane_book *book = &quantiser->books[index];

    book->entries = malloc((size_t)plane->codes * plane->dims * sizeof *book->entries);
    if (!book->entries)
        return VQZ_ERROR_MEMORY;
    vqzi_model_entries(model, options->level, index, book->entries);
    if (!options->encode)
        return VQZ_OK;
    VQZ_TRY(prepare_search(quantiser, book, plane, options));
    return wants_table(model, plane, options) ? make_table(quantiser, book) : VQZ_OK;
}

vqz_status vqzi_quantiser_create(vqzi_quantiser **out, const vqzi_model *model,
                                 const vqzi_quantiser_options *options) {
    vqzi_quantiser *quantiser = calloc(1, sizeof *quantiser);
    if (!quantiser)
        return VQZ_ERROR_MEMORY;
    quantiser->model = model;
    quantiser->kernels = *options->kernels;
    quantiser->maximum = (1 << (model->latent_bits - 1)) - 1;
    quantiser->minimum = -quantiser->maximum - 1;
    quantiser->threads = options->threads;
    quantiser->books = calloc(model->plane_count, sizeof *quantiser->books);
    quantiser->scratch = calloc((size_t)options->threads, sizeof *quantiser->scratch);
    if (!quantiser->books || !quantiser->scratch)
        goto fail;
    for (int t = 0; t < options->threads; t++) {
        scratch *work = &quantiser->scratch[t];
        size_t width = options->max_width;
        work->sums = malloc(width * model->latent_channels * sizeof *work->sums);
        work->residuals = malloc(width * VQZI_MAX_PLANE_DIMS * sizeof *work->residuals);
        work->found = malloc(width * sizeof *work->found);
        if (!work->sums || !work->residuals || !work->found)
            goto fail;
    }
    for (uint32_t p = 0; p < model->plane_count; p++)
        if (prepare_book(quantiser, p, options) != VQZ_OK)
            goto fail;
    *out = quantiser;
    return VQZ_OK;
fail:
    vqzi_quantiser_free(quantiser);
    return VQZ_ERROR_MEMORY;
}

void vqzi_quantiser_free(vqzi_quantiser *quantiser) {
    if (!quantiser)
        return;
    for (uint32_t p = 0; quantiser->books && p < quantiser->model->plane_count; p++) {
        plane_book *book = &quantiser->books[p];
        free(book->entries);
        free(book->codes.packed);
        free(book->codes.base);
        free(book->table);
    }
    for (int t = 0; quantiser->scratch && t < quantiser->threads; t++) {
        free(quantiser->scratch[t].sums);
        free(quantiser->scratch[t].residuals);
        free(quantiser->scratch[t].found);
    }
    free(quantiser->books);
    free(quantiser->scratch);
    free(quantiser);
}

/* ---- rows ---- */

uint64_t vqzi_quantiser_work(const vqzi_quantiser *quantiser) {
    uint64_t work = 0;
    for (uint32_t p = 0; p < quantiser->model->plane_count; p++) {
        const vqzi_plane *plane = &quantiser->model->planes[p];
        const plane_book *book = &quantiser->books[p];
        work += (uint64_t)plane->dims * VQZI_ELEMENT_WORK;
        if (book->codes.codes > 0 && !book->table)
            work += (uint64_t)plane->codes * (plane->dims + 4u);
    }
    return work;
}

void vqzi_quantise_row(const vqzi_quantiser *quantiser, int thread, const int16_t *latents,
                       uint32_t width, uint16_t *const *indices) {
    const vqzi_model *model = quantiser->model;
    const scratch *work = &quantiser->scratch[thread];
    size_t channels = model->latent_channels;
    int32_t *remaining = work->sums; /* latent - what the planes so far contribute */

    for (size_t i = 0; i < width * channels; i++)
        remaining[i] = latents[i];
    for (uint32_t p = 0; p < model->plane_count; p++) {
        const vqzi_plane *plane = &model->planes[p];
        const plane_book *book = &quantiser->books[p];
        size_t dims = plane->dims, padded = (dims + 1) & ~(size_t)1;
        for (size_t x = 0; x < width; x++) {
            int16_t *residual = work->residuals + x * padded;
            residual[padded - 1] = 0;
            for (size_t i = 0; i < dims; i++) {
                int32_t r = remaining[x * channels + plane->channels[i]];
                r = VQZI_MIN(VQZI_MAX(r, quantiser->minimum), quantiser->maximum);
                residual[i] = (int16_t)r;
            }
        }
        if (book->table)
            for (size_t x = 0; x < width; x++)
                work->found[x] = book->table[work->residuals[2 * x] - quantiser->minimum];
        else
            search(quantiser, book, work->residuals, width, work->found);
        for (size_t x = 0; x < width; x++) {
            const int16_t *entry = book->entries + work->found[x] * dims;
            for (size_t i = 0; i < dims; i++)
                remaining[x * channels + plane->channels[i]] -= entry[i];
        }
        memcpy(indices[p], work->found, width * sizeof *work->found);
    }
}

void vqzi_dequantise_row(const vqzi_quantiser *quantiser, int thread,
                         const uint16_t *const *indices, uint32_t width, int16_t *latents) {
    vqzi_dequantise_planes(quantiser, thread, indices, quantiser->model->plane_count, width,
                           latents);
}

void vqzi_dequantise_planes(const vqzi_quantiser *quantiser, int thread,
                            const uint16_t *const *indices, uint32_t planes, uint32_t width,
                            int16_t *latents) {
    const vqzi_model *model = quantiser->model;
    size_t channels = model->latent_channels;
    int32_t *sums = quantiser->scratch[thread].sums; /* 64 entries of 13 bits fit */

    memset(sums, 0, width * channels * sizeof *sums);
    for (uint32_t p = 0; p < planes; p++) {
        const vqzi_plane *plane = &model->planes[p];
        size_t dims = plane->dims;
        for (size_t x = 0; x < width; x++) {
            const int16_t *entry = quantiser->books[p].entries + indices[p][x] * dims;
            for (size_t i = 0; i < dims; i++)
                sums[x * channels + plane->channels[i]] += entry[i];
        }
    }
    for (size_t i = 0; i < width * channels; i++)
        latents[i] = (int16_t)VQZI_MIN(VQZI_MAX(sums[i], quantiser->minimum), quantiser->maximum);
}
