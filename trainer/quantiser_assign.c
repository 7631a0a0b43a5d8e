/*
 * quantiser_assign.c - nearest codes with their rate: the hot loop of the hard phase.
 *
 * Distances expand to |r|^2 - 2 r.E_k + (|E_k|^2 + lambda bits_k) with E = s e in latent units; |r|^2
 * is common to all codes.  Narrow planes scan a transposed table, vectorised over codes; wide planes
 * (the classic preset) take their products from the backend's GEMM.
 */
#include "trainer/quantiser_internal.h"
#include "trainer/wide.h"
#include <math.h>
#include <string.h>

static float *level_table(const quantiser *q, int level, int plane) {
    return q->tables + ((size_t)level * (size_t)q->residual_width +
                        (size_t)q->residual_offset[plane]) *
                           (size_t)q->max_codes;
}

static float *level_penalties(const quantiser *q, int level, int plane) {
    return q->penalties +
           ((size_t)level * (size_t)q->spec->plane_count + (size_t)plane) * (size_t)q->max_codes;
}

static void prepare_tables(quantiser *q, int level, float lambda) {
    const float *steps = quantiser_steps_log(q, level);
    for (int p = 0; p < q->spec->plane_count; p++) {
        const plane_spec *s = &q->spec->planes[p];
        const float *book = quantiser_book(q, p, level), *bits = quantiser_bits(q, p, level);
        float *table = level_table(q, level, p), *penalty = level_penalties(q, level, p);
        if (s->scalar)
            continue;
        for (int k = 0; k < s->codes; k++)
            penalty[k] = lambda * bits[k];
        for (int c = 0; c < s->dims; c++) {
            float step = expf(steps[s->channels[c]]);
            for (int k = 0; k < s->codes; k++) {
                float entry = step * book[k * s->dims + c];
                penalty[k] += entry * entry;
                /* (d, K) for the scan, (K, d) for the product */
                table[s->dims < GEMM_DIMS ? c * s->codes + k : k * s->dims + c] = -2 * entry;
            }
        }
    }
}

WIDE static int nearest(const float *r, const float *table, const float *penalty, int dims,
                        int codes) {
    enum { CHUNK = 64 };
    float best = INFINITY, cost[CHUNK];
    int best_code = 0;
    for (int first = 0; first < codes; first += CHUNK) {
        int count = codes - first < CHUNK ? codes - first : CHUNK;
        for (int k = 0; k < count; k++)
            cost[k] = penalty[first + k];
        for (int c = 0; c < dims; c++)
            for (int k = 0; k < count; k++)
                cost[k] += r[c] * table[c * codes + first + k];
        float low = cost[0];
        for (int k = 1; k < count; k++)
            low = cost[k] < low ? cost[k] : low;
        if (low < best) {
            best = low;
            for (int k = 0; k < count; k++)
                if (cost[k] == low) {
                    best_code = first + k;
                    break;
                }
        }
    }
    return best_code;
}

static void take_code(quantiser *q, int plane, int level, size_t n, int k, const float *steps,
                      float *quantised) {
    const plane_spec *s = &q->spec->planes[plane];
    const float *entry = quantiser_book(q, plane, level) + (size_t)k * (size_t)s->dims;
    float *dst = quantised + n * (size_t)q->spec->latent_channels;
    for (int c = 0; c < s->dims; c++)
        dst[s->channels[c]] += steps[c] * entry[c];
}

static void gather_residual(quantiser *q, int plane, size_t n, const float *latent,
                            const float *quantised) {
    const plane_spec *s = &q->spec->planes[plane];
    size_t D = (size_t)q->spec->latent_channels;
    float *r = q->residuals + n * (size_t)q->residual_width + q->residual_offset[plane];
    for (int c = 0; c < s->dims; c++)
        r[c] = latent[n * D + (size_t)s->channels[c]] - quantised[n * D + (size_t)s->channels[c]];
}

