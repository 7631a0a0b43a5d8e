/*
 * test_no_memory.c - every allocation of the library fails in turn: the first, the second, and so
 * on until a call succeeds, once this one alone and once all from there on.  What fails must say
 * VQZ_ERROR_MEMORY and leave nothing behind; what succeeds must have the right result.
 *
 * The C library's functions are replaced by ones that fail when asked, for callers in this program
 * (the library is linked into it) and in libzstd.  OpenMP is left alone: it ends the program when
 * it has no memory for a thread, so a context of one thread is used here, which never enters it.
 */
#include "tests/support/random_model.h"

#include <dlfcn.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
/* cmocka wants the headers above first. */
#include <cmocka.h>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define EXPORT __attribute__((visibility("default"), noinline))
EXPORT void *memalign(size_t alignment, size_t size);

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *memory);

/* Compilers know that malloc changes no variable of the program; here it does. */
static volatile struct {
    bool counting, armed;
    bool lasting; /* all further ones fail too */
    long until;   /* allocations that still succeed */
    long failures;
    long live;              /* blocks allocated less blocks freed, while counting */
    const void *objects[2]; /* the program and libzstd */
} heap;

static bool refuses(const void *caller) {
    Dl_info info;
    if (!heap.armed || !dladdr(caller, &info) ||
        (info.dli_fbase != heap.objects[0] && info.dli_fbase != heap.objects[1]))
        return false;
    /* zstd before 1.5.6 crashes where this fails (see dictionary.c) */
    if (ZSTD_versionNumber() < 10506 && info.dli_sname != NULL &&
        strcmp(info.dli_sname, "ZSTD_createCDict_advanced2") == 0)
        return false;
    if (heap.until > 0) {
        heap.until--;
        return false;
    }
    if (heap.failures > 0 && !heap.lasting)
        return false;
    heap.failures++;
    errno = ENOMEM;
    return true;
}

static void *note(void *memory) {
    heap.live += heap.counting && memory != NULL;
    return memory;
}

EXPORT void *malloc(size_t size) {
    return refuses(__builtin_return_address(0)) ? NULL : note(__libc_malloc(size));
}

EXPORT void *calloc(size_t members, size_t size) {
    return refuses(__builtin_return_address(0)) ? NULL : note(__libc_calloc(members, size));
}

EXPORT void *realloc(void *memory, size_t size) {
    if (refuses(__builtin_return_address(0)))
        return NULL;
    void *moved = __libc_realloc(memory, size);
    return memory == NULL ? note(moved) : moved;
}

EXPORT void *aligned_alloc(size_t alignment, size_t size) {
    return refuses(__builtin_return_address(0)) ? NULL : note(__libc_memalign(alignment, size));
}

EXPORT void *memalign(size_t alignment, size_t size) {
    return refuses(__builtin_return_address(0)) ? NULL : note(__libc_memalign(alignment, size));
}

EXPORT int posix_memalign(void **memory, size_t alignment, size_t size) {
    void *made =
        refuses(__builtin_return_address(0)) ? NULL : note(__libc_memalign(alignment, size));
    if (made == NULL)
        return ENOMEM;
    *memory = made;
    return 0;
}

EXPORT char *strdup(const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = malloc(size);
    return copy == NULL ? NULL : memcpy(copy, text, size);
}

EXPORT void free(void *memory) {
    heap.live -= heap.counting && memory != NULL;
    __libc_free(memory);
}

/* ---- what is done ---- */

enum { WIDTH = 37, HEIGHT = 21, MAX_FILE = 1 << 16 };

typedef struct scene {
    void *model_data;
    size_t model_size;
    uint32_t channels;
    vqz_encode_options encode;
    vqz_decode_options decode;
    const uint8_t *file; /* to decode, or NULL */
    size_t file_size;
    vqz_metadata metadata;
    /* what this run works with */
    vqz_model *model;
    vqz_context *context;
    uint8_t pixels[WIDTH * HEIGHT * 4];
    /* what it made */
    size_t size;
    uint8_t output[MAX_FILE];
} scene;

typedef vqz_status operation(scene *s);

static void load_model(scene *s) {
    assert_int_equal(vqz_model_load(&s->model, s->model_data, s->model_size, NULL, NULL), VQZ_OK);
}

static void keep(scene *s, const void *data, size_t size) {
    assert_true(size <= sizeof s->output);
    if (size > 0)
        memcpy(s->output, data, size);
    s->size = size;
}

static vqz_status keep_file(scene *s, vqz_status status, void *file, size_t size) {
    if (status == VQZ_OK) {
        keep(s, file, size);
        vqz_free(file);
    }
    return status;
}

static vqz_image picture_of(scene *s) {
    return (vqz_image){WIDTH, HEIGHT, s->channels, (size_t)WIDTH * s->channels, s->pixels};
}

