/*
 * test_train.c - real training runs on pictures made here: they must learn, repeat bit for bit, and
 * survive SIGKILL at any moment.
 */
#include "cli/file.h"
#include "tests/support/picture_file.h"
#include "format/model.h"
#include "trainer/train.h"
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { PICTURES = 24, SIDE = 48 };

typedef struct fixture {
    char folder[64], corpus[96], output[96], other[96];
} fixture;

static void write_bytes(const char *path, const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* Soft-edged disks over a sloped background: few degrees of freedom, so that a model can learn them. */
static void write_picture(const char *path, random_state *random, bool gray) {
    uint8_t pixels[SIDE * SIDE * 3];
    picture p = {.image = {SIDE, SIDE, gray ? 1 : 3, (size_t)SIDE * (gray ? 1 : 3), pixels}};
    float base[3], slope[3], disk[3];
    for (int c = 0; c < 3; c++) {
        base[c] = 60 + 120 * random_uniform(random);
        slope[c] = 60 * random_uniform(random) - 30;
        disk[c] = 255 * random_uniform(random);
    }
    float cx = SIDE * random_uniform(random), cy = SIDE * random_uniform(random);
    float radius = 6 + 12 * random_uniform(random);
    int channels = gray ? 1 : 3;
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            for (int c = 0; c < channels; c++) {
                float inside = 1 / (1 + expf(hypotf((float)x - cx, (float)y - cy) - radius));
                float value = base[c] + slope[c] * (float)(x + y) / SIDE;
                value += inside * (disk[c] - value);
                pixels[(y * SIDE + x) * channels + c] = (uint8_t)fmaxf(0, fminf(255, value));
            }
    assert_int_equal(picture_file_write(path, &p, PICTURE_PNG, NULL), VQZ_OK);
}

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    random_state random;
    random_seed(&random, 11);
    snprintf(f->folder, sizeof f->folder, "/tmp/vqz-train-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->corpus, sizeof f->corpus, "%s/pictures", f->folder);
    snprintf(f->output, sizeof f->output, "%s/model.vqm", f->folder);
    snprintf(f->other, sizeof f->other, "%s/other.vqm", f->folder);
    assert_int_equal(mkdir(f->corpus, 0755), 0);
    for (int i = 0; i < PICTURES; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%02d.png", f->corpus, i);
        write_picture(path, &random, false);
    }
    *state = f;
    return 0;
}

static void remove_folder(const char *folder) {
    DIR *directory = opendir(folder);
    for (struct dirent *entry; directory && (entry = readdir(directory)) != NULL;) {
        char path[512];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (unlink(path) != 0)
            remove_folder(path);
    }
    if (directory)
        closedir(directory);
    rmdir(folder);
}

static int teardown(void **state) {
    fixture *f = *state;
    remove_folder(f->folder);
    free(f);
    return 0;
}

static train_options small_run(fixture *f, const char *const *paths, const char *preset,
                               uint64_t steps) {
    train_options o;
    train_options_init(&o);
    o.paths = paths;
    o.path_count = 1;
    o.output = f->output;
    o.preset = preset;
    o.steps = steps;
    o.batch = 4;
    o.crop = 32;
    o.threads = 2;
    o.holdout = 0.2;
    o.min_scale = 1;
    o.precision = "float32"; /* the same on every machine's test run */
    o.quiet = true;
    o.force = true;
    o.read = picture_read_pixels;
    o.write = file_replace;
    return o;
}

static void read_model(const char *path, vqzi_model *model) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    static uint8_t bytes[8 << 20];
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    vqz_diag diag = {""};
    *model = (vqzi_model){0};
    if (vqzi_model_parse(model, bytes, size, NULL, &diag) != VQZ_OK)
        fail_msg("%s", diag.message);
}

static void must_train(const train_options *o) {
    vqz_diag diag = {""};
    if (train_run(o, NULL, &diag) != VQZ_OK)
        fail_msg("%s", diag.message);
}

