/*
 * test_limits.c - what a few hostile bytes may cost: pictures, files and models that ask for too
 * much are refused at once, and before anything of that size is allocated.
 *
 * Each case runs in a process of its own, whose peak memory and processor time are looked at.
 */
#include "format/container.h"
#include "tests/support/picture_file.h"
#include "tests/support/program.h"
#include "tests/support/random_model.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Sanitizers take memory of their own for each block, and time. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SLACK = 256 << 10, SECONDS = 60 };
#else
enum { SLACK = 8 << 10, SECONDS = 5 }; /* KiB beside what a call may take; of a busy machine */
#endif

static long peak_kib(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

static double processor_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

typedef vqz_status hostile_call(const void *argument, vqz_diag *diag);

/* What the call returns; it may raise the peak by so many KiB.  The child exits with the status. */
static vqz_status run_apart(hostile_call *call, const void *argument, long kib) {
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL); /* cmocka's would go on with the next test */
        vqz_diag diag = {""};
        long before = peak_kib();
        vqz_status status = call(argument, &diag);
        long grown = peak_kib() - before;
        double seconds = processor_seconds();
        if (grown > kib + SLACK || seconds > SECONDS ||
            (status != VQZ_OK && diag.message[0] == 0)) {
            fprintf(stderr, "status %d (%s), %ld KiB more, %.1f s\n", (int)status, diag.message,
                    grown, seconds);
            _exit(255);
        }
        _exit((int)status);
    }
    int state;
    assert_int_equal(waitpid(child, &state, 0), child);
    assert_true(WIFEXITED(state));
    assert_int_not_equal(WEXITSTATUS(state), 255);
    return (vqz_status)WEXITSTATUS(state);
}

/* ---- .vqz ---- */

typedef struct small_file {
    const vqz_model *model;
    const vqzi_buffer *bytes;
    vqz_limits limits;
    bool codes, partial;
} small_file;

static vqz_status decode_small_file(const void *argument, vqz_diag *diag) {
    const small_file *f = argument;
    vqz_context *context;
    vqz_decoder *decoder;
    vqz_info info;
    vqz_context_options options;
    vqz_decode_options wanted;
    vqz_context_options_init(&options);
    options.threads = 1;
    options.limits = f->limits;
    size_t size = f->bytes->size - (f->partial ? 4 : 0); /* partial: its checksum is cut off */
    int whole;
    VQZ_TRY(vqz_read_partial_info(f->bytes->data, size, &info, &whole, diag));
    VQZ_TRY(vqz_context_create(&context, &options, diag));
    if (f->codes) {
        vqz_model_info model;
        vqz_model_get_info(f->model, &model);
        size_t rows = (info.height + model.stride - 1) / model.stride;
        size_t columns = (info.width + model.stride - 1) / model.stride, count;
        assert_true(vqzi_mul(rows * columns, model.planes, &count));
        uint16_t *codes = malloc(count * sizeof *codes); /* the caller's, and mostly untouched */
        assert_non_null(codes);
        return vqz_read_codes(context, f->model, f->bytes->data, size, codes, count, diag);
    }
    vqz_decode_options_init(&wanted);
    wanted.partial = f->partial;
    VQZ_TRY(
        vqz_decoder_create_with(&decoder, context, f->model, f->bytes->data, size, &wanted, diag));
    uint8_t *row = malloc((size_t)info.width * info.channels);
    assert_non_null(row);
    return vqz_decoder_read(decoder, row, (size_t)info.width * info.channels, 1, diag);
}

static void make_small_file(vqzi_buffer *file, const vqz_model *model, bool prior) {
    vqz_model_info info;
    vqzi_header header = {.version = prior ? VQZI_VERSION_PRIOR : VQZI_VERSION,
                          .width = 65535,
                          .height = 65535,
                          .quality = 50,
                          .rans = prior};
    vqz_model_get_info(model, &info);
    memcpy(header.model_hash, info.hash, sizeof header.model_hash);
    *file = (vqzi_buffer){0};
    vqzi_header_write(file, &header);
    while (file->size < 36)
        vqzi_buffer_byte(file, 3); /* constant planes, or segments of three bytes */
    vqzi_trailer_write(file);
    assert_int_equal(file->size, 40);
}

