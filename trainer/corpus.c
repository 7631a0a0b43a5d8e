/*
 * corpus.c - finds, decodes, converts and keeps the pictures of a corpus.
 *
 * Files are decoded by several threads, but taken in the order of their paths: a finished picture
 * waits until all before it have been decided upon.  So which pictures fit the budget, and with it
 * everything that follows, does not depend on timing.  Threads run at most a few files ahead, which
 * bounds what waits.
 */
#include "trainer/corpus.h"
#include "trainer/corpus_internal.h"
#include "trainer/corpus_walk.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_THREADS = 256, AHEAD_PER_THREAD = 4 };

/* ---- conversion ---- */

static uint8_t over(uint8_t sample, uint8_t alpha, uint8_t background) {
    return (uint8_t)((sample * alpha + background * (255 - alpha) + 127) / 255);
}

static bool is_gray(const vqz_image *image, const uint8_t background[3]) {
    return image->channels == 1 || (image->channels == 2 && background[0] == background[1] &&
                                    background[1] == background[2]);
}

static void convert_row(uint8_t *dst, uint32_t dst_channels, const uint8_t *src,
                        uint32_t src_channels, size_t width, const uint8_t background[3]) {
    size_t green = src_channels >= 3 ? 1 : 0, blue = src_channels >= 3 ? 2 : 0;
    bool has_alpha = src_channels == 2 || src_channels == 4;
    for (size_t x = 0; x < width; x++, src += src_channels, dst += dst_channels) {
        uint8_t rgb[3] = {src[0], src[green], src[blue]};
        uint8_t alpha = has_alpha ? src[src_channels - 1] : 255;
        if (has_alpha && dst_channels != 4)
            for (int c = 0; c < 3; c++)
                rgb[c] = over(rgb[c], alpha, background[c]);
        if (dst_channels == 1) {
            dst[0] = (uint8_t)((rgb[0] + rgb[1] + rgb[2] + 1) / 3);
            continue;
        }
        memcpy(dst, rgb, 3);
        if (dst_channels == 4)
            dst[3] = alpha;
    }
}

/* Colours that nobody sees are mid-gray, whatever is in the file: the encoder does the same. */
static void hide_colours(vqz_image *image) {
    for (size_t y = 0; y < image->height; y++) {
        uint8_t *pixel = image->pixels + y * image->stride;
        for (size_t x = 0; x < image->width; x++, pixel += 4)
            if (pixel[3] == 0)
                memset(pixel, 128, 3);
    }
}

/* Replaces the pixels by dense rows of the given number of channels. */
static vqz_status convert(vqz_image *image, uint32_t channels, const uint8_t background[3]) {
    size_t stride, size;
    if (!vqzi_mul(image->width, channels, &stride) || !vqzi_mul(stride, image->height, &size))
        return VQZ_ERROR_LIMIT;
    if (image->channels != channels || image->stride != stride) {
        uint8_t *pixels = malloc(size);
        if (pixels == NULL)
            return VQZ_ERROR_MEMORY;
        for (size_t y = 0; y < image->height; y++)
            convert_row(pixels + y * stride, channels, image->pixels + y * image->stride,
                        image->channels, image->width, background);
        free(image->pixels);
        *image = (vqz_image){.width = image->width,
                             .height = image->height,
                             .channels = channels,
                             .stride = stride,
                             .pixels = pixels};
    }
    if (channels == 4)
        hide_colours(image);
    return VQZ_OK;
}

/* ---- loading ---- */

typedef enum slot_state { SLOT_EMPTY, SLOT_PICTURE, SLOT_UNREADABLE, SLOT_TOO_SMALL } slot_state;

typedef struct slot {
    slot_state state;
    vqz_image image;
    vqz_diag reason;
} slot;

