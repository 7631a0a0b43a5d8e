/* pca.c - see pca.h. */
#include "trainer/pca.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void pca_eigen(double *a, int n, double *values, double *vectors) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            vectors[i * n + j] = i == j;
    for (int sweep = 0; sweep < 60; sweep++) {
        double off = 0, diagonal = 0;
        for (int i = 0; i < n; i++) {
            diagonal += a[i * n + i] * a[i * n + i];
            for (int j = 0; j < i; j++)
                off += a[i * n + j] * a[i * n + j];
        }
        if (off <= 1e-22 * diagonal)
            break;
        for (int p = 0; p < n; p++)
            for (int q = p + 1; q < n; q++) {
                double apq = a[p * n + q];
                if (apq == 0)
                    continue;
                double theta = (a[q * n + q] - a[p * n + p]) / (2 * apq);
                double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1));
                double c = 1 / sqrt(t * t + 1), s = t * c;
                for (int k = 0; k < n; k++) { /* rows p and q; the matrix is kept symmetric below */
                    double x = a[p * n + k], y = a[q * n + k];
                    a[p * n + k] = c * x - s * y;
                    a[q * n + k] = s * x + c * y;
                }
                for (int k = 0; k < n; k++) {
                    double x = a[k * n + p], y = a[k * n + q];
                    a[k * n + p] = c * x - s * y;
                    a[k * n + q] = s * x + c * y;
                }
                for (int k = 0; k < n; k++) {
                    double x = vectors[p * n + k], y = vectors[q * n + k];
                    vectors[p * n + k] = c * x - s * y;
                    vectors[q * n + k] = s * x + c * y;
                }
            }
    }
    for (int i = 0; i < n; i++)
        values[i] = a[i * n + i];
    /* Selection sort by falling value, rows along. */
    for (int i = 0; i < n; i++) {
        int best = i;
        for (int j = i + 1; j < n; j++)
            if (values[j] > values[best])
                best = j;
        if (best == i)
            continue;
        double v = values[i];
        values[i] = values[best];
        values[best] = v;
        for (int k = 0; k < n; k++) {
            double x = vectors[i * n + k];
            vectors[i * n + k] = vectors[best * n + k];
            vectors[best * n + k] = x;
        }
    }
}

/* Makes the rows of q (count, n) orthonormal, one after the other. */
static void orthonormalise(double *q, int count, int n) {
    for (int i = 0; i < count; i++) {
        for (int pass = 0; pass < 2; pass++) /* twice is enough (Kahan and Parlett) */
            for (int j = 0; j < i; j++) {
                double dot = 0;
                for (int k = 0; k < n; k++)
                    dot += q[i * n + k] * q[j * n + k];
                for (int k = 0; k < n; k++)
                    q[i * n + k] -= dot * q[j * n + k];
            }
        double norm = 0;
        for (int k = 0; k < n; k++)
            norm += q[i * n + k] * q[i * n + k];
        norm = norm > 0 ? 1 / sqrt(norm) : 0;
        for (int k = 0; k < n; k++)
            q[i * n + k] *= norm;
    }
}

/* The first `count` eigenvectors of a (n, n) into rows of q, by subspace iteration with a Rayleigh-Ritz
   step at the end (Golub and Van Loan, 8.2): for matrices that Jacobi is too slow for.  work: (count, n). */
static void leading_eigen(const double *a, int n, int count, random_state *random, double *q,
                          double *work, double *small, double *values) {
    enum { ITERATIONS = 40 };
    for (int i = 0; i < count * n; i++)
        q[i] = random_normal(random);
    orthonormalise(q, count, n);
    for (int i = 0; i <= ITERATIONS; i++) {
#pragma omp parallel for schedule(static)
        for (int row = 0; row < count; row++)
            for (int k = 0; k < n; k++) {
                double sum = 0;
                for (int j = 0; j < n; j++)
                    sum += a[k * n + j] * q[row * n + j];
                work[row * n + k] = sum;
            }
        if (i == ITERATIONS)
            break;
        memcpy(q, work, (size_t)count * (size_t)n * sizeof *q);
        orthonormalise(q, count, n);
    }
    for (int i = 0; i < count; i++)
        for (int j = 0; j < count; j++) {
            small[i * count + j] = 0;
            for (int k = 0; k < n; k++)
                small[i * count + j] += q[i * n + k] * work[j * n + k];
        }
    double *rotation = small + count * count;
    pca_eigen(small, count, values, rotation);
    memcpy(work, q, (size_t)count * (size_t)n * sizeof *q);
    for (int i = 0; i < count; i++)
        for (int k = 0; k < n; k++) {
            double sum = 0;
            for (int j = 0; j < count; j++)
                sum += rotation[i * count + j] * work[j * n + k];
            q[i * n + k] = sum;
        }
}

