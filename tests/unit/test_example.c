/*
 * test_example.c - the worked example of spec/: a model and a picture small enough to decode by
 * hand.
 *
 * The files under spec/example/ are golden: they must decode to the pixels written there for ever.
 * VQZ_UPDATE_EXAMPLE=1 writes them anew, which only a change of the format excuses.
 */
#include "codec/vqz.h"
#include "format/container.h"
#include "format/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zstd.h>

#define FOLDER "spec/example/"
enum { WIDTH = 5, HEIGHT = 3, QUALITY = 50, MAX_FILE = 4096 };

static const uint8_t picture[WIDTH * HEIGHT] = {10,  60,  110, 160, 210, 20,  70, 120,
                                                170, 220, 250, 200, 150, 100, 50};

/* Averages and horizontal differences of 2 x 2 pixels, a plane for each, and back through a 3 x 3
   smoothing, so that the border shows what "zero outside the picture" means. */
static vqzi_op analysis_ops[2] = {
    {.kind = VQZI_S2D, .src = 0, .add = VQZI_NO_REGISTER, .block = 2, .channels = 4},
    {.kind = VQZI_CONV,
     .src = 1,
     .add = VQZI_NO_REGISTER,
     .kernel = 1,
     .stride = 1,
     .bits = 8,
     .channels = 2,
     .bias_sets = 1,
     .shift = (uint8_t[]){2, 2},
     .weights = (int16_t[]){1, 1, 1, 1, 1, -1, 1, -1},
     .biases = (int32_t[]){0, 0}}};
static vqzi_op synthesis_ops[3] = {
    {.kind = VQZI_CONV,
     .src = 0,
     .add = VQZI_NO_REGISTER,
     .kernel = 1,
     .stride = 1,
     .bits = 11,
     .channels = 4,
     .bias_sets = 1,
     .shift = (uint8_t[]){0, 0, 0, 0},
     .weights = (int16_t[]){4, 4, 4, -4, 4, 4, 4, -4},
     .biases = (int32_t[]){0, 0, 0, 0}},
    {.kind = VQZI_D2S, .src = 1, .add = VQZI_NO_REGISTER, .block = 2, .channels = 1},
    {.kind = VQZI_CONV,
     .src = 2,
     .add = VQZI_NO_REGISTER,
     .kernel = 3,
     .stride = 1,
     .bits = 11,
     .channels = 1,
     .bias_sets = 2,
     .shift = (uint8_t[]){4},
     .weights = (int16_t[]){0, 1, 0, 1, 12, 1, 0, 1, 0},
     .biases = (int32_t[]){-300, 31}}};
static vqzi_plane planes[2] = {{.codes = 4,
                                .dims = 1,
                                .books = 1,
                                .ordered = 1,
                                .channels = (uint8_t[]){0},
                                .codebook = (int16_t[]){-96, -32, 32, 96},
                                .rates = (uint8_t[]){16, 16, 16, 16, 16, 16, 16, 16}},
                               {.codes = 3,
                                .dims = 1,
                                .books = 2,
                                .ordered = 0,
                                .channels = (uint8_t[]){1},
                                .codebook = (int16_t[]){0, -25, 25, 0, -30, 30},
                                .rates = (uint8_t[]){8, 16, 16, 8, 16, 16}}};
static uint16_t steps[4] = {18, 18, 15, 15};
static uint32_t lambdas[2] = {4, 2};
static char card[] = "{}";

static vqzi_model example_model(void) {
    return (vqzi_model){.channels = 1,
                        .stride = 2,
                        .levels = 2,
                        .latent_bits = 8,
                        .pixel_shift = 2,
                        .step_shift = 4,
                        .latent_channels = 2,
                        .analysis = {8, 1, 2, analysis_ops},
                        .synthesis = {8, 2, 3, synthesis_ops},
                        .steps = steps,
                        .lambdas = lambdas,
                        .plane_count = 2,
                        .planes = planes,
                        .stream_count = 2,
                        .card = card};
}

/* ---- hexadecimal files ---- */

static size_t read_hex(const char *path, uint8_t *bytes) {
    FILE *file = fopen(path, "r");
    size_t size = 0;
    unsigned byte;
    if (file == NULL)
        fail_msg("%s cannot be read; run the tests from the top of the sources", path);
    while (size < MAX_FILE && fscanf(file, "%2x", &byte) == 1)
        bytes[size++] = (uint8_t)byte;
    assert_true(feof(file) != 0);
    fclose(file);
    return size;
}

static void write_hex(const char *path, const uint8_t *bytes, size_t size, size_t line) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (size_t i = 0; i < size; i++)
        fprintf(file, "%02x%c", bytes[i], i + 1 == size || (i + 1) % line == 0 ? '\n' : ' ');
    assert_int_equal(fclose(file), 0);
}

/* The bytes of the model file's body, decompressed. */
static size_t model_body(const uint8_t *file, size_t size, uint8_t *body) {
    vqzi_reader reader = {file, size, 4};
    uint64_t body_size, card_size;
    const uint8_t *bytes;
    assert_int_equal(vqzi_read_varint(&reader, MAX_FILE, &body_size), VQZ_OK);
    assert_int_equal(vqzi_read_bytes(&reader, VQZI_HASH_SIZE, &bytes), VQZ_OK);
    assert_int_equal(vqzi_read_varint(&reader, MAX_FILE, &card_size), VQZ_OK);
    assert_int_equal(vqzi_read_bytes(&reader, (size_t)card_size, &bytes), VQZ_OK);
    size_t used = ZSTD_decompress(body, MAX_FILE, file + reader.position, size - reader.position);
    assert_int_equal(used, body_size);
    return used;
}