typedef struct loader {
    const corpus_options *options;
    const corpus_files *files;
    pthread_mutex_t lock;
    pthread_cond_t advanced;
    slot *slots; /* a ring: file i waits in slot i % slot_count */
    size_t slot_count;
    size_t next;     /* file to be decoded next */
    size_t decided;  /* files before this one have been kept or left out */
    bool full;       /* the budget is used up: nothing more is taken */
    vqz_image *kept; /* room for every file */
    size_t kept_count;
    uint64_t gray_bytes, other_bytes; /* of the kept pictures, by their number of channels */
    corpus_stats stats;
} loader;

static void decode(const loader *l, const char *path, slot *s) {
    const corpus_options *o = l->options;
    s->image = (vqz_image){0};
    s->reason.message[0] = '\0';
    s->state = SLOT_UNREADABLE;
    vqz_status status = o->read(path, &s->image, &s->reason);
    if (status != VQZ_OK) {
        s->image = (vqz_image){0};
        if (s->reason.message[0] == '\0')
            (void)vqzi_fail(&s->reason, status, "%s", vqz_status_string(status));
        return;
    }
    if (s->image.width < (uint32_t)VQZI_MAX(o->min_side, 1) ||
        s->image.height < (uint32_t)VQZI_MAX(o->min_side, 1)) {
        (void)vqzi_fail(&s->reason, VQZ_OK, "%u x %u pixels are below the smallest side of %d",
                        s->image.width, s->image.height, o->min_side);
        s->state = SLOT_TOO_SMALL;
    } else {
        int channels = o->channels;
        if (channels == 0)
            channels = is_gray(&s->image, o->background) ? 1 : 3;
        status = convert(&s->image, (uint32_t)channels, o->background);
        if (status == VQZ_OK) {
            s->state = SLOT_PICTURE;
            return;
        }
        (void)vqzi_fail(&s->reason, status, "%s", vqz_status_string(status));
    }
    free(s->image.pixels);
    s->image = (vqz_image){0};
}

/* Bytes of all kept pictures if this one joined them; one coloured picture makes all coloured when
   the number of channels is open. */
static uint64_t bytes_with(const loader *l, const vqz_image *image) {
    uint64_t size = (uint64_t)image->stride * image->height;
    uint64_t gray = l->gray_bytes + (image->channels == 1 ? size : 0);
    uint64_t other = l->other_bytes + (image->channels == 1 ? 0 : size);
    return other > 0 ? 3 * gray + other : gray;
}

/* Keeps a decoded file or leaves it out.  Called in the order of the files, with the lock held. */
static void decide(loader *l, size_t file, slot *s) {
    const corpus_options *o = l->options;
    const char *reason = s->reason.message;
    if (l->full || (s->state == SLOT_PICTURE && bytes_with(l, &s->image) > o->memory_budget)) {
        l->full = true;
        l->stats.over_budget++;
        reason = "over the memory budget";
        free(s->image.pixels);
    } else if (s->state == SLOT_PICTURE) {
        uint64_t size = (uint64_t)s->image.stride * s->image.height;
        *(s->image.channels == 1 ? &l->gray_bytes : &l->other_bytes) += size;
        l->kept[l->kept_count++] = s->image;
        reason = NULL;
    } else if (s->state == SLOT_TOO_SMALL) {
        l->stats.too_small++;
    } else {
        l->stats.unreadable++;
    }
    if (reason != NULL && o->skipped != NULL)
        o->skipped(o->user, l->files->paths[file], reason);
    s->image = (vqz_image){0};
    s->state = SLOT_EMPTY;
}

