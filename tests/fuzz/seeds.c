/*
 * seeds.c - writes the seeds of all fuzz targets into tests/fuzz/corpus (`make fuzz-seeds`). Inputs
 * that bugs were found with are there beside them, under other names, and stay.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/support/picture_maker.h"

#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void save(const char *target, const char *name, const void *data, size_t size) {
    char path[256];
    snprintf(path, sizeof path, "tests/fuzz/corpus/%s/good-%s", target, name);
    FILE *file = fopen(path, "wb");
    bool saved = file != NULL && fwrite(data, 1, size, file) == size;
    if (file == NULL || fclose(file) != 0 || !saved) {
        fprintf(stderr, "%s: cannot be written\n", path);
        exit(1);
    }
}

/* ---- decode ---- */

typedef struct file_recipe {
    uint32_t model, width, height, channels;
    int entropy, progressive;
    bool metadata;
} file_recipe;

static void save_file(const file_recipe *r) {
    static const char exif[] = "II*\0\x08\0\0\0\0\0", icc[] = "no profile, but as good as one here";
    char name[64];
    void *file;
    size_t size;
    test_random random = {r->model};
    vqz_context *context = fuzz_context(1 << 16, false);
    vqz_image image = fuzz_image(r->width, r->height, r->channels);
    for (size_t i = 0; i < image.stride * r->height; i++)
        image.pixels[i] =
            (uint8_t)(i / 7 + i / image.stride * 3 + (size_t)test_random_range(&random, 0, 8));
    vqz_encode_options options;
    vqz_encode_options_init(&options);
    options.entropy = r->entropy;
    options.progressive = r->progressive;
    options.exif = r->metadata ? exif : NULL;
    options.exif_size = r->metadata ? sizeof exif : 0;
    options.icc = r->metadata ? icc : NULL;
    options.icc_size = r->metadata ? sizeof icc : 0;
    FUZZ_REQUIRE(vqz_encode(context, fuzz_model(r->model), &image, &options, &file, &size, NULL) ==
                 VQZ_OK);
    snprintf(name, sizeof name, "m%u-%ux%ux%u-e%d%s.vqz", r->model, r->width, r->height,
             r->channels, r->entropy, r->progressive ? "p" : "");
    save("decode", name, file, size);
    vqz_free(file);
    free(image.pixels);
    vqz_context_free(context);
}

static void save_files(void) {
    static const file_recipe recipes[] = {
        {0, 33, 20, 3, VQZ_ENTROPY_AUTO, 0, true},   {0, 1, 1, 1, VQZ_ENTROPY_AUTO, 0, false},
        {0, 60, 50, 4, VQZ_ENTROPY_AUTO, 0, false},  {0, 1030, 9, 3, VQZ_ENTROPY_AUTO, 0, false},
        {1, 40, 30, 3, VQZ_ENTROPY_RANS, 0, true},   {1, 40, 30, 3, VQZ_ENTROPY_ZSTD, 0, false},
        {1, 40, 30, 4, VQZ_ENTROPY_RANS, 1, false},  {1, 800, 10, 3, VQZ_ENTROPY_RANS, 1, false},
        {1, 10, 1100, 1, VQZ_ENTROPY_RANS, 0, true}, {1, 400, 17, 2, VQZ_ENTROPY_ZSTD, 1, false},
        {2, 21, 17, 1, VQZ_ENTROPY_AUTO, 0, false},  {2, 16, 9, 2, VQZ_ENTROPY_AUTO, 0, true},
        {3, 70, 40, 4, VQZ_ENTROPY_RANS, 0, false},  {3, 70, 40, 3, VQZ_ENTROPY_RANS, 1, false},
        {3, 33, 20, 2, VQZ_ENTROPY_ZSTD, 1, false},  {4, 50, 20, 3, VQZ_ENTROPY_AUTO, 0, false},
        {4, 9, 64, 2, VQZ_ENTROPY_AUTO, 0, false},
    };
    for (size_t i = 0; i < sizeof recipes / sizeof recipes[0]; i++)
        save_file(&recipes[i]);
}

/* ---- model ---- */

static void save_models(void) {
    for (uint32_t i = 0; i < 2 * FUZZ_MODELS; i++) {
        random_model_options options;
        vqzi_model model;
        char name[32];
        void *data;
        size_t size;
        fuzz_model_options(&options, i % FUZZ_MODELS);
        options.seed += i;
        options.hidden = 2 + i / FUZZ_MODELS;
        options.max_codes = VQZI_MIN(options.max_codes, i < FUZZ_MODELS ? 24u : 260u);
        options.latent_channels = VQZI_MIN(options.latent_channels, 4u);
        options.planes = VQZI_MIN(options.planes, 3u);
        options.levels = VQZI_MIN(options.levels, 2u);
        options.dictionaries = i == 0;
        random_model(&model, &options);
        FUZZ_REQUIRE(vqzi_model_serialise(&model, &data, &size, NULL) == VQZ_OK);
        snprintf(name, sizeof name, "%u.vqm", i);
        save("model", name, data, size);
        free(data);
        vqzi_model_clear(&model);
    }
}

