/*
 * test_refine.c - the adjoint of a synthesis network beside one of plain loops over doubles; what
 * the refiner measures in windows beside the error of the whole picture; a refined file beside the
 * file that it is made from.
 */
#include "codec/adjoint.h"
#include "codec/executor.h"
#include "codec/quantise.h"
#include "codec/refine.h"
#include "tests/support/varied_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const vqzi_team alone = {.threads = 1};

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count, size);
    assert_non_null(memory);
    return memory;
}

/* ---- the adjoint ---- */

typedef struct reg {
    int64_t height, width, channels;
    int16_t *values;
    double *gradient; /* of the same shape */
} reg;

static reg copy_view(const vqzi_view *view) {
    reg p = {view->y.end - view->y.begin, view->x.end - view->x.begin, view->channels, NULL, NULL};
    size_t row = (size_t)(p.width * p.channels);
    p.values = allocate((size_t)p.height * row, sizeof *p.values);
    p.gradient = allocate((size_t)p.height * row, sizeof *p.gradient);
    for (int64_t y = 0; y < p.height; y++)
        memcpy(p.values + (size_t)y * row, view->data + (size_t)y * view->pitch,
               row * sizeof *p.values);
    return p;
}

static size_t place_of(const reg *p, int64_t y, int64_t x) {
    return (size_t)((y * p->width + x) * p->channels);
}

/* Adds to src what the gradient of dst means for it, by the formula of format/model.h. */
static void naive_conv(const vqzi_op *op, const reg *dst, reg *src) {
    int64_t pad = (op->kernel - 1) / 2, inputs = src->channels;
    for (int64_t y = 0; y < dst->height; y++)
        for (int64_t x = 0; x < dst->width; x++)
            for (int64_t o = 0; o < dst->channels; o++) {
                double g = ldexp(dst->gradient[place_of(dst, y, x) + (size_t)o], -op->shift[o]);
                for (int64_t tap = 0; tap < op->kernel * op->kernel && g != 0; tap++) {
                    int64_t sy = y + tap / op->kernel - pad, sx = x + tap % op->kernel - pad;
                    if (sy < 0 || sy >= src->height || sx < 0 || sx >= src->width)
                        continue;
                    for (int64_t c = 0; c < inputs; c++)
                        src->gradient[place_of(src, sy, sx) + (size_t)c] +=
                            g * op->weights[(o * op->kernel * op->kernel + tap) * inputs + c];
                }
            }
}

static void naive_d2s(const vqzi_op *op, const reg *dst, reg *src) {
    int64_t block = op->block;
    for (int64_t y = 0; y < dst->height; y++)
        for (int64_t x = 0; x < dst->width; x++)
            for (int64_t c = 0; c < dst->channels; c++)
                src->gradient[place_of(src, y / block, x / block) +
                              (size_t)((y % block * block + x % block) * dst->channels + c)] +=
                    dst->gradient[place_of(dst, y, x) + (size_t)c];
}

static void naive_adjoint(const vqzi_net *net, reg *planes) {
    for (uint32_t i = net->op_count; i-- > 0;) {
        const vqzi_op *op = &net->ops[i];
        reg *dst = &planes[i + 1], *src = &planes[op->src];
        size_t count = (size_t)(dst->height * dst->width * dst->channels);
        double slope = op->activation == VQZI_LEAKY ? ldexp(1, -op->slope) : 0;
        bool active = op->kind != VQZI_D2S && op->activation != VQZI_NONE;
        for (size_t k = 0; k < count && active; k++)
            if (dst->values[k] < 0 || (slope == 0 && dst->values[k] == 0))
                dst->gradient[k] *= slope;
        if (op->kind == VQZI_CONV) {
            naive_conv(op, dst, src);
            for (size_t k = 0; k < count && op->add != VQZI_NO_REGISTER; k++)
                planes[op->add].gradient[k] += dst->gradient[k];
        } else if (op->kind == VQZI_D2S) {
            naive_d2s(op, dst, src);
        } else {
            for (size_t k = 0; k < count; k++)
                src->gradient[k] += dst->gradient[k];
        }
    }
}

