/* similarity.c - see similarity.h. */
#include "trainer/similarity.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SCALES = 5, TAPS = 11 };
static const double WEIGHTS[SCALES] = {0.0448, 0.2856, 0.3001, 0.2363, 0.1333};
static const float RANGE = 255.0f / 128; /* of values that stand for 8 bits */
/* A mean of no similarity at all: its logarithm would end the training. */
static const double LEAST_MEAN = 1e-3;

enum { MEAN_X, MEAN_Y, SQUARE_X, SQUARE_Y, PRODUCT, MOMENTS };

struct similarity {
    int side, channels, scales;
    float window[TAPS];
    double weights[SCALES]; /* of the scales in use; their sum is 1 */
    size_t thread_size;     /* floats of a thread's memory */
    float *memory;
};

/* Parts of a thread's memory. */
typedef struct work {
    float *x[SCALES], *y[SCALES]; /* the channel at each scale */
    float *gradient[SCALES];      /* of the scale's mean over x */
    float *moments[MOMENTS];      /* of the windows */
    float *product, *rows;        /* scratch: (side, side) each */
} work;

static int side_at(const similarity *s, int scale) {
    return s->side >> scale;
}

static work divide_memory(const similarity *s, int thread) {
    work w;
    float *next = s->memory + (size_t)thread * s->thread_size;
    size_t area = (size_t)s->side * (size_t)s->side;
    for (int i = 0; i < s->scales; i++) {
        size_t size = (size_t)side_at(s, i) * (size_t)side_at(s, i);
        w.x[i] = next;
        w.y[i] = w.x[i] + size;
        w.gradient[i] = w.y[i] + size;
        next = w.gradient[i] + size;
    }
    for (int i = 0; i < MOMENTS; i++, next += area)
        w.moments[i] = next;
    w.product = next;
    w.rows = next + area;
    return w;
}

vqz_status similarity_create(similarity **out, int side, int channels, int threads) {
    similarity *s = calloc(1, sizeof *s);
    if (!s)
        return VQZ_ERROR_MEMORY;
    s->side = side;
    s->channels = channels;
    s->scales = 1;
    while (s->scales < SCALES && side >> s->scales >= TAPS)
        s->scales++;
    double total = 0, sum = 0;
    for (int i = 0; i < s->scales; i++)
        total += WEIGHTS[i];
    for (int i = 0; i < s->scales; i++)
        s->weights[i] = WEIGHTS[i] / total;
    for (int i = 0; i < TAPS; i++)
        sum += exp(-(i - 5) * (i - 5) / (2 * 1.5 * 1.5));
    for (int i = 0; i < TAPS; i++)
        s->window[i] = (float)(exp(-(i - 5) * (i - 5) / (2 * 1.5 * 1.5)) / sum);
    for (int i = 0; i < s->scales; i++)
        s->thread_size += 3 * (size_t)side_at(s, i) * (size_t)side_at(s, i);
    s->thread_size += (MOMENTS + 2) * (size_t)side * (size_t)side;
    s->memory = malloc((size_t)threads * s->thread_size * sizeof *s->memory);
    if (!s->memory) {
        free(s);
        return VQZ_ERROR_MEMORY;
    }
    *out = s;
    return VQZ_OK;
}

void similarity_free(similarity *s) {
    if (s)
        free(s->memory);
    free(s);
}

/* dst (n, n) = src (side, side) through the window; n = side - TAPS + 1.  rows: scratch. */
static void blur(const similarity *s, const float *src, int side, float *rows, float *dst) {
    int n = side - TAPS + 1;
    memset(rows, 0, (size_t)side * (size_t)n * sizeof *rows);
    for (int y = 0; y < side; y++)
        for (int tap = 0; tap < TAPS; tap++)
            for (int x = 0; x < n; x++)
                rows[y * n + x] += s->window[tap] * src[y * side + x + tap];
    memset(dst, 0, (size_t)n * (size_t)n * sizeof *dst);
    for (int y = 0; y < n; y++)
        for (int tap = 0; tap < TAPS; tap++)
            for (int x = 0; x < n; x++)
                dst[y * n + x] += s->window[tap] * rows[(y + tap) * n + x];
}

/* Its transpose: dst (side, side) from src (n, n). */
static void blur_back(const similarity *s, const float *src, int side, float *rows, float *dst) {
    int n = side - TAPS + 1;
    memset(rows, 0, (size_t)side * (size_t)n * sizeof *rows);
    for (int y = 0; y < n; y++)
        for (int tap = 0; tap < TAPS; tap++)
            for (int x = 0; x < n; x++)
                rows[(y + tap) * n + x] += s->window[tap] * src[y * n + x];
    memset(dst, 0, (size_t)side * (size_t)side * sizeof *dst);
    for (int y = 0; y < side; y++)
        for (int tap = 0; tap < TAPS; tap++)
            for (int x = 0; x < n; x++)
                dst[y * side + x + tap] += s->window[tap] * rows[y * n + x];
}

