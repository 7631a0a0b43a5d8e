/*
 * quantiser.c - see quantiser.h.  State and codebook upkeep are here, assignment and gradients in
 * quantiser_assign.c and quantiser_loss.c.
 */
#include "trainer/quantiser_internal.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const float EMA_DECAY = 0.99f;
static const float LAPLACE = 1e-5f; /* of van den Oord et al.; counts are per batch */
/* Counts of a book average 1; so much of a code's value goes into the mean of what it stands for. */
static const float SCALAR_WEIGHT = 0.05f;
static const float MAX_BITS = 16.0f;

vqz_status quantiser_create(quantiser **out, const model_spec *spec, backend *b,
                            size_t max_positions, vqz_diag *diag) {
    quantiser *q = calloc(1, sizeof *q);
    if (!q)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for the quantiser");
    q->spec = spec;
    q->backend = b;
    q->max_positions = max_positions;
    size_t L = (size_t)spec->levels, D = (size_t)spec->latent_channels;
    size_t parameters = L * D, state = L;
    for (int p = 0; p < spec->plane_count; p++) {
        size_t K = (size_t)spec->planes[p].codes, d = (size_t)spec->planes[p].dims;
        q->book_offset[p] = parameters;
        parameters += L * K * d;
        q->count_offset[p] = state; /* counts, sums, bits, usage */
        state += L * K;
        q->sum_offset[p] = state;
        state += L * K * d;
        q->bits_offset[p] = state;
        state += L * K;
        q->usage_offset[p] = state;
        state += L * K;
        q->residual_offset[p] = q->residual_width;
        q->residual_width += (int)d;
        q->max_codes = VQZI_MAX(q->max_codes, (int)K);
    }
    q->parameter_count = parameters;
    q->state_count = state;
    q->statistics_count = L;
    for (int sums = 0; sums < 2; sums++)
        for (int p = 0; p < spec->plane_count; p++) {
            const plane_spec *s = &spec->planes[p];
            (sums ? q->batch_sum_offset : q->batch_count_offset)[p] = q->statistics_count;
            q->statistics_count += L * (size_t)s->codes * (size_t)(sums ? s->dims : 1);
        }
    q->state = calloc(state, sizeof *q->state);
    q->residuals = malloc(max_positions * (size_t)q->residual_width * sizeof *q->residuals);
    q->dense = malloc(DISTANCE_ROWS * (size_t)VQZI_MAX_PLANE_DIMS * sizeof *q->dense);
    q->tables = malloc(L * (size_t)q->residual_width * (size_t)q->max_codes * sizeof *q->tables);
    q->penalties =
        malloc(L * (size_t)spec->plane_count * (size_t)q->max_codes * sizeof *q->penalties);
    q->distances = malloc((size_t)DISTANCE_ROWS * (size_t)q->max_codes * sizeof *q->distances);
    if (!q->state || !q->residuals || !q->dense || !q->tables || !q->penalties || !q->distances) {
        quantiser_free(q);
        return vqzi_fail(diag, VQZ_ERROR_MEMORY,
                         "out of memory for the quantiser; try a smaller batch or crop");
    }
    *out = q;
    return VQZ_OK;
}

void quantiser_free(quantiser *q) {
    if (!q)
        return;
    free(q->state);
    free(q->residuals);
    free(q->dense);
    free(q->tables);
    free(q->penalties);
    free(q->distances);
    free(q);
}

size_t quantiser_parameter_count(const quantiser *q) {
    return q->parameter_count;
}

size_t quantiser_books_offset(const quantiser *q) {
    return q->book_offset[0];
}

void quantiser_bind(quantiser *q, float *parameters) {
    q->parameters = parameters;
}

void quantiser_state(const quantiser *q, void **state, size_t *size) {
    *state = q->state;
    *size = q->state_count * sizeof *q->state;
}

const float *quantiser_steps_log(const quantiser *q, int level) {
    return q->parameters + (size_t)level * (size_t)q->spec->latent_channels;
}

float *quantiser_book_mutable(quantiser *q, int plane, int level) {
    const plane_spec *s = &q->spec->planes[plane];
    return q->parameters + q->book_offset[plane] + (size_t)level * (size_t)(s->codes * s->dims);
}

const float *quantiser_book(const quantiser *q, int plane, int level) {
    const plane_spec *s = &q->spec->planes[plane];
    return q->parameters + q->book_offset[plane] + (size_t)level * (size_t)(s->codes * s->dims);
}