/* How far the integers are from the doubles, relative to these; -1 where the net has no adjoint. */
static double compare(const vqzi_net *net, test_random *random, uint32_t columns, uint32_t rows) {
    vqzi_prepared_net prepared;
    vqzi_adjoint *adjoint;
    vqzi_kernels kernels;
    vqzi_executor *executor;
    vqzi_net_plan plan;
    reg planes[VQZI_MAX_OPS + 1];
    vqzi_level level = {0};
    double error = 0, norm = 0;

    assert_int_equal(vqzi_net_prepare(&prepared, net), VQZ_OK);
    assert_int_equal(vqzi_adjoint_create(&adjoint, &prepared), VQZ_OK);
    if (!vqzi_adjoint_is_able(adjoint)) {
        vqzi_adjoint_free(adjoint);
        vqzi_net_unprepare(&prepared);
        return -1;
    }
    vqzi_kernels_init(&kernels, VQZ_CPU_BEST);
    vqzi_net_plan_whole(&plan, &prepared, columns, rows);
    assert_int_equal(vqzi_executor_create(&executor, &prepared, &plan, level, &kernels, &alone),
                     VQZ_OK);
    int16_t *work = allocate(vqzi_adjoint_elements(&prepared, &plan, 1), sizeof *work);
    vqzi_view input = vqzi_executor_begin(executor, 0, 0);
    for (uint32_t y = 0; y < rows; y++)
        for (size_t i = 0; i < (size_t)columns * input.channels; i++)
            input.data[y * input.pitch + i] = (int16_t)test_random_range(random, -300, 300);
    vqzi_view output = vqzi_executor_run(executor);
    for (uint32_t r = 0; r <= net->op_count; r++)
        planes[r] = copy_view(&executor->views[r]);
    reg *last = &planes[net->op_count];
    for (int64_t y = 0; y < last->height; y++)
        for (int64_t i = 0; i < last->width * last->channels; i++) {
            int value = test_random_range(random, -400, 400);
            output.data[(size_t)y * output.pitch + (size_t)i] = (int16_t)value;
            last->gradient[(size_t)(y * last->width * last->channels + i)] = value;
        }
    vqzi_adjoint_run(adjoint, executor, work);
    naive_adjoint(net, planes);
    for (uint32_t y = 0; y < rows; y++)
        for (size_t i = 0; i < (size_t)columns * input.channels; i++) {
            double want = planes[0].gradient[y * (size_t)columns * input.channels + i];
            double have = ldexp(input.data[y * input.pitch + i], -vqzi_adjoint_exponent(adjoint));
            error += (want - have) * (want - have);
            norm += want * want;
        }
    for (uint32_t r = 0; r <= net->op_count; r++) {
        free(planes[r].values);
        free(planes[r].gradient);
    }
    free(work);
    vqzi_executor_free(executor);
    vqzi_adjoint_free(adjoint);
    vqzi_net_unprepare(&prepared);
    return norm > 0 ? sqrt(error / norm) : sqrt(error);
}

static void load_default(vqzi_model *model) {
    size_t size;
    const void *data = vqz_default_model(&size);
    vqz_diag diag = {""};
    if (vqzi_model_parse(model, data, size, NULL, &diag) != VQZ_OK)
        fail_msg("%s", diag.message);
}

static void test_adjoint_default(void **state) {
    vqzi_model model;
    test_random random = {1};
    (void)state;
    load_default(&model);
    double error = compare(&model.synthesis, &random, 13, 9);
    if (error < 0 || error > 0.02)
        fail_msg("relative error %g", error);
    vqzi_model_clear(&model);
}

/* Of random nets, whose values leave int16 now and then: most must come out right. */
static void test_adjoint_random(void **state) {
    int with = 0, right = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        vqzi_model model;
        test_random random = {seed};
        random_model_options options;
        random_model_options_draw(&options, seed);
        random_model(&model, &options);
        double error = compare(&model.synthesis, &random, 6, 5);
        with += error >= 0;
        right += error >= 0 && error < 0.1;
        vqzi_model_clear(&model);
    }
    if (with < 20 || right * 10 < with * 9)
        fail_msg("%d nets have an adjoint, %d of them are right", with, right);
}

/* ---- the refiner ---- */

enum { WIDTH = 1720, HEIGHT = 60 }; /* three windows */