static void blur_product(const similarity *s, const float *a, const float *b, int side, work *w,
                         float *dst) {
    for (int i = 0; i < side * side; i++)
        w->product[i] = a[i] * b[i];
    blur(s, w->product, side, w->rows, dst);
}

/* Mean similarity over the windows of a scale, with the luminance term at the last one, and its gradient. */
static double scale_mean(const similarity *s, int scale, work *w) {
    int side = side_at(s, scale), n = side - TAPS + 1;
    const float *x = w->x[scale], *y = w->y[scale];
    const float c1 = 0.01f * RANGE * 0.01f * RANGE, c2 = 0.03f * RANGE * 0.03f * RANGE;
    bool luminance = scale == s->scales - 1;
    blur(s, x, side, w->rows, w->moments[MEAN_X]);
    blur(s, y, side, w->rows, w->moments[MEAN_Y]);
    blur_product(s, x, x, side, w, w->moments[SQUARE_X]);
    blur_product(s, y, y, side, w, w->moments[SQUARE_Y]);
    blur_product(s, x, y, side, w, w->moments[PRODUCT]);
    double sum = 0;
    float part = 1.0f / (float)(n * n);
    for (int i = 0; i < n * n; i++) {
        float mx = w->moments[MEAN_X][i], my = w->moments[MEAN_Y][i];
        float variances = w->moments[SQUARE_X][i] - mx * mx + w->moments[SQUARE_Y][i] - my * my;
        float below = variances + c2;
        float structure = (2 * (w->moments[PRODUCT][i] - mx * my) + c2) / below;
        float light = 1, light_by_mean = 0;
        if (luminance) { /* to which black is 0 */
            float lx = mx + 1, ly = my + 1, squares = lx * lx + ly * ly + c1;
            light = (2 * lx * ly + c1) / squares;
            light_by_mean = 2 * (ly - light * lx) / squares;
        }
        sum += light * structure;
        /* over E[x^2], E[xy], E[x], which replace the moments */
        float by_variance = -light * structure / below * part, by_product = 2 * light / below * part;
        w->moments[SQUARE_X][i] = by_variance;
        w->moments[PRODUCT][i] = by_product;
        w->moments[MEAN_X][i] =
            structure * light_by_mean * part - 2 * mx * by_variance - my * by_product;
    }
    float *gradient = w->gradient[scale];
    blur_back(s, w->moments[MEAN_X], side, w->rows, gradient);
    blur_back(s, w->moments[SQUARE_X], side, w->rows, w->product);
    for (int i = 0; i < side * side; i++)
        gradient[i] += 2 * x[i] * w->product[i];
    blur_back(s, w->moments[PRODUCT], side, w->rows, w->product);
    for (int i = 0; i < side * side; i++)
        gradient[i] += y[i] * w->product[i];
    return sum * part;
}

/* Averages of 2 x 2; an odd last row and column is left out. */
static void halve(const float *src, int side, float *dst) {
    int half = side / 2;
    for (int y = 0; y < half; y++)
        for (int x = 0; x < half; x++) {
            const float *at = src + 2 * y * side + 2 * x;
            dst[y * half + x] = 0.25f * (at[0] + at[1] + at[side] + at[side + 1]);
        }
}

double similarity_loss(const similarity *s, int thread, const float *output, const float *input,
                       float scale, float *gradient) {
    work w = divide_memory(s, thread);
    int side = s->side, channels = s->channels;
    double loss = 0;
    for (int c = 0; c < channels; c++) {
        for (int i = 0; i < side * side; i++) {
            w.x[0][i] = output[i * channels + c];
            w.y[0][i] = input[i * channels + c];
        }
        double value = 1, means[SCALES];
        for (int i = 0; i < s->scales; i++) {
            if (i > 0) {
                halve(w.x[i - 1], side_at(s, i - 1), w.x[i]);
                halve(w.y[i - 1], side_at(s, i - 1), w.y[i]);
            }
            means[i] = fmax(scale_mean(s, i, &w), LEAST_MEAN);
            value *= pow(means[i], s->weights[i]);
        }
        loss += (1 - value) / channels;
        /* from the coarsest scale to the finest; gradient[i] becomes that of the whole */
        for (int i = s->scales - 1; i >= 0; i--) {
            int n = side_at(s, i), half = n / 2;
            float own = (float)(value * s->weights[i] / means[i]);
            for (int at = 0; at < n * n; at++)
                w.gradient[i][at] *= own;
            for (int y = 0; i + 1 < s->scales && y < 2 * half; y++)
                for (int x = 0; x < 2 * half; x++)
                    w.gradient[i][y * n + x] += 0.25f * w.gradient[i + 1][y / 2 * half + x / 2];
        }
        for (int i = 0; i < side * side; i++)
            gradient[i * channels + c] -= scale / (float)channels * w.gradient[0][i];
    }
    return loss;
}