static void *load_files(void *argument) {
    loader *l = argument;
    pthread_mutex_lock(&l->lock);
    while (!l->full && l->next < l->files->count) {
        if (l->next >= l->decided + l->slot_count) {
            pthread_cond_wait(&l->advanced, &l->lock);
            continue;
        }
        size_t file = l->next++;
        slot *own = &l->slots[file % l->slot_count];
        pthread_mutex_unlock(&l->lock);
        slot decoded;
        decode(l, l->files->paths[file], &decoded);
        pthread_mutex_lock(&l->lock);
        *own = decoded;
        while (l->decided < l->next && l->slots[l->decided % l->slot_count].state != SLOT_EMPTY) {
            decide(l, l->decided, &l->slots[l->decided % l->slot_count]);
            l->decided++;
        }
        pthread_cond_broadcast(&l->advanced);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* The calling thread works too, so that a machine that refuses threads is merely slower. */
static void run_loader(loader *l, int threads) {
    pthread_t handles[MAX_THREADS];
    int started = 0;
    while (started < threads - 1 && pthread_create(&handles[started], NULL, load_files, l) == 0)
        started++;
    load_files(l);
    for (int i = 0; i < started; i++)
        pthread_join(handles[i], NULL);
    size_t left = l->files->count - l->decided; /* not looked at: the budget was used up */
    l->stats.over_budget += left;
    for (size_t i = 0; i < left && l->options->skipped != NULL; i++)
        l->options->skipped(l->options->user, l->files->paths[l->decided + i],
                            "over the memory budget");
}

/* ---- the finished corpus ---- */

typedef struct ranked {
    uint64_t key;
    uint32_t index;
} ranked;

static int by_key(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* The output function of splitmix64 (Steele, Lea and Flood 2014): every bit depends on every bit.
 */
static uint64_t mix(uint64_t z) {
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* Moves the held-out pictures, those with the smallest hash of seed and position, to the end; both
   parts stay in the order of the files. */
static vqz_status split(corpus *c, const corpus_options *o, size_t count) {
    size_t held = 0;
    if (o->holdout > 0 && count >= 2) {
        held = (size_t)((double)count * o->holdout + 0.5);
        held = VQZI_MIN(VQZI_MAX(held, (size_t)1), count - 1);
    }
    ranked *ranks = malloc(count * sizeof *ranks);
    vqz_image *ordered = malloc(count * sizeof *ordered);
    bool *is_held = calloc(count, sizeof *is_held);
    vqz_status status = VQZ_ERROR_MEMORY;
    if (ranks == NULL || ordered == NULL || is_held == NULL)
        goto done;
    for (size_t i = 0; i < count; i++)
        ranks[i] = (ranked){mix(mix(o->seed + 0x9E3779B97F4A7C15u) + i), (uint32_t)i};
    qsort(ranks, count, sizeof *ranks, by_key);
    for (size_t i = 0; i < held; i++)
        is_held[ranks[i].index] = true;
    size_t training = 0, holdout = count - held;
    for (size_t i = 0; i < count; i++)
        ordered[is_held[i] ? holdout++ : training++] = c->pictures[i];
    memcpy(c->pictures, ordered, count * sizeof *ordered);
    c->stats.pictures = training;
    c->stats.holdout_pictures = held;
    status = VQZ_OK;
done:
    free(ranks);
    free(ordered);
    free(is_held);
    return status;
}

/* Prepares the choice of a picture by area. */
static vqz_status rank_by_area(corpus *c) {
    size_t count = c->stats.pictures;
    ranked *ranks = malloc(count * sizeof *ranks);
    c->by_area = malloc(count * sizeof *c->by_area);
    c->area_before = malloc((count + 1) * sizeof *c->area_before);
    if (ranks == NULL || c->by_area == NULL || c->area_before == NULL) {
        free(ranks);
        return VQZ_ERROR_MEMORY;
    }
    for (size_t i = 0; i < count; i++)
        ranks[i] = (ranked){(uint64_t)c->pictures[i].width * c->pictures[i].height, (uint32_t)i};
    qsort(ranks, count, sizeof *ranks, by_key);
    c->area_before[0] = 0;
    for (size_t i = 0; i < count; i++) {
        c->by_area[i] = ranks[i].index;
        c->area_before[i + 1] = c->area_before[i] + ranks[i].key;
    }
    c->stats.pixels = c->area_before[count];
    free(ranks);
    return VQZ_OK;
}

static vqz_status check_options(const corpus_options *o, vqz_diag *diag) {
    if (o->channels != 0 && o->channels != 1 && o->channels != 3 && o->channels != 4)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "pictures of %d channels; use 1, 3 or 4",
                         o->channels);
    if (!(o->holdout >= 0 && o->holdout < 1))
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "a holdout fraction of %g; use 0 to below 1",
                         o->holdout);
    if (o->path_count == 0)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT, "no pictures or folders were named");
    return VQZ_OK;
}

static vqz_status empty_corpus(const corpus_options *o, const corpus_files *files,
                               const corpus_stats *s, vqz_diag *diag) {
    const char *more = o->path_count > 1 ? " and the other paths" : "";
    if (files->count == 0)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "no pictures (.png .jpg .jpeg .pnm .ppm .pgm .pam) in %s%s", o->paths[0],
                         more);
    return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                     "no usable pictures in %s%s: of %zu files %zu could not be read, %zu have a "
                     "side below %d pixels, %zu are over the memory budget of %zu bytes",
                     o->paths[0], more, files->count, s->unreadable, s->too_small, o->min_side,
                     s->over_budget, o->memory_budget);
}