static float *plane_state(const quantiser *q, const size_t *offset, int plane, int level,
                          int width) {
    return q->state + offset[plane] +
           (size_t)level * (size_t)q->spec->planes[plane].codes * (size_t)width;
}

const float *quantiser_bits(const quantiser *q, int plane, int level) {
    return plane_state(q, q->bits_offset, plane, level, 1);
}

/* bits_k = -log2 of the Laplace-smoothed frequency. */
static void refresh_bits(quantiser *q, int plane, int level) {
    const plane_spec *s = &q->spec->planes[plane];
    const float *counts = plane_state(q, q->count_offset, plane, level, 1);
    float *bits = plane_state(q, q->bits_offset, plane, level, 1);
    double total = 0;
    for (int k = 0; k < s->codes; k++)
        total += counts[k];
    for (int k = 0; k < s->codes; k++) {
        double p = total > 0 ? (counts[k] + 1e-6 * total) / (total * (1 + 1e-6 * s->codes))
                             : 1.0 / s->codes;
        bits[k] = fminf((float)-log2(p), MAX_BITS);
    }
}

void quantiser_set_bits(quantiser *q, int plane, int level, const float *bits) {
    const plane_spec *s = &q->spec->planes[plane];
    float *counts = plane_state(q, q->count_offset, plane, level, 1);
    float *sums = plane_state(q, q->sum_offset, plane, level, s->dims);
    const float *book = quantiser_book(q, plane, level);
    q->state[level] = 1e6f; /* moving averages without start-up bias from here on */
    for (int k = 0; k < s->codes; k++) {
        counts[k] = exp2f(-bits[k]) * (float)s->codes;
        for (int c = 0; c < s->dims; c++)
            sums[k * s->dims + c] = counts[k] * book[k * s->dims + c];
    }
    refresh_bits(q, plane, level);
}

void quantiser_init(quantiser *q, const float *lambdas, random_state *random) {
    const model_spec *spec = q->spec;
    int D = spec->latent_channels;
    memset(q->state, 0, q->state_count * sizeof *q->state);
    for (int level = 0; level < spec->levels; level++) {
        float step = lambdas[level] > 0 ? 2.94f * sqrtf(lambdas[level]) : 1.0f;
        for (int c = 0; c < D; c++)
            q->parameters[level * D + c] = logf(step);
        for (int p = 0; p < spec->plane_count; p++) {
            const plane_spec *s = &spec->planes[p];
            float *book = quantiser_book_mutable(q, p, level), range = sqrtf(3.0f / (float)s->dims);
            for (int k = 0; k < s->codes; k++)
                for (int c = 0; c < s->dims; c++)
                    book[k * s->dims + c] = s->scalar
                                                ? (float)(k - s->codes / 2)
                                                : (2 * random_uniform(random) - 1) * range;
            refresh_bits(q, p, level);
        }
    }
}

/* ---- codebook upkeep ---- */

size_t quantiser_statistics_count(const quantiser *q) {
    return q->statistics_count;
}

static size_t batch_counts(const quantiser *q, int plane, int level) {
    return q->batch_count_offset[plane] + (size_t)(level * q->spec->planes[plane].codes);
}

static size_t batch_sums(const quantiser *q, int plane, int level) {
    const plane_spec *s = &q->spec->planes[plane];
    return q->batch_sum_offset[plane] + (size_t)(level * s->codes * s->dims);
}

static const float *residual_of(const quantiser *q, int plane, size_t position) {
    return q->residuals + position * (size_t)q->residual_width + q->residual_offset[plane];
}

void quantiser_gather(const quantiser *q, const uint16_t *indices, size_t positions,
                      size_t per_sample, const int *levels, float *statistics) {
    memset(statistics, 0, q->statistics_count * sizeof *statistics);
    for (size_t i = 0; i * per_sample < positions; i++)
        statistics[levels[i]] += (float)per_sample;
    /* Planes are independent: one thread each gives the same sums for any number of threads. */
#pragma omp parallel for schedule(dynamic, 1)
    for (int p = 0; p < q->spec->plane_count; p++) {
        int d = q->spec->planes[p].dims;
        for (size_t n = 0; n < positions; n++) {
            int level = levels[n / per_sample], k = indices[(size_t)p * positions + n];
            const float *r = residual_of(q, p, n);
            float *sum = statistics + batch_sums(q, p, level) + k * d;
            statistics[batch_counts(q, p, level) + (size_t)k] += 1;
            for (int c = 0; c < d; c++)
                sum[c] += r[c];
        }
    }
}