static void check_small_files(bool prior) {
    random_model_options options;
    random_model_options_init(&options, 1);
    options.prior = prior;
    vqz_model *model = random_model_load(&options);
    vqzi_buffer bytes;
    make_small_file(&bytes, model, prior);
    for (int way = 0; way < 3; way++) {
        small_file f = {.model = model, .bytes = &bytes, .codes = way == 1, .partial = way == 2};
        /* more pixels than the default limit */
        vqz_limits_init(&f.limits);
        assert_int_equal(run_apart(decode_small_file, &f, 0), VQZ_ERROR_LIMIT);
        /* pixels may be as many as they like: a few rows of them are all that is held */
        f.limits.max_pixels = UINT64_MAX;
        f.limits.max_memory = (uint64_t)96 << 20;
        vqz_status status = run_apart(decode_small_file, &f, 96 << 10);
        if (f.partial)
            assert_true(status == VQZ_OK || status == VQZ_ERROR_LIMIT);
        else
            assert_true(status == VQZ_ERROR_TRUNCATED || status == VQZ_ERROR_CORRUPT ||
                        status == VQZ_ERROR_LIMIT);
        /* and memory is refused before it is taken; index planes are the caller's */
        if (f.codes)
            continue;
        f.limits.max_memory = (uint64_t)1 << 20;
        assert_int_equal(run_apart(decode_small_file, &f, 1 << 10), VQZ_ERROR_LIMIT);
    }
    vqzi_buffer_clear(&bytes);
    vqz_model_free(model);
}

static void test_small_file(void **state) {
    (void)state;
    check_small_files(false);
    check_small_files(true);
}

/* ---- .vqm ---- */

static vqz_status load_model(const void *argument, vqz_diag *diag) {
    const vqzi_buffer *file = argument;
    vqz_model *model;
    VQZ_TRY(vqz_model_load(&model, file->data, file->size, NULL, diag));
    vqz_model_free(model);
    return VQZ_OK;
}

static void check_refused(vqzi_model *model, long kib) {
    void *data;
    vqzi_buffer file = {0};
    assert_int_equal(vqzi_model_serialise(model, &data, &file.size, NULL), VQZ_OK);
    file.data = data;
    assert_true(file.size < 1 << 16); /* a small file is what makes it hostile */
    assert_int_equal(run_apart(load_model, &file, kib), VQZ_ERROR_LIMIT);
    free(data);
    vqzi_model_clear(model);
}

/* Gives the op so many outputs of inputs at 1:1, with weights of zero. */
static void widen(vqzi_op *op, uint32_t inputs, uint32_t channels, uint32_t kernel) {
    free(op->weights);
    free(op->biases);
    free(op->shift);
    op->channels = (uint16_t)channels;
    op->kernel = (uint8_t)kernel;
    op->bias_sets = 1;
    op->weights = calloc((size_t)channels * kernel * kernel * inputs, sizeof *op->weights);
    op->biases = calloc(channels, sizeof *op->biases);
    op->shift = calloc(channels, 1);
    assert_true(op->weights && op->biases && op->shift);
}

/* A convolution of 1024 channels at full resolution: 9.4 million multiplications a pixel, which for
   the largest picture that the defaults allow are two and a half peta-MACs. */
static void test_wide_network(void **state) {
    enum { WIDE = 1024, KERNEL = 3 };
    random_model_options options;
    vqzi_model model;
    (void)state;
    random_model_options_init(&options, 2);
    options.shuffle = options.residual = options.dictionaries = false;
    random_model(&model, &options);
    vqzi_net *net = &model.analysis;
    assert_int_equal(net->ops[0].kind, VQZI_CONV);
    memmove(net->ops + 2, net->ops + 1, (net->op_count - 1) * sizeof *net->ops);
    for (uint32_t i = 2; i <= net->op_count; i++)
        net->ops[i].src++;
    net->op_count++;
    net->ops[1] = net->ops[0];
    net->ops[1].src = 1;
    net->ops[1].weights = NULL;
    net->ops[1].biases = NULL;
    net->ops[1].shift = NULL;
    widen(&net->ops[0], 3, WIDE, 1);
    widen(&net->ops[1], WIDE, WIDE, KERNEL);
    widen(&net->ops[2], WIDE, net->ops[2].channels, net->ops[2].kernel);
    size_t weights = (size_t)WIDE * WIDE * KERNEL * KERNEL * 2 + (size_t)WIDE * 1024;
    check_refused(&model, (long)(2 * weights >> 10)); /* body and tensors */
}