static vqz_status assign_product(quantiser *q, int plane, int level, size_t begin, size_t end,
                                 const float *latent, const float *steps, uint16_t *indices,
                                 float *quantised) {
    const plane_spec *s = &q->spec->planes[plane];
    size_t K = (size_t)s->codes, d = (size_t)s->dims;
    for (size_t first = begin; first < end; first += DISTANCE_ROWS) {
        size_t rows = VQZI_MIN((size_t)DISTANCE_ROWS, end - first);
        /* Dense residual rows for the product. */
        for (size_t n = 0; n < rows; n++) {
            gather_residual(q, plane, first + n, latent, quantised);
            memcpy(q->dense + n * d,
                   q->residuals + (first + n) * (size_t)q->residual_width +
                       q->residual_offset[plane],
                   d * sizeof *q->dense);
        }
        VQZ_TRY(backend_gemm_nt(q->backend, rows, K, d, 1.0f, q->dense,
                                level_table(q, level, plane), 0.0f, q->distances));
        const float *penalty = level_penalties(q, level, plane);
#pragma omp parallel for schedule(static)
        for (size_t n = 0; n < rows; n++) {
            const float *distance = q->distances + n * K;
            float best = INFINITY;
            int code = 0;
            for (size_t k = 0; k < K; k++)
                if (distance[k] + penalty[k] < best) {
                    best = distance[k] + penalty[k];
                    code = (int)k;
                }
            indices[first + n] = (uint16_t)code;
            take_code(q, plane, level, first + n, code, steps, quantised);
        }
    }
    return VQZ_OK;
}

/* Step sizes of a plane's channels. */
static void plane_steps(const quantiser *q, int plane, int level, float *steps) {
    const plane_spec *s = &q->spec->planes[plane];
    for (int c = 0; c < s->dims; c++)
        steps[c] = expf(quantiser_steps_log(q, level)[s->channels[c]]);
}

/* Narrow planes first to end - 1 of all positions, each position's in their order.  The tables of one
   plane stay in the first-level cache for a chunk of positions; one team does all of it, because
   waking one for every plane and sample costs more than the search where processors are shared. */
static void assign_narrow(quantiser *q, int first_plane, int end_plane, const float *latent,
                          size_t positions, size_t per_sample, const int *levels, uint16_t *indices,
                          float *quantised) {
    enum { CHUNK = 32 };
    size_t chunks = (per_sample + CHUNK - 1) / CHUNK, samples = positions / per_sample;
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < samples * chunks; i++) {
        size_t sample = i / chunks, begin = sample * per_sample + i % chunks * CHUNK;
        size_t end = VQZI_MIN(begin + CHUNK, (sample + 1) * per_sample);
        int level = levels[sample];
        for (int p = first_plane; p < end_plane; p++) {
            const plane_spec *s = &q->spec->planes[p];
            const float *table = level_table(q, level, p), *penalty = level_penalties(q, level, p);
            float steps[VQZI_MAX_PLANE_DIMS];
            plane_steps(q, p, level, steps);
            for (size_t n = begin; n < end; n++) {
                gather_residual(q, p, n, latent, quantised);
                if (s->scalar) /* its code is chosen by the prior */
                    continue;
                const float *r =
                    q->residuals + n * (size_t)q->residual_width + q->residual_offset[p];
                int k = nearest(r, table, penalty, s->dims, s->codes);
                indices[(size_t)p * positions + n] = (uint16_t)k;
                take_code(q, p, level, n, k, steps, quantised);
            }
        }
    }
}

vqz_status quantiser_assign(quantiser *q, const float *latent, size_t positions, size_t per_sample,
                            const int *levels, const float *lambdas, uint16_t *indices,
                            float *quantised) {
    const model_spec *spec = q->spec;
    size_t samples = positions / per_sample;
    bool used[VQZI_MAX_LEVELS] = {false};
    for (size_t i = 0; i < samples; i++)
        used[levels[i]] = true;
    for (int level = 0; level < spec->levels; level++)
        if (used[level])
            prepare_tables(q, level, lambdas[level]);
    memset(quantised, 0, positions * (size_t)spec->latent_channels * sizeof *quantised);

    for (int p = 0, next; p < spec->plane_count; p = next) {
        next = p;
        while (next < spec->plane_count && spec->planes[next].dims < GEMM_DIMS)
            next++;
        if (next > p) {
            assign_narrow(q, p, next, latent, positions, per_sample, levels, indices, quantised);
            continue;
        }
        next = p + 1;
        for (size_t i = 0, run; i < samples; i = run) {
            int level = levels[i];
            float steps[VQZI_MAX_PLANE_DIMS];
            plane_steps(q, p, level, steps);
            run = i + 1; /* samples of one level in a row make one product */
            while (run < samples && levels[run] == level)
                run++;
            VQZ_TRY(assign_product(q, p, level, i * per_sample, run * per_sample, latent, steps,
                                   indices + (size_t)p * positions, quantised));
        }
    }
    return VQZ_OK;
}
