/* measure.c - float figures on held-out pictures: PSNR, rate under the prior, usage, perplexity. */
#include "trainer/trainer.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void pixels_to_input(const uint8_t *pixels, size_t count, float *input) {
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < count; i++)
        input[i] = ((int)pixels[i] - 128) * (1.0f / 128);
}

int level_quality(const model_spec *spec, int level) {
    return spec->levels == 1 ? 50 : 1 + (99 * level + (spec->levels - 1) / 2) / (spec->levels - 1);
}

void measure_crop(const trainer *t, int index, uint8_t *pixels) {
    size_t held = t->corpus_stats.holdout_pictures;
    const vqz_image *image =
        held ? corpus_holdout(t->corpus, (size_t)index % held)
             : corpus_picture(t->corpus, (size_t)index % t->corpus_stats.pictures);
    /* Several crops of one picture lie apart: positions come from a generator of their own. */
    random_state random;
    random_seed(&random, 0x6d656173756c65u + (uint64_t)index);
    uint32_t side = (uint32_t)t->crop;
    uint32_t x0 = image->width > side ? random_below(&random, image->width - side + 1) : 0;
    uint32_t y0 = image->height > side ? random_below(&random, image->height - side + 1) : 0;
    size_t channels = image->channels;
    for (uint32_t y = 0; y < side; y++)
        for (uint32_t x = 0; x < side; x++)
            memcpy(pixels + ((size_t)y * side + x) * channels,
                   image->pixels + VQZI_MIN(y0 + y, image->height - 1) * image->stride +
                       VQZI_MIN(x0 + x, image->width - 1) * channels,
                   channels);
}

vqz_status run_hard(trainer *t) {
    pixels_to_input(t->pixels, t->values, t->input);
    VQZ_TRY(network_forward(t->analysis, t->parameters, t->input, t->levels, t->latent));
    VQZ_TRY(quantiser_assign(t->quantiser, t->latent, t->positions, t->per_sample, t->levels,
                             t->settings.lambdas, t->indices, t->quantised));
    VQZ_TRY(prior_assign(t->prior, t->latent, t->levels, t->settings.lambdas, t->indices,
                         t->quantised, t->bits));
    return network_forward(t->synthesis, t->parameters + t->synthesis_offset, t->quantised,
                           t->levels, t->output);
}

double squared_error(const uint8_t *original, const uint8_t *decoded, size_t count, int channels) {
    double total = 0;
    for (size_t i = 0; i < count; i++) {
        if (channels == 4 && i % 4 < 3 && original[i / 4 * 4 + 3] == 0)
            continue;
        double difference = (double)original[i] - decoded[i];
        total += difference * difference;
    }
    return total;
}

double psnr_of(double error, double samples) {
    return 10 * log10(255.0 * 255.0 * samples / fmax(error, 1e-9));
}

/* The first `count` samples of the float networks' output as 8-bit samples. */
static void output_to_pixels(const trainer *t, size_t count, uint8_t *pixels) {
    for (size_t i = 0; i < count; i++)
        pixels[i] = (uint8_t)fminf(255, fmaxf(0, roundf(t->output[i] * 128 + 128)));
}

/* Share of codes in use and 2^entropy, from counts. */
static void usage_of(const uint64_t *counts, int codes, double *usage, double *perplexity) {
    double total = 0, entropy = 0;
    int used = 0;
    for (int k = 0; k < codes; k++) {
        total += (double)counts[k];
        used += counts[k] > 0;
    }
    for (int k = 0; k < codes && total > 0; k++)
        if (counts[k]) {
            double p = (double)counts[k] / total;
            entropy -= p * log2(p);
        }
    *usage = (double)used / codes;
    *perplexity = exp2(entropy);
}

void measure_usage(const model_spec *spec, const uint64_t *counts, int level, double *usage,
                   double *perplexity) {
    *usage = *perplexity = 0;
    for (int p = 0; p < spec->plane_count; p++) {
        int codes = spec->planes[p].codes;
        double u, v;
        usage_of(counts + (size_t)level * (size_t)codes, codes, &u, &v);
        counts += (size_t)spec->levels * (size_t)codes;
        *usage += u;
        *perplexity += v;
    }
    *usage /= spec->plane_count;
    *perplexity /= spec->plane_count;
}

void count_codes(const trainer *t, size_t positions, uint64_t *counts) {
    for (int p = 0; p < t->spec.plane_count; p++) {
        size_t codes = (size_t)t->spec.planes[p].codes;
        for (size_t n = 0; n < positions; n++)
            counts[(size_t)t->levels[n / t->per_sample] * codes +
                   t->indices[(size_t)p * t->positions + n]]++;
        counts += (size_t)t->spec.levels * codes;
    }
}

vqz_status measure_holdout(trainer *t, level_measure *measures) {
    uint64_t *counts = malloc(t->epoch_count_size * sizeof *counts);
    uint8_t *decoded = malloc(t->values);
    vqz_status status = counts && decoded ? VQZ_OK : VQZ_ERROR_MEMORY;
    size_t crop_bytes = t->values / (size_t)t->batch;
    for (int level = 0; level < t->spec.levels && status == VQZ_OK; level++) {
        double error = 0, bits = 0;
        memset(counts, 0, t->epoch_count_size * sizeof *counts);
        for (int i = 0; i < t->batch; i++)
            t->levels[i] = level;
        for (int first = 0; first < MEASURE_CROPS && status == VQZ_OK; first += t->batch) {
            int samples = VQZI_MIN(t->batch, MEASURE_CROPS - first);
            for (int i = 0; i < samples; i++)
                measure_crop(t, first + i, t->pixels + (size_t)i * crop_bytes);
            status = run_hard(t);
            output_to_pixels(t, (size_t)samples * crop_bytes, decoded);
            error += squared_error(t->pixels, decoded, (size_t)samples * crop_bytes,
                                   t->spec.channels);
            count_codes(t, (size_t)samples * t->per_sample, counts);
            for (int i = 0; i < samples; i++)
                bits += t->bits[i];
        }
        double pixels = (double)MEASURE_CROPS * t->crop * t->crop;
        measures[level].psnr = psnr_of(error, pixels * t->spec.channels);
        measures[level].bpp = bits / pixels;
        measure_usage(&t->spec, counts, level, &measures[level].usage,
                      &measures[level].perplexity);
    }
    free(counts);
    free(decoded);
    return status;
}
