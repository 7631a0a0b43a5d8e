/*
 * corpus_crop.c - random crops of the training pictures.
 *
 * Shrinking is an exact area average.  With a window of W x W pixels shrunk to S x S, count lengths
 * in S-ths of a source pixel: an output pixel is W long and a source pixel S, so all overlaps are
 * integers, those of one output pixel sum to W, and nothing is rounded before the last division.
 */
#include "trainer/corpus_internal.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum {
    MAX_SHRINK = 16, /* a window is at most this many crops wide */
    /* Output pixels from which on several threads are used.  A batch below takes two milliseconds;
       on a machine with other work, waking and joining a team may take ten. */
    PARALLEL_PIXELS = 1 << 20,
    BLOCK_WIDTH = 1024 /* source columns averaged at a time: what the stack buffer holds */
};

/* A square of side pixels at (x, y) of a picture becomes a crop of size pixels. */
typedef struct window {
    const vqz_image *image;
    size_t x, y, side, size;
    bool flip;
} window;

/* The upper 64 of the 128 bits of a product; compilers for 32 bits have no wider type. */
static uint64_t high_product(uint64_t a, uint64_t b) {
    uint64_t a_low = (uint32_t)a, a_high = a >> 32, b_low = (uint32_t)b, b_high = b >> 32;
    uint64_t first = a_high * b_low + (a_low * b_low >> 32);
    uint64_t second = a_low * b_high + (uint32_t)first;
    return a_high * b_high + (first >> 32) + (second >> 32);
}

/* A picture with probability proportional to max(area, size * size). */
static const vqz_image *choose_picture(const corpus *c, random_state *random, size_t size) {
    uint64_t least = (uint64_t)size * size;
    size_t count = c->stats.pictures, small = 0, end = count;
    while (small < end) { /* number of pictures that count as one crop */
        size_t middle = small + (end - small) / 2;
        uint64_t area = c->area_before[middle + 1] - c->area_before[middle];
        if (area <= least)
            small = middle + 1;
        else
            end = middle;
    }
    uint64_t total = least * small + (c->area_before[count] - c->area_before[small]);
    uint64_t draw = high_product(random_next(random), total);
    if (draw < least * small)
        return &c->pictures[c->by_area[draw / least]];
    draw += c->area_before[small] - least * small;
    size_t first = small;
    end = count; /* the last picture whose area_before is not above draw */
    while (end - first > 1) {
        size_t middle = first + (end - first) / 2;
        if (c->area_before[middle] <= draw)
            first = middle;
        else
            end = middle;
    }
    return &c->pictures[c->by_area[first]];
}

static window choose_window(const corpus *c, random_state *random, const crop_options *o) {
    window w = {.size = (size_t)o->size};
    w.image = choose_picture(c, random, w.size);
    size_t shorter = VQZI_MIN(w.image->width, w.image->height);
    double least = o->min_scale > 0 ? VQZI_MIN((double)o->min_scale, 1.0) : 1.0;
    double scale = least + (1.0 - least) * (double)random_uniform(random);
    double wanted = VQZI_MIN(ceil((double)w.size / scale), (double)MAX_SHRINK * (double)w.size);
    w.side = VQZI_MAX(w.size, VQZI_MIN((size_t)wanted, shorter));
    if (w.image->width > w.side)
        w.x = random_below(random, (uint32_t)(w.image->width - w.side + 1));
    if (w.image->height > w.side)
        w.y = random_below(random, (uint32_t)(w.image->height - w.side + 1));
    w.flip = (random_next(random) >> 63 & 1) != 0 && o->flip;
    return w;
}

static void mirror_row(uint8_t *row, size_t size, size_t channels) {
    for (size_t left = 0, right = size - 1; left < right; left++, right--)
        for (size_t i = 0; i < channels; i++) {
            uint8_t kept = row[left * channels + i];
            row[left * channels + i] = row[right * channels + i];
            row[right * channels + i] = kept;
        }
}

/* side == size: pixels as they are, the last row and column repeated where the picture ends. */
static void copy_window(const window *w, uint8_t *dst) {
    size_t channels = w->image->channels, row_size = w->size * channels;
    size_t columns = VQZI_MIN(w->size, w->image->width - w->x);
    size_t rows = VQZI_MIN(w->size, w->image->height - w->y);
    for (size_t y = 0; y < w->size; y++) {
        uint8_t *row = dst + y * row_size;
        if (y >= rows) {
            memcpy(row, row - row_size, row_size);
            continue;
        }
        memcpy(row, w->image->pixels + (w->y + y) * w->image->stride + w->x * channels,
               columns * channels);
        if (w->flip)
            mirror_row(row, columns, channels);
        for (size_t x = columns; x < w->size; x++)
            memcpy(row + x * channels, row + (x - 1) * channels, channels);
    }
}

/* Source samples that an output sample covers: of the first and the last a part, of those between
   all, which is size.  As side > size, there are at least two. */
typedef struct span {
    size_t first, last;
    uint32_t first_weight, last_weight;
} span;

static span cover(size_t output, size_t side, size_t size) {
    size_t begin = output * side, end = begin + side;
    span s = {.first = begin / size, .last = (end - 1) / size};
    s.first_weight = (uint32_t)((s.first + 1) * size - begin);
    s.last_weight = (uint32_t)(end - s.last * size);
    return s;
}

static uint32_t weight(const span *s, size_t at, size_t size) {
    return at == s->first ? s->first_weight : at == s->last ? s->last_weight : (uint32_t)size;
}