vqz_status corpus_load(corpus **result, const corpus_options *o, vqz_diag *diag) {
    corpus_files files;
    VQZ_TRY(check_options(o, diag));
    VQZ_TRY(corpus_walk(&files, o, diag));
    int threads = VQZI_MIN(VQZI_MAX(o->threads, 1), MAX_THREADS);
    loader l = {.options = o, .files = &files, .slot_count = (size_t)threads * AHEAD_PER_THREAD};
    pthread_mutex_init(&l.lock, NULL);
    pthread_cond_init(&l.advanced, NULL);
    corpus *c = calloc(1, sizeof *c);
    l.slots = calloc(l.slot_count, sizeof *l.slots);
    l.kept = calloc(VQZI_MAX(files.count, (size_t)1), sizeof *l.kept);
    vqz_status status = VQZ_ERROR_MEMORY;
    if (c == NULL || l.slots == NULL || l.kept == NULL)
        goto done;
    l.stats.unreadable = files.unreadable;
    run_loader(&l, threads);

    c->pictures = l.kept;
    c->stats = l.stats;
    c->stats.channels = o->channels != 0 ? o->channels : l.other_bytes > 0 ? 3 : 1;
    c->stats.pictures = l.kept_count; /* what corpus_free releases if the rest fails */
    l.kept = NULL;
    if (c->stats.pictures == 0) {
        status = empty_corpus(o, &files, &c->stats, diag);
        goto done;
    }
    for (size_t i = 0; i < c->stats.pictures; i++) {
        status = convert(&c->pictures[i], (uint32_t)c->stats.channels, o->background);
        if (status != VQZ_OK)
            goto done;
    }
    status = split(c, o, c->stats.pictures);
    if (status == VQZ_OK)
        status = rank_by_area(c);
done:
    if (status == VQZ_ERROR_MEMORY)
        (void)vqzi_fail(diag, status, "out of memory for the pictures; lower the memory budget");
    if (status == VQZ_OK)
        *result = c;
    else
        corpus_free(c);
    free(l.kept);
    free(l.slots);
    pthread_cond_destroy(&l.advanced);
    pthread_mutex_destroy(&l.lock);
    corpus_files_free(&files);
    return status;
}

void corpus_free(corpus *c) {
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->stats.pictures + c->stats.holdout_pictures; i++)
        free(c->pictures[i].pixels);
    free(c->pictures);
    free(c->by_area);
    free(c->area_before);
    free(c);
}

void corpus_get_stats(const corpus *c, corpus_stats *stats) {
    *stats = c->stats;
}

const vqz_image *corpus_holdout(const corpus *c, size_t index) {
    return &c->pictures[c->stats.pictures + index];
}

const vqz_image *corpus_picture(const corpus *c, size_t index) {
    return &c->pictures[index];
}