static void update_book(quantiser *q, int plane, int level, const float *statistics, bool ema) {
    const plane_spec *s = &q->spec->planes[plane];
    int K = s->codes, d = s->dims;
    const float *count = statistics + batch_counts(q, plane, level);
    const float *sum = statistics + batch_sums(q, plane, level);
    float *usage = plane_state(q, q->usage_offset, plane, level, 1);
    float *counts = plane_state(q, q->count_offset, plane, level, 1);
    float *sums = plane_state(q, q->sum_offset, plane, level, d);
    float *book = quantiser_book_mutable(q, plane, level);
    const float *steps = quantiser_steps_log(q, level);
    /* Per-batch counts are normalised to K, so that the number of samples of a level in a batch does
       not matter. */
    float scale = (float)K / statistics[level], total = 0;
    for (int k = 0; k < K; k++) {
        usage[k] += count[k];
        counts[k] = EMA_DECAY * counts[k] + (1 - EMA_DECAY) * count[k] * scale;
        total += counts[k];
        for (int c = 0; c < d; c++)
            sums[k * d + c] =
                EMA_DECAY * sums[k * d + c] +
                (1 - EMA_DECAY) * sum[k * d + c] * scale / expf(steps[s->channels[c]]);
    }
    if (ema && s->scalar)
        for (int k = 0; k < K; k++) /* a rare code stays near its value */
            book[k] = (sums[k] + SCALAR_WEIGHT * (float)(k - K / 2)) / (counts[k] + SCALAR_WEIGHT);
    else if (ema)
        for (int k = 0; k < K; k++) {
            /* The start-up factor 1 - decay^t is common to sums and counts and cancels in their
               ratio, but for the smoothing term, which it would otherwise outweigh at first. */
            float debias = 1 - powf(EMA_DECAY, q->state[level] + 1);
            float n = counts[k] / debias, N = total / debias;
            float smoothed = (n + LAPLACE) / (N + (float)K * LAPLACE) * N;
            if (n < 1e-4f)
                continue; /* nothing known: the entry stays where it is */
            for (int c = 0; c < d; c++)
                book[k * d + c] = sums[k * d + c] / debias / smoothed;
        }
    refresh_bits(q, plane, level);
}

void quantiser_update(quantiser *q, const float *statistics, bool ema) {
#pragma omp parallel for schedule(dynamic, 1)
    for (int p = 0; p < q->spec->plane_count; p++)
        for (int level = 0; level < q->spec->levels; level++)
            if (statistics[level] > 0)
                update_book(q, p, level, statistics, ema);
    for (int level = 0; level < q->spec->levels; level++)
        q->state[level] += statistics[level] > 0; /* steps that the level has seen */
}

size_t quantiser_find_dead(quantiser *q, size_t samples, size_t per_sample, const int *levels,
                           size_t first, size_t step, const float *lambdas, uint64_t threshold,
                           random_state *random, float *statistics) {
    size_t found = 0;
    memset(statistics, 0, q->statistics_count * sizeof *statistics);
    for (int p = 0; p < q->spec->plane_count; p++) {
        const plane_spec *s = &q->spec->planes[p];
        for (int level = 0; level < q->spec->levels; level++) {
            float *usage = plane_state(q, q->usage_offset, p, level, 1);
            size_t candidates = 0, last = 0;
            for (size_t i = 0; i < samples; i++)
                if (levels[i] == level) {
                    candidates++;
                    last = i;
                }
            if (candidates == 0)
                continue; /* not in this batch: it keeps counting until it is */
            /* Under a rate constraint most unused codes are unused because they do not pay: offer
               a few alternatives at a time rather than upset the code lengths of the others. */
            int allowed = s->scalar ? 0 : lambdas[level] > 0 ? s->codes / 32 : s->codes;
            for (int k = 0; k < s->codes && allowed > 0; k++) {
                if (usage[k] >= (float)threshold)
                    continue;
                allowed--;
                size_t pick = random_below(random, (uint32_t)candidates), sample = last;
                for (size_t i = 0; i < samples; i++)
                    if (levels[i] == level && pick-- == 0) {
                        sample = i;
                        break;
                    }
                size_t position = random_below(random, (uint32_t)per_sample);
                statistics[batch_counts(q, p, level) + (size_t)k] = 1;
                if (sample % step == first)
                    memcpy(statistics + batch_sums(q, p, level) + k * s->dims,
                           residual_of(q, p, sample / step * per_sample + position),
                           (size_t)s->dims * sizeof *statistics);
                found++;
            }
            memset(usage, 0, (size_t)s->codes * sizeof *usage);
        }
    }
    return found;
}