/* The first value of a key in a card's held-out list: of the smallest files. */
static double card_value(const char *card, const char *key) {
    const char *at = strstr(card, "\"held_out\"");
    assert_non_null(at);
    at = strstr(at, key);
    assert_non_null(at);
    return atof(strchr(at, ':') + 1);
}

static double held_out_psnr(const fixture *f) {
    vqzi_model model;
    read_model(f->output, &model);
    double psnr = card_value(model.card, "\"psnr\"");
    /* At the best quality, where the encoder chooses few other codes than training does. */
    const char *last = model.card, *key = "\"float_minus_integer_db\":";
    for (const char *at; (at = strstr(last, key)) != NULL;)
        last = at + strlen(key);
    if (fabs(atof(last)) > 0.6)
        fail_msg("integers cost %s dB", last);
    vqzi_model_clear(&model);
    return psnr;
}

static void test_classic_learns(void **state) {
    fixture *f = *state;
    const char *paths[] = {f->corpus};
    static const struct {
        const char *codebook, *loss;
    } ways[] = {{"ema", "mse"}, {"loss", "mse"}, {"ema", "mix"}};
    for (int i = 0; i < 3; i++) {
        train_options o = small_run(f, paths, "classic", 3);
        o.codes = 64;
        o.codebook = ways[i].codebook;
        o.loss = ways[i].loss;
        must_train(&o);
        double before = held_out_psnr(f);
        o.steps = 300;
        must_train(&o);
        double after = held_out_psnr(f);
        if (after < before + 3 || after < 17)
            fail_msg("held-out PSNR went from %.2f to %.2f dB", before, after);
    }
}

static void test_photo_learns(void **state) {
    fixture *f = *state;
    const char *paths[] = {f->corpus};
    train_options o = small_run(f, paths, "photo", 60);
    must_train(&o);
    /* Level 0 stands first in the card: the smallest files. */
    double first = held_out_psnr(f);
    vqzi_model model;
    read_model(f->output, &model);
    const char *last = strstr(model.card, "\"quality\":100");
    assert_non_null(last);
    double best = atof(strstr(last, "\"psnr\":") + 7);
    vqzi_model_clear(&model);
    if (!(best > first + 4 && best > 30))
        fail_msg("held-out PSNR %.2f dB at the lowest, %.2f at the best quality", first, best);
}

/* Disks on nothing: the colours that are not seen are noise, which would cost most of the bits. */
static void write_sprite(const char *path, random_state *random) {
    uint8_t pixels[SIDE * SIDE * 4], colour[3];
    picture p = {.image = {SIDE, SIDE, 4, SIDE * 4, pixels}};
    float cx = SIDE * random_uniform(random), cy = SIDE * random_uniform(random);
    float radius = 6 + 12 * random_uniform(random);
    for (int c = 0; c < 3; c++)
        colour[c] = (uint8_t)random_below(random, 256);
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            uint8_t *pixel = pixels + (y * SIDE + x) * 4;
            bool inside = hypotf((float)x - cx, (float)y - cy) < radius;
            for (int c = 0; c < 3; c++)
                pixel[c] = inside ? colour[c] : (uint8_t)random_below(random, 256);
            pixel[3] = inside ? 255 : 0;
        }
    assert_int_equal(picture_file_write(path, &p, PICTURE_PNG, NULL), VQZ_OK);
}

static void test_transparent_learns(void **state) {
    fixture *f = *state;
    char folder[96];
    const char *paths[] = {folder};
    random_state random;
    random_seed(&random, 12);
    snprintf(folder, sizeof folder, "%s/sprites", f->folder);
    assert_int_equal(mkdir(folder, 0755), 0);
    for (int i = 0; i < PICTURES; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%02d.png", folder, i);
        write_sprite(path, &random);
    }
    train_options o = small_run(f, paths, "photo", 60);
    o.channels = 4;
    must_train(&o);
    vqzi_model model;
    read_model(f->output, &model);
    assert_int_equal(model.channels, 4);
    const char *last = strstr(model.card, "\"quality\":100");
    assert_non_null(last);
    double psnr = atof(strstr(last, "\"psnr\":") + 7), bpp = atof(strstr(last, "\"bpp\":") + 6);
    if (!(psnr > 22 && bpp < 3)) /* noise alone would give 8.5 dB */
        fail_msg("held-out PSNR %.2f dB, %.2f bpp", psnr, bpp);
    vqzi_model_clear(&model);
}

