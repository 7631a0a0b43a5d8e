/*
 * metrics.c - PSNR and MS-SSIM; see metrics.h.
 *
 * Z. Wang, E. P. Simoncelli, A. C. Bovik: Multi-scale structural similarity for image quality
 * assessment, Asilomar 2003.
 */
#include "cli/metrics.h"
#include <math.h>
#include <omp.h>
#include <stdlib.h>

enum { SCALES = 5, TAPS = 11 };
static const double scale_weights[SCALES] = { 0.0448, 0.2856, 0.3001, 0.2363, 0.1333 };

static uint32_t compared_channels(uint32_t channels) {
    return channels >= 3 ? 3 : 1;
}

/* Sample c of a pixel, on white where there is an alpha. */
static inline int seen(const uint8_t *pixel, uint32_t c, uint32_t channels) {
    if (channels % 2 == 1)
        return pixel[c];
    int alpha = pixel[channels - 1];
    return (pixel[c] * alpha + 255 * (255 - alpha) + 127) / 255;
}

uint64_t metrics_squares(const uint8_t *a, const uint8_t *b, size_t pixels, uint32_t channels) {
    uint32_t compared = compared_channels(channels);
    uint64_t sum = 0; /* at most 2^32 pixels * 3 * 255^2 < 2^51 */
    for (size_t x = 0; x < pixels; x++, a += channels, b += channels)
        for (uint32_t c = 0; c < compared; c++) {
            int difference = seen(a, c, channels) - seen(b, c, channels);
            sum += (uint64_t)(difference * difference);
        }
    return sum;
}

double metrics_psnr_of(uint64_t squares, const vqz_image *image) {
    if (squares == 0)
        return HUGE_VAL;
    double samples = (double)image->width * image->height * compared_channels(image->channels);
    return 10 * log10(255.0 * 255.0 * samples / (double)squares);
}

double metrics_psnr(const vqz_image *a, const vqz_image *b) {
    uint64_t sum = 0;
    for (uint32_t y = 0; y < a->height; y++)
        sum += metrics_squares(a->pixels + y * a->stride, b->pixels + y * b->stride, a->width,
                               a->channels);
    return metrics_psnr_of(sum, a);
}

/* One window direction: taps of a Gaussian that sum to one. */
typedef struct window {
    int taps;
    float weight[TAPS];
} window;

static window make_window(size_t side) {
    window w = { .taps = side < TAPS ? (int)side : TAPS };
    double sigma = 1.5 * w.taps / TAPS, weight[TAPS] = { 0 }, sum = 0;
    for (int i = 0; i < w.taps; i++) {
        double offset = i - (w.taps - 1) / 2.0;
        weight[i] = exp(-offset * offset / (2 * sigma * sigma));
        sum += weight[i];
    }
    for (int i = 0; i < w.taps; i++)
        w.weight[i] = (float)(weight[i] / sum);
    return w;
}

enum { MEAN_A, MEAN_B, SQUARE_A, SQUARE_B, PRODUCT, MOMENTS };

/* The moments of one row of windows, summed downwards: moments[k] has width entries. */
static void sum_columns(const float *a, const float *b, size_t width, const window *vertical,
                        float *moments) {
    float *mean_a = moments, *mean_b = mean_a + width, *square_a = mean_b + width,
          *square_b = square_a + width, *product = square_b + width;
    for (size_t i = 0; i < MOMENTS * width; i++)
        moments[i] = 0;
    for (int tap = 0; tap < vertical->taps; tap++) {
        float weight = vertical->weight[tap];
        const float *row_a = a + (size_t)tap * width, *row_b = b + (size_t)tap * width;
        for (size_t x = 0; x < width; x++) {
            float wa = weight * row_a[x], wb = weight * row_b[x];
            mean_a[x] += wa;
            mean_b[x] += wb;
            square_a[x] += wa * row_a[x];
            square_b[x] += wb * row_b[x];
            product[x] += wa * row_b[x];
        }
    }
}

/* Sums of the contrast-structure term, and of its product with the luminance term, over a row. */
static void row_similarity(const float *moments, size_t width, const window *horizontal,
                           double *structure, double *similarity) {
    const double c1 = 0.01 * 255 * 0.01 * 255, c2 = 0.03 * 255 * 0.03 * 255;
    double sum_structure = 0, sum_similarity = 0;
    for (size_t x = 0; x + (size_t)horizontal->taps <= width; x++) {
        double m[MOMENTS];
        for (int k = 0; k < MOMENTS; k++) {
            const float *at = moments + (size_t)k * width + x;
            float sum = 0;
            for (int tap = 0; tap < horizontal->taps; tap++)
                sum += horizontal->weight[tap] * at[tap];
            m[k] = sum;
        }
        double variance_a = m[SQUARE_A] - m[MEAN_A] * m[MEAN_A];
        double variance_b = m[SQUARE_B] - m[MEAN_B] * m[MEAN_B];
        double covariance = m[PRODUCT] - m[MEAN_A] * m[MEAN_B];
        double cs = (2 * covariance + c2) / (variance_a + variance_b + c2);
        double luminance = (2 * m[MEAN_A] * m[MEAN_B] + c1) /
                           (m[MEAN_A] * m[MEAN_A] + m[MEAN_B] * m[MEAN_B] + c1);
        sum_structure += cs;
        sum_similarity += luminance * cs;
    }
    *structure = sum_structure;
    *similarity = sum_similarity;
}