static vqz_status do_load(scene *s) {
    vqz_model *model;
    VQZ_TRY(vqz_model_load(&model, s->model_data, s->model_size, NULL, NULL));
    vqz_model_free(model);
    return VQZ_OK;
}

static vqz_status do_create(scene *s) {
    vqz_context *context;
    (void)s;
    VQZ_TRY(vqz_context_create(&context, NULL, NULL));
    vqz_context_free(context);
    return VQZ_OK;
}

static vqz_status do_encode(scene *s) {
    void *file = NULL;
    size_t size = 0;
    vqz_image image = picture_of(s);
    vqz_status status = vqz_encode(s->context, s->model, &image, &s->encode, &file, &size, NULL);
    return keep_file(s, status, file, size);
}

static vqz_status do_encode_rows(scene *s) {
    void *file = NULL;
    size_t size = 0;
    vqz_encoder *encoder;
    vqz_image image = picture_of(s);
    VQZ_TRY(vqz_encoder_create(&encoder, s->context, s->model, WIDTH, HEIGHT, s->channels,
                               &s->encode, NULL));
    vqz_status status = VQZ_OK;
    for (uint32_t y = 0; status == VQZ_OK && y < HEIGHT; y += 7)
        status = vqz_encoder_write(encoder, s->pixels + y * image.stride, image.stride, 7, NULL);
    if (status == VQZ_OK)
        status = vqz_encoder_finish(encoder, &file, &size, NULL);
    vqz_encoder_free(encoder);
    return keep_file(s, status, file, size);
}

static vqz_status do_decode(scene *s) {
    vqz_image image = picture_of(s);
    image.pixels = s->output;
    if (s->decode.width > 0) {
        image.width = s->decode.width;
        image.height = s->decode.height;
    }
    s->size = image.stride * image.height;
    memset(s->output, 0, s->size);
    return vqz_decode_with(s->context, s->model, s->file, s->file_size, &s->decode, &image, NULL);
}

static vqz_status do_decode_rows(scene *s) {
    vqz_decoder *decoder;
    size_t stride = (size_t)WIDTH * s->channels;
    VQZ_TRY(vqz_decoder_create(&decoder, s->context, s->model, s->file, s->file_size, NULL));
    vqz_status status = VQZ_OK;
    for (uint32_t y = 0; status == VQZ_OK && y < HEIGHT; y += 3)
        status = vqz_decoder_read(decoder, s->output + y * stride, stride, 3, NULL);
    vqz_decoder_free(decoder);
    s->size = stride * HEIGHT;
    return status;
}

static vqz_status do_read_codes(scene *s) {
    vqz_model_info info;
    vqz_model_get_info(s->model, &info);
    size_t columns = (WIDTH + info.stride - 1) / info.stride;
    size_t rows = (HEIGHT + info.stride - 1) / info.stride;
    size_t count = columns * rows * info.planes;
    static uint16_t codes[MAX_FILE / 2];
    s->size = 0;
    VQZ_TRY(vqz_read_codes(s->context, s->model, s->file, s->file_size, codes, count, NULL));
    keep(s, codes, count * sizeof *codes);
    return VQZ_OK;
}

static vqz_status do_read_metadata(scene *s) {
    void *data = NULL;
    size_t size = 0;
    vqz_status status = vqz_read_metadata(s->file, s->file_size, s->metadata, &data, &size, NULL);
    return keep_file(s, status, data, size);
}

static vqz_status do_sample(scene *s) {
    vqz_sample_options options;
    vqz_sample_options_init(&options);
    vqz_image image = picture_of(s);
    image.pixels = s->output;
    s->size = image.stride * HEIGHT;
    return vqz_sample(s->context, s->model, &options, &image, NULL);
}

/* ---- until it succeeds ---- */

/* One run in which allocation `until` fails; true when none was left to fail. */
static bool run_once(scene *s, operation *run, const scene *expected, long until, bool lasting) {
    heap.live = 0;
    heap.failures = 0;
    heap.counting = true;
    load_model(s);
    heap.until = until;
    heap.lasting = lasting;
    heap.armed = true;
    vqz_status status = run(s);
    heap.armed = false;
    vqz_model_free(s->model);
    heap.counting = false;
    if (heap.live != 0)
        fail_msg("allocation %ld fails: %ld blocks leak", until, heap.live);
    if (status == VQZ_OK) {
        if (s->size != expected->size || memcmp(s->output, expected->output, s->size) != 0)
            fail_msg("allocation %ld fails: another result", until);
        return heap.failures == 0;
    }
    if (status != VQZ_ERROR_MEMORY)
        fail_msg("allocation %ld fails: %s", until, vqz_status_string(status));
    assert_true(heap.failures > 0);
    return false;
}