static void draw_picture(uint8_t *pixels, uint32_t width, uint32_t height) {
    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < width; x++)
            for (uint32_t c = 0; c < 3; c++)
                *pixels++ = (uint8_t)(128 + 60 * sin(x * 0.05 + c) * cos(y * 0.09 - x * 0.01) +
                                      ((x / 40 + y / 25) % 2 ? 30 : -30));
}

static vqz_context *make_context(int threads) {
    vqz_context_options options;
    vqz_context *context;
    vqz_context_options_init(&options);
    options.threads = threads;
    assert_int_equal(vqz_context_create(&context, &options, NULL), VQZ_OK);
    return context;
}

static vqz_model *default_model(void) {
    size_t size;
    vqz_model *model;
    const void *data = vqz_default_model(&size);
    assert_int_equal(vqz_model_load(&model, data, size, NULL, NULL), VQZ_OK);
    return model;
}

/* In squared pixels: of the network run on the whole picture, values not rounded. */
static double whole_error(vqz_context *context, const vqz_model *model,
                          const vqzi_prepared_net *net, vqzi_level level, const int16_t *latents,
                          const uint8_t *pixels) {
    vqzi_net_plan plan;
    vqzi_executor *executor;
    uint32_t stride = model->model.stride, columns = WIDTH / stride;
    uint32_t rows = (HEIGHT + stride - 1) / stride;
    vqzi_net_plan_make(&plan, net, columns, rows, columns * stride, rows * stride);
    assert_int_equal(vqzi_executor_create(&executor, net, &plan, level, &context->kernels, &alone),
                     VQZ_OK);
    vqzi_view input = vqzi_executor_begin(executor, 0, 0);
    size_t row = (size_t)columns * input.channels;
    for (uint32_t y = 0; y < rows; y++)
        memcpy(input.data + y * input.pitch, latents + y * row, row * sizeof *latents);
    vqzi_view output = vqzi_executor_run(executor);
    double sum = 0;
    for (size_t y = 0; y < HEIGHT; y++)
        for (size_t i = 0; i < (size_t)WIDTH * 3; i++) {
            double value =
                128 + ldexp(output.data[y * output.pitch + i], -model->model.pixel_shift);
            double error = fmin(fmax(value, 0), 255) - pixels[y * WIDTH * 3 + i];
            sum += error * error;
        }
    vqzi_executor_free(executor);
    return sum;
}

/* Codes near the middle, which most pictures have. */
static void draw_codes(test_random *random, const vqzi_model *model, uint16_t *codes,
                       uint32_t columns, uint32_t rows) {
    for (uint32_t p = 0; p < model->plane_count; p++)
        for (size_t i = 0; i < (size_t)columns * rows; i++)
            *codes++ = (uint16_t)VQZI_MIN(model->planes[p].codes / 2 + test_random_range(random, -1, 1),
                                          model->planes[p].codes - 1);
}

