/*
 * program.c - runs the real vqz program for tests; see program.h.
 */
#include "tests/support/program.h"
#include "cli/text.h"
#include "tests/support/picture_file.h"
#include "tests/support/random_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Test programs have one state: where they are, and what the last run said. */
static char program_path[PATH_MAX], start_folder[PATH_MAX], work_folder[PATH_MAX];
static program_result last;

bool program_find(void) {
    const char *given = getenv("VQZ");
    if (realpath(given == NULL ? "./vqz" : given, program_path) == NULL ||
        getcwd(start_folder, sizeof start_folder) == NULL) {
        fprintf(stderr, "no program to test: build ./vqz or name it in VQZ\n");
        return false;
    }
    /* what the user has set must not reach the tests */
    static const char *const names[] = { "VQZ_MODEL_PATH", "VQZ_CPU", "XDG_DATA_HOME" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
    setenv("HOME", "/nonexistent", 1);
    setenv("XDG_DATA_DIRS", "/nonexistent", 1);
    return true;
}

int program_enter_folder(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(work_folder, sizeof work_folder, "%s/vqz-test-XXXXXX", base == NULL ? "/tmp" : base);
    return mkdtemp(work_folder) == NULL ? -1 : chdir(work_folder);
}

static int remove_entry(const char *path, const struct stat *facts, int kind, struct FTW *place) {
    (void)facts;
    (void)kind;
    (void)place;
    return remove(path);
}

int program_leave_folder(void **state) {
    (void)state;
    free(last.out);
    free(last.err);
    last = (program_result){ 0 };
    if (chdir(start_folder) != 0)
        return -1;
    return nftw(work_folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- running ---- */

static char *catch_stream(FILE *stream, size_t *size) {
    struct stat facts;
    assert_int_equal(fstat(fileno(stream), &facts), 0);
    *size = (size_t)facts.st_size;
    char *text = malloc(*size + 1);
    assert_non_null(text);
    rewind(stream);
    assert_int_equal(fread(text, 1, *size, stream), *size);
    text[*size] = '\0';
    fclose(stream);
    return text;
}

/* In the child: becomes the program. */
static void become_program(const char *line, const char *environment, int in, int out, int err) {
    enum { MAX_WORDS = 64 };
    char *words[MAX_WORDS + 2] = { program_path };
    int count = 1;
    char *copy = strdup(line);
    for (char *word = copy == NULL ? NULL : strtok(copy, " "); word != NULL && count < MAX_WORDS;
         word = strtok(NULL, " "))
        words[count++] = word;
    words[count] = NULL;
    char *variable = environment == NULL ? NULL : strdup(environment);
    if (variable != NULL)
        putenv(variable);
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    execv(program_path, words);
    _exit(127);
}

program_result run_vqz_with(const char *line, const program_input *input) {
    free(last.out);
    free(last.err);
    last = (program_result){ 0 };
    FILE *in = tmpfile(), *out = tmpfile(), *err = tmpfile();
    assert_true(in != NULL && out != NULL && err != NULL);
    if (input->size > 0)
        assert_int_equal(fwrite(input->data, 1, input->size, in), input->size);
    rewind(in);
    int target = input->output == NULL ? fileno(out) : open(input->output, O_WRONLY);
    assert_true(target >= 0);
    fflush(stdout); /* else the child holds a copy of what is buffered */
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        become_program(line, input->environment, fileno(in), target, fileno(err));
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (input->output != NULL)
        close(target);
    fclose(in);
    size_t err_size;
    last.out = catch_stream(out, &last.out_size);
    last.err = catch_stream(err, &err_size);
    last.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    last.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    return last;
}

program_result run_vqz(const char *line) {
    program_input nothing = { 0 };
    return run_vqz_with(line, &nothing);
}

pid_t start_vqz(const char *line) {
    int nowhere = open("/dev/null", O_RDWR);
    assert_true(nowhere >= 0);
    fflush(stdout);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        become_program(line, NULL, nowhere, nowhere, nowhere);
    close(nowhere);
    return child;
}

/* ---- files ---- */

char *read_test_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail_msg("no file %s", path);
    return catch_stream(file, size);
}

void write_test_file(const char *path, const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

bool file_exists(const char *path) {
    return access(path, F_OK) == 0;
}

int count_files(const char *folder) {
    DIR *handle = opendir(folder);
    assert_non_null(handle);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(handle)) != NULL;)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(handle);
    return count;
}

void save_picture(const char *path, uint32_t width, uint32_t height, uint32_t channels,
                  unsigned seed) {
    size_t stride = (size_t)width * channels;
    picture p = { .image = { width, height, channels, stride, malloc(stride * height) } };
    assert_non_null(p.image.pixels);
    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < width; x++)
            for (uint32_t c = 0; c < channels; c++) {
                double wave = sin(0.11 * x + seed + c) * cos(0.07 * y - c) * 90;
                unsigned grain = (x * 7 + y * 13 + seed * 31) % 17;
                p.image.pixels[y * stride + x * channels + c] = (uint8_t)(120 + wave + grain);
            }
    /* eight bytes of TIFF header and an empty directory: the smallest EXIF there is */
    static const uint8_t exif[] = { 'I', 'I', 42, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
    p.exif = malloc(sizeof exif);
    assert_non_null(p.exif);
    memcpy(p.exif, exif, sizeof exif);
    p.exif_size = sizeof exif;
    static const char *const png[] = { "png", NULL };
    picture_format format = path_has_extension(path, png) ? PICTURE_PNG : PICTURE_PNM;
    assert_int_equal(picture_file_write(path, &p, format, NULL), VQZ_OK);
    picture_clear(&p);
}

static void save_random_model(const char *path, const random_model_options *options, char *hash) {
    vqzi_model model;
    random_model(&model, options);
    void *data;
    size_t size;
    vqz_diag diag;
    assert_int_equal(vqzi_model_serialise(&model, &data, &size, &diag), VQZ_OK);
    write_test_file(path, data, size);
    if (hash != NULL)
        text_hash4(hash, model.hash);
    free(data);
    vqzi_model_clear(&model);
}

void save_model(const char *path, unsigned seed, char *hash) {
    random_model_options options;
    random_model_options_init(&options, seed);
    save_random_model(path, &options, hash);
}

void save_prior_model(const char *path, unsigned seed, uint32_t channels) {
    random_model_options options;
    random_model_options_init(&options, seed);
    options.channels = channels;
    options.prior = true;
    save_random_model(path, &options, NULL);
}