void quantiser_restart(quantiser *q, const float *statistics) {
    for (int p = 0; p < q->spec->plane_count; p++) {
        const plane_spec *s = &q->spec->planes[p];
        for (int level = 0; level < q->spec->levels; level++) {
            const float *found = statistics + batch_counts(q, p, level);
            const float *vectors = statistics + batch_sums(q, p, level);
            float *counts = plane_state(q, q->count_offset, p, level, 1);
            float *sums = plane_state(q, q->sum_offset, p, level, s->dims);
            float *book = quantiser_book_mutable(q, p, level);
            const float *steps = quantiser_steps_log(q, level);
            for (int k = 0; k < s->codes; k++) {
                if (found[k] == 0)
                    continue;
                counts[k] = 0.3f; /* counts average 1: a modest start, so that it can win or fade */
                for (int c = 0; c < s->dims; c++) {
                    int i = k * s->dims + c;
                    book[i] = vectors[i] / expf(steps[s->channels[c]]);
                    sums[i] = counts[k] * book[i];
                }
            }
            refresh_bits(q, p, level);
        }
    }
}

/* ---- initialisation from data ---- */

typedef struct integer_vector {
    size_t count;
    const int8_t *values;
    int dims;
} integer_vector;

static int compare_values(const void *a, const void *b) {
    const integer_vector *x = a, *y = b;
    return memcmp(x->values, y->values, (size_t)x->dims);
}

static int compare_counts(const void *a, const void *b) {
    const integer_vector *x = a, *y = b;
    return x->count != y->count ? (x->count < y->count ? 1 : -1) : compare_values(a, b);
}

static vqz_status init_book(quantiser *q, int plane, int level, const float *latent,
                            size_t positions, random_state *random) {
    const plane_spec *s = &q->spec->planes[plane];
    int D = q->spec->latent_channels, d = s->dims;
    const float *steps = quantiser_steps_log(q, level);
    int8_t *rounded = malloc(positions * (size_t)d);
    integer_vector *vectors = malloc(positions * sizeof *vectors);
    if (!rounded || !vectors) {
        free(rounded);
        free(vectors);
        return VQZ_ERROR_MEMORY;
    }
    for (size_t n = 0; n < positions; n++) {
        for (int c = 0; c < d; c++) {
            float y = latent[n * (size_t)D + (size_t)s->channels[c]] / expf(steps[s->channels[c]]);
            rounded[n * (size_t)d + (size_t)c] = (int8_t)fmaxf(-127, fminf(127, roundf(y)));
        }
        vectors[n] = (integer_vector){1, rounded + n * (size_t)d, d};
    }
    qsort(vectors, positions, sizeof *vectors, compare_values);
    size_t distinct = 0;
    for (size_t n = 0; n < positions; n++)
        if (distinct && compare_values(&vectors[distinct - 1], &vectors[n]) == 0)
            vectors[distinct - 1].count++;
        else
            vectors[distinct++] = vectors[n];
    qsort(vectors, distinct, sizeof *vectors, compare_counts);

    float *book = quantiser_book_mutable(q, plane, level);
    float *counts = plane_state(q, q->count_offset, plane, level, 1);
    float *sums = plane_state(q, q->sum_offset, plane, level, d);
    for (int k = 0; k < s->codes; k++) {
        size_t n = random_below(random, (uint32_t)positions);
        /* A vector seen once is no better than any other: draw the rest at random. */
        bool frequent = (size_t)k < distinct && vectors[k].count > 1;
        for (int c = 0; c < d; c++) {
            float y = latent[n * (size_t)D + (size_t)s->channels[c]] / expf(steps[s->channels[c]]);
            book[k * d + c] = frequent ? (float)vectors[k].values[c] : y;
        }
        counts[k] = frequent ? (float)vectors[k].count / (float)positions * (float)s->codes : 0.2f;
        for (int c = 0; c < d; c++)
            sums[k * d + c] = counts[k] * book[k * d + c];
    }
    refresh_bits(q, plane, level);
    free(rounded);
    free(vectors);
    return VQZ_OK;
}