static void encode_picture(const vqz_model *model, void **file, size_t *size) {
    vqz_context *context;
    vqz_encode_options options;
    vqz_image image = {WIDTH, HEIGHT, 1, WIDTH, (uint8_t *)picture};
    vqz_encode_options_init(&options);
    options.quality = QUALITY;
    assert_int_equal(vqz_context_create(&context, NULL, NULL), VQZ_OK);
    assert_int_equal(vqz_encode(context, model, &image, &options, file, size, NULL), VQZ_OK);
    vqz_context_free(context);
}

static void decode_picture(const vqz_model *model, const uint8_t *file, size_t size,
                           uint8_t *pixels) {
    vqz_context *context;
    vqz_image image = {WIDTH, HEIGHT, 1, WIDTH, pixels};
    assert_int_equal(vqz_context_create(&context, NULL, NULL), VQZ_OK);
    assert_int_equal(vqz_decode(context, model, file, size, &image, NULL), VQZ_OK);
    vqz_context_free(context);
}

static void update_example(void) {
    vqzi_model model = example_model();
    vqz_model *loaded;
    void *file, *encoded;
    size_t size, encoded_size;
    uint8_t body[MAX_FILE], pixels[WIDTH * HEIGHT];
    assert_int_equal(vqzi_model_serialise(&model, &file, &size, NULL), VQZ_OK);
    assert_int_equal(vqz_model_load(&loaded, file, size, NULL, NULL), VQZ_OK);
    encode_picture(loaded, &encoded, &encoded_size);
    decode_picture(loaded, encoded, encoded_size, pixels);
    write_hex(FOLDER "model.vqm.hex", file, size, 32);
    write_hex(FOLDER "model.body.hex", body, model_body(file, size, body), 32);
    write_hex(FOLDER "picture.vqz.hex", encoded, encoded_size, 32);
    write_hex(FOLDER "pixels.hex", pixels, sizeof pixels, WIDTH);
    vqz_model_free(loaded);
    vqz_free(encoded);
    vqz_free(file);
}

/* ---- tests ---- */

/* The model file holds the body written beside it, and that body is the model above. */
static void test_model_file(void **state) {
    (void)state;
    uint8_t file[MAX_FILE], body[MAX_FILE], golden[MAX_FILE];
    size_t size = read_hex(FOLDER "model.vqm.hex", file);
    size_t golden_size = read_hex(FOLDER "model.body.hex", golden);
    assert_int_equal(model_body(file, size, body), golden_size);
    assert_memory_equal(body, golden, golden_size);
    vqzi_model model = example_model(), parsed;
    void *again;
    assert_int_equal(vqzi_model_serialise(&model, &again, &size, NULL), VQZ_OK);
    assert_int_equal(model_body(again, size, body), golden_size);
    assert_memory_equal(body, golden, golden_size);
    size = read_hex(FOLDER "model.vqm.hex", file);
    assert_int_equal(vqzi_model_parse(&parsed, file, size, NULL, NULL), VQZ_OK);
    assert_memory_equal(parsed.hash, model.hash, VQZI_HASH_SIZE);
    vqzi_model_clear(&parsed);
    vqz_free(again);
}

static void test_picture_file(void **state) {
    (void)state;
    uint8_t file[MAX_FILE], golden[MAX_FILE], pixels[WIDTH * HEIGHT], expected[MAX_FILE];
    size_t size = read_hex(FOLDER "model.vqm.hex", file);
    vqz_model *model;
    assert_int_equal(vqz_model_load(&model, file, size, NULL, NULL), VQZ_OK);
    size = read_hex(FOLDER "picture.vqz.hex", golden);
    assert_int_equal(read_hex(FOLDER "pixels.hex", expected), sizeof pixels);
    decode_picture(model, golden, size, pixels);
    assert_memory_equal(pixels, expected, sizeof pixels);
    /* streams this small are packed or constant: no version of zstd changes a byte */
    void *encoded;
    size_t encoded_size;
    encode_picture(model, &encoded, &encoded_size);
    assert_int_equal(encoded_size, size);
    assert_memory_equal(encoded, golden, size);
    vqz_free(encoded);
    vqz_model_free(model);
}

/* The text of the specification shows these very bytes. */
static void test_text(void **state) {
    (void)state;
    static const struct {
        const char *text, *hex;
    } shown[] = {{"spec/vqm-format.md", FOLDER "model.body.hex"},
                 {"spec/vqz-format.md", FOLDER "picture.vqz.hex"},
                 {"spec/vqz-format.md", FOLDER "pixels.hex"}};
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        enum { MAX_TEXT = 1 << 17 };
        char *text = calloc(MAX_TEXT, 1), line[256];
        FILE *file = fopen(shown[i].text, "r");
        assert_true(text != NULL && file != NULL);
        assert_true(fread(text, 1, MAX_TEXT - 1, file) > 0);
        fclose(file);
        file = fopen(shown[i].hex, "r");
        assert_non_null(file);
        while (fgets(line, sizeof line, file) != NULL) {
            line[strcspn(line, "\n")] = '\0';
            if (strstr(text, line) == NULL)
                fail_msg("%s does not show the line %s of %s", shown[i].text, line, shown[i].hex);
        }
        fclose(file);
        free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_model_file),
                                       cmocka_unit_test(test_picture_file),
                                       cmocka_unit_test(test_text)};
    if (getenv("VQZ_UPDATE_EXAMPLE") != NULL)
        update_example();
    return cmocka_run_group_tests_name("worked example", tests, NULL, NULL);
}