static void model_hash(const char *path, uint8_t hash[32]) {
    vqzi_model model;
    read_model(path, &model);
    memcpy(hash, model.hash, 32);
    vqzi_model_clear(&model);
}

static void test_same_seed_same_model(void **state) {
    fixture *f = *state;
    const char *paths[] = {f->corpus};
    uint8_t first[32], second[32], third[32];
    train_options o = small_run(f, paths, "classic", 25);
    o.codes = 32;
    must_train(&o);
    model_hash(f->output, first);
    must_train(&o);
    model_hash(f->output, second);
    assert_memory_equal(first, second, 32);
    o.seed = 2;
    must_train(&o);
    model_hash(f->output, third);
    assert_memory_not_equal(first, third, 32);
}

static void test_kill_and_resume(void **state) {
    fixture *f = *state;
    const char *paths[] = {f->corpus};
    uint8_t whole[32], pieces[32];
    train_options o = small_run(f, paths, "photo", 50);
    o.output = f->other;
    must_train(&o);
    model_hash(f->other, whole);

    o.output = f->output;
    o.checkpoint_seconds = 1e-3; /* every step */
    char checkpoint[128];
    snprintf(checkpoint, sizeof checkpoint, "%s.ckpt", f->output);
    random_state random;
    random_seed(&random, 17);
    int kills = 0, status = 1;
    for (int attempt = 0; attempt < 40; attempt++) {
        o.resume = access(checkpoint, F_OK) == 0;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            /* A fresh program: OpenMP's threads do not survive a fork. */
            char seconds[32];
            snprintf(seconds, sizeof seconds, "%s", o.resume ? "--resume" : "-f");
            execl(getenv("VQZ") ? getenv("VQZ") : "./vqz", "vqz", "train", f->corpus, "-o",
                  f->output, "--preset", "photo", "--steps", "50", "--batch", "4", "--crop", "32",
                  "--threads", "2", "--holdout", "0.2", "--min-scale", "1", "--precision",
                  "float32", "--checkpoint", "0.001s", "--quiet", seconds, (char *)NULL);
            _exit(127);
        }
        /* The first lives a moment, later ones longer, so that the run gets done. */
        usleep(300000 + (useconds_t)random_below(&random, 500000) * (useconds_t)(1 + attempt * attempt / 4));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        if (WIFEXITED(status))
            break;
        kills++;
    }
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_true(kills > 0);
    model_hash(f->output, pieces);
    assert_memory_equal(whole, pieces, 32);
    assert_int_not_equal(access(checkpoint, F_OK), 0); /* tidied up */
}

static void test_fine_tuning_starts_from_the_model(void **state) {
    fixture *f = *state;
    const char *paths[] = {f->corpus};
    train_options o = small_run(f, paths, "photo", 60);
    must_train(&o);
    double trained = held_out_psnr(f);
    FILE *file = fopen(f->output, "rb");
    assert_non_null(file);
    static uint8_t bytes[8 << 20];
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    o.steps = 1;
    o.init = f->output;
    o.init_data = bytes;
    o.init_size = size;
    must_train(&o);
    double tuned = held_out_psnr(f);
    if (tuned < trained - 0.5)
        fail_msg("%.2f dB became %.2f dB by one step of fine-tuning", trained, tuned);
    o.preset = "classic"; /* another architecture: refused by name */
    vqz_diag diag = {""};
    assert_int_equal(train_run(&o, NULL, &diag), VQZ_ERROR_MODEL_MISMATCH);
    assert_non_null(strstr(diag.message, "preset"));
}