/* Leaves in s what the operation makes. */
static void check(const char *name, scene *s, operation *run) {
    static scene expected;
    load_model(s);
    assert_int_equal(run(s), VQZ_OK);
    vqz_model_free(s->model);
    expected = *s;
    for (int lasting = 0; lasting <= 1; lasting++) {
        long until = 0;
        while (!run_once(s, run, &expected, until, lasting))
            until++;
        if (until == 0)
            fail_msg("%s allocates nothing", name);
        printf("%s: %ld allocations\n", name, until);
    }
}

static void begin(scene *s, const random_model_options *options, uint32_t channels) {
    vqzi_model model;
    vqz_context_options one;
    memset(s, 0, sizeof *s);
    random_model(&model, options);
    assert_int_equal(vqzi_model_serialise(&model, &s->model_data, &s->model_size, NULL), VQZ_OK);
    vqzi_model_clear(&model);
    vqz_context_options_init(&one);
    one.threads = 1;
    assert_int_equal(vqz_context_create(&s->context, &one, NULL), VQZ_OK);
    vqz_encode_options_init(&s->encode);
    vqz_decode_options_init(&s->decode);
    s->channels = channels;
    for (size_t i = 0; i < sizeof s->pixels; i++)
        s->pixels[i] = (uint8_t)(i * 5 + i / WIDTH * 3 + i % 11 * i % 13);
}

static void end(scene *s) {
    vqz_context_free(s->context);
    free(s->model_data);
}

/* The file that the last encoding made is what is decoded now. */
static void take_file(scene *s, uint8_t *file) {
    memcpy(file, s->output, s->size);
    s->file = file;
    s->file_size = s->size;
}

static void check_decoding(scene *s) {
    check("decode", s, do_decode);
    check("decode rows", s, do_decode_rows);
    check("read codes", s, do_read_codes);
    s->decode = (vqz_decode_options){.x = 9, .y = 4, .width = 11, .height = 8};
    check("decode a region", s, do_decode);
    s->decode = (vqz_decode_options){.partial = 1};
    s->file_size -= 9;
    check("decode a part", s, do_decode);
    s->file_size += 9;
    s->decode.partial = 0;
}

static void test_plain(void **state) {
    static scene s;
    static uint8_t file[MAX_FILE];
    static const char icc[] = "as good as a profile", exif[] = "II*";
    random_model_options options;
    (void)state;
    random_model_options_init(&options, 1);
    options.hidden = 3;
    begin(&s, &options, 4);
    s.encode.icc = icc;
    s.encode.icc_size = sizeof icc;
    s.encode.exif = exif;
    s.encode.exif_size = sizeof exif;
    check("create a context", &s, do_create);
    check("load", &s, do_load);
    check("encode rows", &s, do_encode_rows);
    check("encode", &s, do_encode);
    take_file(&s, file);
    check_decoding(&s);
    s.metadata = VQZ_METADATA_ICC;
    check("read ICC", &s, do_read_metadata);
    s.metadata = VQZ_METADATA_EXIF;
    check("read EXIF", &s, do_read_metadata);
    end(&s);
}

static void test_prior(void **state) {
    static scene s;
    static uint8_t file[MAX_FILE];
    static const struct {
        int entropy, effort, progressive;
    } ways[] = {{VQZ_ENTROPY_RANS, 6, 0}, {VQZ_ENTROPY_AUTO, 9, 1}, {VQZ_ENTROPY_ZSTD, 6, 1}};
    random_model_options options;
    (void)state;
    random_model_options_init(&options, 2);
    options.hidden = 3;
    options.prior = true;
    begin(&s, &options, 3);
    check("load", &s, do_load);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        s.encode.entropy = ways[i].entropy;
        s.encode.effort = ways[i].effort;
        s.encode.progressive = ways[i].progressive;
        check("encode rows", &s, do_encode_rows);
        check("encode", &s, do_encode);
        take_file(&s, file);
        check_decoding(&s);
    }
    check("sample", &s, do_sample);
    end(&s);
}

static int find_objects(void **state) {
    static const char here; /* whatever object it is in is ours */
    Dl_info info;
    (void)state;
    if (!dladdr(&here, &info))
        return -1;
    heap.objects[0] = info.dli_fbase;
    if (!dladdr(__extension__(void *) ZSTD_versionNumber, &info))
        return -1;
    heap.objects[1] = info.dli_fbase;
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_plain), cmocka_unit_test(test_prior)};
    return cmocka_run_group_tests(tests, find_objects, NULL);
}
#else
static void test_skipped(void **state) {
    (void)state;
    skip(); /* a sanitizer has an allocator of its own */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_skipped)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