enum { CROPS = 256, JACOBI_SIZE = 192 };

/* Mean and covariance of all aligned blocks of the crops; block order is that of S2D. */
static void block_statistics(const uint8_t *pixels, int size, int channels, int stride,
                             double *block, double *mean, double *covariance) {
    int n = stride * stride * channels, per_side = size / stride;
    size_t blocks = (size_t)CROPS * per_side * per_side;
    for (size_t b = 0; b < blocks; b++) {
        size_t crop = b / (per_side * per_side), y = b / per_side % per_side, x = b % per_side;
        const uint8_t *src = pixels + crop * size * size * channels;
        for (int dy = 0; dy < stride; dy++)
            for (int dx = 0; dx < stride * channels; dx++)
                block[dy * stride * channels + dx] =
                    (src[((y * stride + dy) * size + x * stride) * channels + dx] - 128) / 128.0;
        for (int i = 0; i < n; i++) {
            mean[i] += block[i];
            for (int j = 0; j <= i; j++)
                covariance[i * n + j] += block[i] * block[j];
        }
    }
    for (int i = 0; i < n; i++)
        mean[i] /= (double)blocks;
    for (int i = 0; i < n; i++)
        for (int j = 0; j <= i; j++) {
            double v = covariance[i * n + j] / (double)blocks - mean[i] * mean[j];
            covariance[i * n + j] = covariance[j * n + i] = v;
        }
}

/* Channel of pixel (dy, dx) of a block after S2D by fold, then by what is left. */
static size_t folded(int dy, int dx, int channel, int fold, int channels) {
    int outer = dy / fold * 2 + dx / fold, inner = dy % fold * fold + dx % fold;
    return (size_t)((outer * fold * fold + inner) * channels + channel);
}

vqz_status pca_initialise(const model_spec *spec, const corpus *c, const crop_options *crops,
                          random_state *random, int threads, float *analysis, float *synthesis) {
    int stride = spec->stride, channels = spec->channels, n = stride * stride * channels;
    size_t pixel_count = (size_t)CROPS * crops->size * crops->size * channels;
    uint8_t *pixels = malloc(pixel_count);
    /* covariance, basis, three vectors; for the large ones a copy of the basis and two small matrices */
    double *work = calloc((size_t)n * n * (n <= JACOBI_SIZE ? 2 : 5) + 3 * (size_t)n, sizeof *work);
    vqz_status status = VQZ_ERROR_MEMORY;
    if (!pixels || !work)
        goto done;
    double *covariance = work, *basis = work + (size_t)n * n, *mean = basis + (size_t)n * n,
           *values = mean + n, *block = values + n, *ritz = block + n;
    corpus_crops(c, random, crops, CROPS, threads, pixels);
    block_statistics(pixels, crops->size, channels, stride, block, mean, covariance);
    if (n <= JACOBI_SIZE)
        pca_eigen(covariance, n, values, basis);
    else
        leading_eigen(covariance, n, spec->latent_channels, random, basis, ritz,
                      ritz + (size_t)n * n, values);
    status = VQZ_OK;

    const layer *to = &spec->analysis.layers[spec->analysis_linear];
    const layer *from = &spec->synthesis.layers[spec->synthesis_linear];
    int fold = VQZI_MIN(stride, 8); /* the analysis folds by 8 at most, then the rest */
    int half = stride / 2; /* the synthesis path unfolds by 2 first, then by stride / 2 */
    for (int d = 0; d < spec->latent_channels; d++) {
        double offset = 0;
        for (int i = 0; i < n; i++) {
            offset += basis[d * n + i] * mean[i];
            int dy = i / (stride * channels), dx = i / channels % stride, ch = i % channels;
            analysis[to->weights + (size_t)d * n + folded(dy, dx, ch, fold, channels)] =
                (float)basis[d * n + i];
            int row = ((dy / half * 2 + dx / half) * half * half + dy % half * half + dx % half) *
                          channels + ch;
            synthesis[from->weights + (size_t)row * spec->latent_channels + d] =
                (float)basis[d * n + i];
            synthesis[from->biases + row] = (float)mean[i];
        }
        analysis[to->biases + d] = (float)-offset;
    }
done:
    free(pixels);
    free(work);
    return status;
}