static void test_refusals(void **state) {
    fixture *f = *state;
    const char *paths[] = {f->corpus};
    vqz_diag diag = {""};
    train_options o = small_run(f, paths, "classic", 1);
    o.crop = 30; /* not a multiple of the stride */
    assert_int_equal(train_run(&o, NULL, &diag), VQZ_ERROR_ARGUMENT);
    o = small_run(f, paths, "classic", 0);
    assert_int_equal(train_run(&o, NULL, &diag), VQZ_ERROR_ARGUMENT);
    assert_non_null(strstr(diag.message, "--time"));
    o = small_run(f, paths, "classic", 1);
    o.loss = "ssim";
    assert_int_equal(train_run(&o, NULL, &diag), VQZ_ERROR_ARGUMENT);
    assert_non_null(strstr(diag.message, "msssim"));
    o = small_run(f, paths, "classic", 1);
    o.resume = true; /* no checkpoint there */
    assert_int_equal(train_run(&o, NULL, &diag), VQZ_ERROR_IO);
    o = small_run(f, paths, "classic", 1);
    o.force = false;
    write_bytes(f->output, "keep", 4);
    assert_int_equal(train_run(&o, NULL, &diag), VQZ_ERROR_IO);
    char kept[5] = "";
    FILE *file = fopen(f->output, "rb");
    assert_int_equal(fread(kept, 1, 5, file), 4);
    fclose(file);
    assert_string_equal(kept, "keep");
}

/* What cannot be resumed is refused with its reason, and left as it is. */
static void test_checkpoints_that_do_not_fit(void **state) {
    fixture *f = *state;
    const char *paths[] = {f->corpus};
    const volatile sig_atomic_t stop = 1;
    vqz_diag diag = {""};
    train_options o = small_run(f, paths, "classic", 3);
    o.codes = 16;
    assert_int_equal(train_run(&o, &stop, &diag), VQZ_ERROR_IO);
    assert_non_null(strstr(diag.message, "--resume"));
    o.resume = true;

    char path[128];
    snprintf(path, sizeof path, "%s.ckpt", f->output);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    static uint8_t bytes[16 << 20];
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    assert_true(size > 1000 && size < sizeof bytes);
    const size_t sizes[] = {0, 5, 20, 600, size / 2, size - 1};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        write_bytes(path, bytes, sizes[i]);
        assert_int_equal(train_run(&o, NULL, &diag), VQZ_ERROR_CORRUPT);
        assert_non_null(strstr(diag.message, "damaged"));
    }
    bytes[100] ^= 1; /* in the settings */
    write_bytes(path, bytes, size);
    assert_int_equal(train_run(&o, NULL, &diag), VQZ_ERROR_CORRUPT);
    bytes[100] ^= 1;
    write_bytes(path, "something else", 14);
    assert_int_equal(train_run(&o, NULL, &diag), VQZ_ERROR_FORMAT);
    write_bytes(path, bytes, size);
    o.batch = 8;
    assert_int_equal(train_run(&o, NULL, &diag), VQZ_ERROR_ARGUMENT);
    assert_non_null(strstr(diag.message, "made with batch 4, but this run has batch 8"));
    o.batch = 4;
    must_train(&o);
}

static void test_log_is_not_overwritten(void **state) {
    fixture *f = *state;
    const char *paths[] = {f->corpus};
    vqz_diag diag = {""};
    char path[128], kept[5] = "";
    snprintf(path, sizeof path, "%s.csv", f->output);
    write_bytes(path, "keep", 4);
    train_options o = small_run(f, paths, "classic", 1);
    o.force = false;
    assert_int_equal(train_run(&o, NULL, &diag), VQZ_ERROR_IO);
    assert_non_null(strstr(diag.message, ".csv"));
    assert_non_null(strstr(diag.message, "-f"));
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(kept, 1, 5, file), 4);
    fclose(file);
    o.force = true;
    must_train(&o);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_classic_learns),       TEST(test_photo_learns),
        TEST(test_transparent_learns),
        TEST(test_same_seed_same_model), TEST(test_kill_and_resume),
        TEST(test_refusals),             TEST(test_fine_tuning_starts_from_the_model),
        TEST(test_checkpoints_that_do_not_fit), TEST(test_log_is_not_overwritten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