/* 8 planes of 4096 codes with 64 dimensions at a stride of 2: the networks are small, but an
   encoder would have to search for half a million multiplications a pixel. */
static void test_wide_search(void **state) {
    random_model_options options;
    vqzi_model model;
    (void)state;
    random_model_options_init(&options, 3);
    options.dictionaries = false;
    options.stride = 2;
    options.levels = 1;
    options.latent_channels = 64;
    options.planes = 8;
    options.max_codes = 2;
    random_model(&model, &options);
    for (uint32_t p = 0; p < model.plane_count; p++) {
        vqzi_plane *plane = &model.planes[p];
        free(plane->channels);
        free(plane->codebook);
        free(plane->rates);
        plane->codes = VQZI_MAX_CODES;
        plane->dims = VQZI_MAX_PLANE_DIMS;
        plane->books = 1;
        plane->ordered = 0;
        plane->channels = malloc(plane->dims);
        plane->codebook = calloc((size_t)plane->codes * plane->dims, sizeof *plane->codebook);
        plane->rates = calloc(plane->codes, 1);
        assert_true(plane->channels && plane->codebook && plane->rates);
        for (uint32_t i = 0; i < plane->dims; i++)
            plane->channels[i] = (uint8_t)i;
    }
    free(model.dictionaries);
    model.dictionaries = NULL;
    model.stream_count = 2 * model.plane_count;
    check_refused(&model, 2 * 8 * 4096 * 64 * 2 >> 10);
}

/* ---- pictures ---- */

typedef struct small_picture {
    const void *data;
    size_t size;
    vqz_limits limits;
} small_picture;

static vqz_status read_small_picture(const void *argument, vqz_diag *diag) {
    const small_picture *p = argument;
    source *s;
    picture_reader *reader;
    uint8_t row[1 << 16];
    VQZ_TRY(source_from_memory(&s, p->data, p->size, diag));
    VQZ_TRY(picture_reader_open(&reader, s, &p->limits, diag));
    return picture_reader_rows(reader, row, sizeof row, 1, diag);
}

/* An interlaced PNG of 16000 x 16000 gray pixels, which has to be held whole. */
static void test_interlaced_picture(void **state) {
    uint8_t png[8 + 12 + 13 + 12] =
        "\x89PNG\r\n\x1a\n\0\0\0\15IHDR\0\0\x3e\x80\0\0\x3e\x80\10\0\0\0\1";
    small_picture p = {png, sizeof png, {0}};
    (void)state;
    uint32_t crc = vqzi_crc32(0, png + 12, 17);
    for (int i = 0; i < 4; i++)
        png[29 + i] = (uint8_t)(crc >> (24 - 8 * i));
    memcpy(png + 33, "\0\0\0\0IDAT\x35\xaf\x06\x1e", 12);
    vqz_limits_init(&p.limits);
    p.limits.max_memory = 100 << 20;
    assert_int_equal(run_apart(read_small_picture, &p, 1 << 10), VQZ_ERROR_LIMIT);
    p.limits.max_memory = 1 << 30;
    assert_int_equal(run_apart(read_small_picture, &p, 1 << 10), VQZ_ERROR_TRUNCATED);
    p.limits.max_pixels = 1 << 20;
    assert_int_equal(run_apart(read_small_picture, &p, 0), VQZ_ERROR_LIMIT);
}

/* ---- the program ---- */

static void test_program(void **state) {
    static const char *const refused[] = {"--max-macs 1", "--max-memory 1k", "--max-pixels 9"};
    char line[128];
    (void)state;
    save_model("m.vqm", 1, NULL);
    save_picture("a.png", 20, 10, 3, 1);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        snprintf(line, sizeof line, "compress -m m.vqm %s a.png", refused[i]);
        program_result result = run_vqz(line);
        char name[16];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(refused[i], " "), refused[i]);
        assert_int_equal(result.code, 1);
        assert_non_null(strstr(result.err, name)); /* the remedy */
        assert_false(file_exists("a.vqz"));
    }
    assert_int_equal(run_vqz("compress -m m.vqm --max-macs 1M a.png").code, 0);
    assert_int_equal(run_vqz("decompress -f -m m.vqm --max-macs 1 a.vqz").code, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_file), cmocka_unit_test(test_wide_network),
        cmocka_unit_test(test_wide_search), cmocka_unit_test(test_interlaced_picture),
        cmocka_unit_test_setup_teardown(test_program, program_enter_folder, program_leave_folder)};
    if (!program_find())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