vqz_status quantiser_init_books(quantiser *q, const float *latent, size_t positions, int level,
                                const float *lambdas, random_state *random) {
    enum { LLOYD = 6 };
    const model_spec *spec = q->spec;
    assert(positions <= q->max_positions);
    uint16_t *indices = malloc(positions * (size_t)spec->plane_count * sizeof *indices);
    float *quantised = malloc(positions * (size_t)spec->latent_channels * sizeof *quantised);
    float *statistics = malloc(q->statistics_count * sizeof *statistics);
    vqz_status status = indices && quantised && statistics ? VQZ_OK : VQZ_ERROR_MEMORY;
    for (int p = 0; p < spec->plane_count && status == VQZ_OK; p++)
        if (!spec->planes[p].scalar)
            status = init_book(q, p, level, latent, positions, random);
    q->state[level] = 1000; /* counts start whole: no start-up bias to remove */
    for (int i = 0; i < LLOYD && status == VQZ_OK; i++) {
        status = quantiser_assign(q, latent, positions, positions, &level, lambdas, indices,
                                  quantised);
        for (int p = 0; p < spec->plane_count && status == VQZ_OK; p++) {
            /* Forget the old average, so that one update is one Lloyd iteration. */
            const plane_spec *s = &spec->planes[p];
            if (s->scalar)
                continue;
            float *counts = plane_state(q, q->count_offset, p, level, 1);
            float *sums = plane_state(q, q->sum_offset, p, level, s->dims);
            for (int k = 0; k < s->codes; k++)
                counts[k] *= 0.001f;
            for (int k = 0; k < s->codes * s->dims; k++)
                sums[k] *= 0.001f;
        }
        if (status == VQZ_OK) {
            quantiser_gather(q, indices, positions, positions, &level, statistics);
            quantiser_update(q, statistics, true);
        }
    }
    for (int p = 0; p < spec->plane_count; p++) {
        /* Counts to an average of 1 again, the scale of quantiser_update. */
        const plane_spec *s = &spec->planes[p];
        float *counts = plane_state(q, q->count_offset, p, level, 1), total = 0;
        float *sums = plane_state(q, q->sum_offset, p, level, s->dims);
        for (int k = 0; k < s->codes; k++)
            total += counts[k];
        float scale = total > 0 ? (float)s->codes / total : 1;
        for (int k = 0; k < s->codes; k++)
            counts[k] *= scale;
        for (int k = 0; k < s->codes * s->dims; k++)
            sums[k] *= scale;
    }
    free(indices);
    free(quantised);
    free(statistics);
    return status;
}

/* ---- order ---- */

typedef struct sort_key {
    float key;
    int index;
} sort_key;

static int compare_keys(const void *a, const void *b) {
    const sort_key *x = a, *y = b;
    return x->key < y->key ? -1 : x->key > y->key ? 1 : x->index - y->index;
}

static void permute(float *values, int width, const sort_key *order, int count, float *work) {
    memcpy(work, values, (size_t)count * (size_t)width * sizeof *work);
    for (int k = 0; k < count; k++)
        memcpy(values + (size_t)k * (size_t)width, work + (size_t)order[k].index * (size_t)width,
               (size_t)width * sizeof *work);
}

void quantiser_sort(quantiser *q) {
    enum { WORK = VQZI_MAX_CODES * VQZI_MAX_PLANE_DIMS };
    sort_key *order = malloc(VQZI_MAX_CODES * sizeof *order);
    float *work = malloc(WORK * sizeof *work);
    for (int p = 0; p < q->spec->plane_count && order && work; p++) {
        const plane_spec *s = &q->spec->planes[p];
        if (s->scalar)
            continue;
        for (int level = 0; level < q->spec->levels; level++) {
            float *book = quantiser_book_mutable(q, p, level);
            float *counts = plane_state(q, q->count_offset, p, level, 1);
            for (int k = 0; k < s->codes; k++)
                order[k] = (sort_key){-counts[k], k};
            qsort(order, (size_t)s->codes, sizeof *order, compare_keys);
            permute(book, s->dims, order, s->codes, work);
            permute(counts, 1, order, s->codes, work);
            permute(plane_state(q, q->sum_offset, p, level, s->dims), s->dims, order, s->codes,
                    work);
            permute(plane_state(q, q->bits_offset, p, level, 1), 1, order, s->codes, work);
            permute(plane_state(q, q->usage_offset, p, level, 1), 1, order, s->codes, work);
        }
    }
    free(order);
    free(work);
}