/* ---- picture ---- */

static void save_made(const char *kind, int index, made_file made) {
    char name[32];
    snprintf(name, sizeof name, "%d.%s", index, kind);
    save("picture", name, made.data, made.size);
    made_file_free(&made);
}

static void save_pictures(void) {
    static const struct {
        int color, depth;
        bool interlaced, transparent;
    } png[] = {
        {PNG_COLOR_TYPE_GRAY, 1, false, true},       {PNG_COLOR_TYPE_GRAY, 16, true, false},
        {PNG_COLOR_TYPE_PALETTE, 4, true, true},     {PNG_COLOR_TYPE_RGB, 16, false, true},
        {PNG_COLOR_TYPE_RGB_ALPHA, 8, true, false},  {PNG_COLOR_TYPE_PALETTE, 8, false, false},
        {PNG_COLOR_TYPE_GRAY_ALPHA, 8, false, false}};
    static const struct {
        const char *kind, *text;
    } pnm[] = {{"pbm", "P1 3 2 101 0 10"},
               {"pgm", "P2\n# remark\n2 2 9\n1 2 3 9\n"},
               {"ppm", "P6 2 1 255\nabcdef"},
               {"pbm", "P4 9 2\n\x55\x80\xaa\x80"},
               {"pgm", "P5 2 2 300\n\x01\x02\x01\x03\x00\x01\x00\x09"},
               {"pam", "P7\nWIDTH 2\nHEIGHT 1\nDEPTH 2\nMAXVAL 255\nTUPLTYPE GRAYSCALE_ALPHA\n"
                       "ENDHDR\nabcd"}};
    static const size_t binary[] = {0, 0, 0, 11, 19, 0}; /* sizes of what holds a zero */
    uint8_t exif[64], icc[200];
    for (int i = 0; i < (int)(sizeof png / sizeof png[0]); i++) {
        size_t exif_size = make_exif(exif, 1 + i, i & 1);
        make_icc(icc, sizeof icc, (png[i].color & PNG_COLOR_MASK_COLOR) == 0);
        save_made("png", i,
                  make_png(&(png_mode){.width = 9,
                                       .height = 7,
                                       .color = png[i].color,
                                       .depth = png[i].depth,
                                       .interlaced = png[i].interlaced,
                                       .transparent = png[i].transparent,
                                       .icc = i % 2 ? icc : NULL,
                                       .icc_size = i % 2 ? sizeof icc : 0,
                                       .exif = exif,
                                       .exif_size = exif_size,
                                       .seed = (uint32_t)i}));
    }
    for (int i = 0; i < 6; i++) {
        size_t exif_size = make_exif(exif, 8 - i, i & 1);
        make_icc(icc, sizeof icc, i == 0);
        save_made("jpg", i,
                  make_jpeg(&(jpeg_mode){.width = 19,
                                         .height = 11,
                                         .color = (jpeg_color)(i % 5),
                                         .progressive = i > 2,
                                         .adobe = i == 3,
                                         .scans = i == 5 ? 4 : 0,
                                         .icc = i % 2 ? icc : NULL,
                                         .icc_size = i % 2 ? sizeof icc : 0,
                                         .exif = exif,
                                         .exif_size = exif_size,
                                         .seed = (uint32_t)i}));
    }
    for (int i = 0; i < (int)(sizeof pnm / sizeof pnm[0]); i++) {
        char name[32];
        snprintf(name, sizeof name, "%d.%s", i, pnm[i].kind);
        save("picture", name, pnm[i].text, binary[i] > 0 ? binary[i] : strlen(pnm[i].text));
    }
}

/* ---- roundtrip ---- */

static void save_recipes(void) {
    test_random random = {7};
    for (int i = 0; i < 24; i++) {
        uint8_t recipe[84];
        char name[32];
        for (size_t at = 0; at < sizeof recipe; at++)
            recipe[at] = (uint8_t)test_random_next(&random);
        recipe[0] = (uint8_t)i;
        recipe[2] = recipe[4] = i % 4 == 0; /* mostly small */
        recipe[5] = 0;                      /* gray and no choices of the prior: every model can */
        recipe[8] = 0;
        snprintf(name, sizeof name, "%d", i);
        save("roundtrip", name, recipe, sizeof recipe);
    }
}

int main(void) {
    save_files();
    save_models();
    save_pictures();
    save_recipes();
    return 0;
}