/* Means over one scale of one channel.  sums has two doubles a row, moments MOMENTS * width floats
   a thread: rows are added up in order, so that the threads do not show in the result. */
static void scale_similarity(const float *a, const float *b, size_t width, size_t height,
                             int threads, float *moments, double *sums, double *structure,
                             double *similarity) {
    window horizontal = make_window(width), vertical = make_window(height);
    size_t rows = height - (size_t)vertical.taps + 1;
    size_t columns = width - (size_t)horizontal.taps + 1;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t y = 0; y < rows; y++) {
        float *own = moments + (size_t)omp_get_thread_num() * MOMENTS * width;
        sum_columns(a + y * width, b + y * width, width, &vertical, own);
        row_similarity(own, width, &horizontal, &sums[2 * y], &sums[2 * y + 1]);
    }
    *structure = *similarity = 0;
    for (size_t y = 0; y < rows; y++) {
        *structure += sums[2 * y];
        *similarity += sums[2 * y + 1];
    }
    *structure /= (double)rows * (double)columns;
    *similarity /= (double)rows * (double)columns;
}

/* Halves a plane in place by 2x2 averages; an odd last row or column is left out. */
static void halve(float *plane, size_t width, size_t height) {
    size_t half_width = width / 2, half_height = height / 2;
    for (size_t y = 0; y < half_height; y++) {
        const float *top = plane + 2 * y * width, *bottom = top + width;
        float *dst = plane + y * half_width; /* never ahead of what is read */
        for (size_t x = 0; x < half_width; x++)
            dst[x] = 0.25f * (top[2 * x] + top[2 * x + 1] + bottom[2 * x] + bottom[2 * x + 1]);
    }
}

static void load_channel(const vqz_image *image, uint32_t channel, float *plane) {
    for (uint32_t y = 0; y < image->height; y++) {
        const uint8_t *row = image->pixels + y * image->stride;
        for (uint32_t x = 0; x < image->width; x++)
            *plane++ = (float)seen(row + (size_t)x * image->channels, channel, image->channels);
    }
}

vqz_status metrics_ms_ssim(const vqz_image *a, const vqz_image *b, int threads,
                           double *similarity) {
    if (threads <= 0)
        threads = omp_get_num_procs();
    size_t width = a->width, height = a->height, plane_bytes, moment_bytes;
    if (!vqzi_mul(width * height, sizeof(float), &plane_bytes) ||
        !vqzi_mul(width * MOMENTS * sizeof(float), (size_t)threads, &moment_bytes))
        return VQZ_ERROR_LIMIT;
    float *plane_a = malloc(plane_bytes), *plane_b = malloc(plane_bytes);
    float *moments = malloc(moment_bytes);
    double *sums = malloc(height * 2 * sizeof *sums);
    vqz_status status = VQZ_ERROR_MEMORY;
    if (plane_a == NULL || plane_b == NULL || moments == NULL || sums == NULL)
        goto done;

    int scales = 1;
    size_t side = VQZI_MIN(width, height);
    while (scales < SCALES && (side >> scales) >= TAPS)
        scales++;
    double weight_sum = 0, total = 0;
    for (int i = 0; i < scales; i++)
        weight_sum += scale_weights[i];
    uint32_t channels = compared_channels(a->channels);
    for (uint32_t c = 0; c < channels; c++) {
        load_channel(a, c, plane_a);
        load_channel(b, c, plane_b);
        double product = 1;
        for (int i = 0; i < scales; i++) {
            size_t w = width >> i, h = height >> i;
            double structure, full;
            scale_similarity(plane_a, plane_b, w, h, threads, moments, sums, &structure, &full);
            double value = i == scales - 1 ? full : structure;
            /* an anticorrelated scale has no real power: it counts as no similarity */
            product *= pow(value > 0 ? value : 0, scale_weights[i] / weight_sum);
            halve(plane_a, w, h);
            halve(plane_b, w, h);
        }
        total += product;
    }
    *similarity = total / channels;
    status = VQZ_OK;
done:
    free(plane_a);
    free(plane_b);
    free(moments);
    free(sums);
    return status;
}
