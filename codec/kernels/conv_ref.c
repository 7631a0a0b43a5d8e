/*
 * conv_ref.c - the reference kernels: what every variant has to reproduce bit for bit.
 *
 * The arithmetic is that of format/model.h.  Partial sums of a convolution may leave int32 when the
 * weights of a channel nearly fill the range its proof allows; they are kept unsigned, where
 * wrapping is defined, and the proof brings the final value back into range.
 */
#include "codec/kernels/kernels.h"

/* Adds the taps of one position to the sums of the block of channels that starts at `first`. */
static void add_taps(const vqzi_conv *conv, uint32_t first, const int16_t *src, size_t src_pitch,
                     uint32_t *acc) {
    size_t run = (size_t)conv->kernel * conv->in_channels;
    const int16_t *weights = conv->weights + (size_t)first * conv->rows * conv->pairs * 2;
    for (uint32_t ky = 0; ky < conv->rows; ky++) {
        for (size_t i = 0; i < run; i++) {
            const int16_t *pair = weights + i / 2 * 2 * VQZI_CONV_BLOCK + i % 2;
            for (uint32_t o = 0; o < VQZI_CONV_BLOCK; o++)
                acc[o] += (uint32_t)(src[i] * pair[2 * o]);
        }
        weights += (size_t)conv->pairs * 2 * VQZI_CONV_BLOCK;
        src += src_pitch;
    }
}

static int16_t finish(const vqzi_conv *conv, int32_t t) {
    t = VQZI_MAX(t, t >> conv->slope);
    return (int16_t)VQZI_MIN(VQZI_MAX(t, conv->minimum), conv->maximum);
}

static VQZI_CONV_KERNEL(conv_ref) {
    const vqzi_conv *conv = job->conv;
    size_t step = (size_t)conv->stride * conv->in_channels;

    for (uint32_t first = 0; first < conv->out_channels; first += VQZI_CONV_BLOCK) {
        uint32_t count = VQZI_MIN(conv->out_channels - first, (uint32_t)VQZI_CONV_BLOCK);
        for (uint32_t x = 0; x < job->width; x++) {
            uint32_t acc[VQZI_CONV_BLOCK];
            for (uint32_t o = 0; o < VQZI_CONV_BLOCK; o++)
                acc[o] = (uint32_t)job->offsets[first + o];
            add_taps(conv, first, job->src + x * step, job->src_pitch, acc);
            for (uint32_t o = 0; o < count; o++) {
                size_t at = (size_t)x * conv->out_channels + first + o;
                int32_t t = (int32_t)acc[o] >> conv->shifts[first + o];
                job->dst[at] = finish(conv, job->add ? t + job->add[at] : t);
            }
        }
    }
}

static VQZI_SUMS_KERNEL(sums_ref) {
    const vqzi_conv *conv = job->conv;
    size_t step = (size_t)conv->stride * conv->in_channels;

    for (uint32_t x = 0; x < job->width; x++)
        for (uint32_t first = 0; first < conv->out_channels; first += VQZI_CONV_BLOCK) {
            uint32_t acc[VQZI_CONV_BLOCK];
            const int32_t *start = job->offsets ? job->offsets + first : sums;
            for (uint32_t o = 0; o < VQZI_CONV_BLOCK; o++)
                acc[o] = (uint32_t)start[o];
            add_taps(conv, first, job->src + x * step, job->src_pitch, acc);
            for (uint32_t o = 0; o < VQZI_CONV_BLOCK; o++)
                *sums++ = (int32_t)acc[o];
        }
}

static VQZI_MATVEC_KERNEL(matvec_ref) {
    for (uint32_t first = 0; first < conv->out_channels; first += VQZI_CONV_BLOCK) {
        uint32_t acc[VQZI_CONV_BLOCK];
        for (uint32_t o = 0; o < VQZI_CONV_BLOCK; o++)
            acc[o] = (uint32_t)start[first + o];
        add_taps(conv, first, src, 0, acc);
        for (uint32_t o = 0; o < VQZI_CONV_BLOCK; o++)
            dst[first + o] = finish(conv, (int32_t)acc[o] >> conv->shifts[first + o]);
    }
}

static VQZI_ACT_KERNEL(act_ref) {
    for (size_t i = 0; i < count; i++) {
        int t = VQZI_MAX(src[i], src[i] >> slope);
        dst[i] = (int16_t)VQZI_MAX(t, minimum);
    }
}

static VQZI_SEARCH_KERNEL(search_ref) {
    size_t dims = (size_t)codes->pairs * 2;
    for (size_t i = 0; i < count; i++) {
        const int16_t *residual = residuals + i * dims;
        int32_t best = INT32_MAX;
        uint16_t best_code = 0;
        for (uint32_t k = 0; k < codes->codes; k++) {
            const int16_t *packed =
                codes->packed + (size_t)(k / VQZI_SEARCH_BLOCK) * dims * VQZI_SEARCH_BLOCK +
                (size_t)(k % VQZI_SEARCH_BLOCK) * 2;
            uint32_t cost = (uint32_t)codes->base[k];
            for (size_t d = 0; d < dims; d++)
                cost += (uint32_t)(residual[d] * packed[d / 2 * 2 * VQZI_SEARCH_BLOCK + d % 2]);
            if ((int32_t)cost < best) {
                best = (int32_t)cost;
                best_code = (uint16_t)k;
            }
        }
        found[i] = best_code;
    }
}

void vqzi_kernels_init_ref(vqzi_kernels *kernels) {
    kernels->conv = conv_ref;
    kernels->sums = sums_ref;
    kernels->matvec = matvec_ref;
    kernels->act = act_ref;
    kernels->search = search_ref;
}