/* The windows' margins make the error that of the whole. */
static void test_windows(void **state) {
    vqz_context *context = make_context(2);
    vqz_model *model = default_model();
    vqzi_refiner *refiner;
    uint8_t *pixels = allocate((size_t)WIDTH * HEIGHT, 3);
    uint32_t stride = model->model.stride, columns = WIDTH / stride;
    uint32_t rows = (HEIGHT + stride - 1) / stride;
    size_t count = (size_t)columns * rows * model->model.latent_channels;
    int16_t *latents = allocate(count, sizeof *latents);
    test_random random = {3};
    (void)state;
    draw_picture(pixels, WIDTH, HEIGHT);
    vqzi_refiner_options options = {
        .context = context,
        .model = model,
        .level = vqzi_model_level(&model->model, 60),
        .columns = columns,
        .rows = rows,
        .tile_rows = VQZI_TILE_HEIGHT / stride,
        .pixels = {pixels, HEIGHT, WIDTH, HEIGHT, 3},
    };
    assert_int_equal(vqzi_refiner_find(model, &options.adjoint), VQZ_OK);
    assert_non_null(options.adjoint);
    assert_int_equal(vqzi_refiner_create(&refiner, &options), VQZ_OK);
    vqzi_quantiser_options look_up = {
        .level = options.level, .max_width = columns, .kernels = &context->kernels, .threads = 1};
    vqzi_quantiser *quantiser;
    assert_int_equal(vqzi_quantiser_create(&quantiser, &model->model, &look_up), VQZ_OK);
    size_t code_count = (size_t)model->model.plane_count * options.tile_rows * columns;
    uint16_t *codes = allocate(code_count, sizeof *codes);
    const uint16_t *planes[VQZI_MAX_PLANES];
    int16_t *chosen = allocate(count, sizeof *chosen);
    vqzi_refiner_begin(refiner, 0, rows, latents, NULL);
    double unit = 0;
    for (int i = 0; i < 3; i++) {
        draw_codes(&random, &model->model, codes, columns, options.tile_rows);
        for (uint32_t y = 0; y < rows; y++) {
            for (uint32_t p = 0; p < model->model.plane_count; p++)
                planes[p] = codes + ((size_t)p * options.tile_rows + y) * columns;
            vqzi_dequantise_row(quantiser, 0, planes, columns,
                                chosen + (size_t)y * columns * model->model.latent_channels);
        }
        double have = (double)vqzi_refiner_measure(refiner, codes, i == 1);
        double want = whole_error(context, model, vqzi_adjoint_net(options.adjoint), options.level,
                                  chosen, pixels);
        if (i == 0)
            unit = have / want;
        assert_true(fabs(have - unit * want) <= 1e-4 * have);
    }
    vqzi_quantiser_free(quantiser);
    free(chosen);
    free(codes);
    vqzi_refiner_free(refiner);
    free(latents);
    free(pixels);
    vqz_model_free(model);
    vqz_context_free(context);
}

/* ---- files ---- */

static double square_error(const uint8_t *a, const uint8_t *b, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sum;
}

/* Bytes, and the error of the decoded picture. */
static double code(vqz_context *context, const vqz_model *model, const uint8_t *pixels,
                   uint32_t width, uint32_t height, int effort, size_t *bytes) {
    vqz_encode_options options;
    void *file;
    size_t count = (size_t)width * height * 3;
    uint8_t *decoded = allocate(count, 1);
    vqz_image image = {width, height, 3, (size_t)width * 3, (uint8_t *)pixels};
    vqz_encode_options_init(&options);
    options.quality = 50;
    options.effort = effort;
    assert_int_equal(vqz_encode(context, model, &image, &options, &file, bytes, NULL), VQZ_OK);
    image.pixels = decoded;
    assert_int_equal(vqz_decode(context, model, file, *bytes, &image, NULL), VQZ_OK);
    double error = square_error(pixels, decoded, count);
    vqz_free(file);
    free(decoded);
    return error;
}

/* More effort: less error for the bytes, in pictures of several windows and rows of tiles. */
static void test_files(void **state) {
    static const uint32_t sizes[][2] = {{120, 90}, {1700, 50}, {40, 2200}};
    vqz_context *context = make_context(2);
    vqz_model *model = default_model();
    (void)state;
    for (int i = 0; i < 3; i++) {
        uint32_t width = sizes[i][0], height = sizes[i][1];
        uint8_t *pixels = allocate((size_t)width * height, 3);
        size_t bytes[2];
        draw_picture(pixels, width, height);
        double quick = code(context, model, pixels, width, height, 6, &bytes[0]);
        double slow = code(context, model, pixels, width, height, 8, &bytes[1]);
        /* 6 dB for a doubling of the bytes would be a fair trade: error^1 * bytes^2 */
        double gain = slow * (double)bytes[1] * (double)bytes[1] /
                      (quick * (double)bytes[0] * (double)bytes[0]);
        if (gain > 0.95)
            fail_msg("%ux%u: error %g in %zu bytes, then %g in %zu", width, height, quick, bytes[0],
                     slow, bytes[1]);
        /* and the same file when pictures are analysed in smaller pieces */
        vqz_context *other = make_context(1);
        vqzi_context_set_tuning(other, 64, 0);
        size_t again;
        assert_true(code(other, model, pixels, width, height, 8, &again) == slow);
        assert_int_equal(again, bytes[1]);
        vqz_context_free(other);
        free(pixels);
    }
    vqz_model_free(model);
    vqz_context_free(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adjoint_default),
        cmocka_unit_test(test_adjoint_random),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests_name("refine", tests, NULL, NULL);
}