/* sums[i] += weight * row[i]; written so that the product is seen to be 16 x 16 bits. */
static void add_row(uint32_t *restrict sums, const uint8_t *restrict row, size_t count,
                    uint16_t factor) {
    for (size_t i = 0; i < count; i++)
        sums[i] += (uint32_t)factor * (uint16_t)row[i];
}

/* The same with colours weighted by their alpha, so that what cannot be seen does not bleed. */
static void add_row_rgba(uint32_t *restrict sums, const uint8_t *restrict row, size_t count,
                         uint16_t factor) {
    for (size_t i = 0; i < count; i += 4) {
        uint32_t by_alpha = (uint32_t)factor * row[i + 3];
        for (size_t c = 0; c < 3; c++)
            sums[i + c] += by_alpha * row[i + c];
        sums[i + 3] += by_alpha;
    }
}

/* Output columns x to end of one row, from the sums of source columns that begin with that of x.
   Inlined for each number of channels. */
static inline void finish_columns(uint8_t *dst, const uint32_t *sums, size_t x, size_t end,
                                  const window *w, size_t channels) {
    const double scale = 1.0 / ((double)w->side * (double)w->side);
    const size_t whole = w->side / w->size, part = w->side % w->size;
    size_t offset = x * w->side % w->size; /* of the output column in its first source column */
    ptrdiff_t step = w->flip ? -(ptrdiff_t)channels : (ptrdiff_t)channels;
    dst += (w->flip ? w->size - 1 - x : x) * channels;
    for (; x < end; x++, dst += step) {
        uint64_t total[4] = {0};
        uint64_t first_weight = w->size - offset;
        for (size_t c = 0; c < channels; c++)
            total[c] = first_weight * sums[c];
        size_t next = whole;
        offset += part;
        if (offset >= w->size) {
            offset -= w->size;
            next++;
        }
        for (size_t i = 1; i < next; i++)
            for (size_t c = 0; c < channels; c++)
                total[c] += (uint64_t)w->size * sums[i * channels + c];
        sums += next * channels;
        if (offset > 0)
            for (size_t c = 0; c < channels; c++)
                total[c] += (uint64_t)offset * sums[c];
        if (channels < 4) {
            for (size_t c = 0; c < channels; c++)
                dst[c] = (uint8_t)(int)((double)(int64_t)total[c] * scale + 0.5);
            continue;
        }
        for (size_t c = 0; c < 3; c++)
            dst[c] = total[3] == 0 ? 128 : (uint8_t)((total[c] + total[3] / 2) / total[3]);
        dst[3] = (uint8_t)(int)((double)(int64_t)total[3] * scale + 0.5);
    }
}

/* side > size; the window lies inside the picture. */
static void shrink_window(const window *w, uint8_t *dst) {
    /* At most 255 * 255 * side a sum; side is below 65536, so 32 bits hold it. */
    uint32_t sums[BLOCK_WIDTH * 4];
    size_t channels = w->image->channels, stride = w->image->stride;
    /* Output columns whose source columns, two of them in part, fit the buffer. */
    size_t block = (size_t)(BLOCK_WIDTH - 2) * w->size / w->side;
    for (size_t y = 0; y < w->size; y++, dst += w->size * channels) {
        span rows = cover(y, w->side, w->size);
        for (size_t x = 0; x < w->size; x += block) {
            size_t end = VQZI_MIN(x + block, w->size);
            size_t base = x * w->side / w->size;
            size_t count = (cover(end - 1, w->side, w->size).last - base + 1) * channels;
            const uint8_t *src = w->image->pixels + w->y * stride + (w->x + base) * channels;
            memset(sums, 0, count * sizeof sums[0]);
            for (size_t row = rows.first; row <= rows.last; row++) {
                uint16_t factor = (uint16_t)weight(&rows, row, w->size);
                if (channels == 4)
                    add_row_rgba(sums, src + row * stride, count, factor);
                else
                    add_row(sums, src + row * stride, count, factor);
            }
            if (channels == 1)
                finish_columns(dst, sums, x, end, w, 1);
            else if (channels == 3)
                finish_columns(dst, sums, x, end, w, 3);
            else
                finish_columns(dst, sums, x, end, w, 4);
        }
    }
}

void corpus_crops_of(const corpus *c, uint64_t draw, int first, int step,
                     const crop_options *options, int count, int threads, uint8_t *pixels) {
    assert(options->size > 0 && options->size <= 65535 && count >= 0);
    size_t crop_pixels = (size_t)options->size * (size_t)options->size;
    size_t crop_bytes = crop_pixels * (size_t)c->stats.channels;
    int team = crop_pixels * (size_t)count < PARALLEL_PIXELS || threads < 1 ? 1 : threads;
#pragma omp parallel for schedule(dynamic, 1) num_threads(team)
    for (int i = 0; i < count; i++) {
        random_state own;
        random_seed(&own, draw + (uint64_t)(first + i * step) * 0xD1342543DE82EF95u);
        window w = choose_window(c, &own, options);
        if (w.side == w.size)
            copy_window(&w, pixels + (size_t)i * crop_bytes);
        else
            shrink_window(&w, pixels + (size_t)i * crop_bytes);
    }
}

/* One draw from the caller's generator a batch; crop i takes its own from (draw, i). */
void corpus_crops(const corpus *c, random_state *random, const crop_options *options, int count,
                  int threads, uint8_t *pixels) {
    corpus_crops_of(c, random_next(random), 0, 1, options, count, threads, pixels);
}
