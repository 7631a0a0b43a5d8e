/*
 * dictionary.c - zstd dictionaries for the streams of small pictures.
 *
 * A small stream cannot pay for its Huffman table, which is what a dictionary saves; content to
 * match against matters less.  So a dictionary is mostly tables: the least content that zstd
 * allows, or what its own trainer picks, whichever does better on samples it was not made from.
 */
#include "format/dictionary.h"
#include "format/container.h"
#include "format/frame.h"

#include <stdlib.h>
#include <string.h>
#include <zdict.h>

enum {
    LEVEL = VQZI_STREAM_LEVEL,
    WINDOW_LOG = 17,
    MIN_CONTENT = 128, /* of a dictionary, by zdict's rules */
    MIN_CAPACITY = 256
};

typedef struct sample_set {
    const uint8_t *data;
    const size_t *sizes;
    size_t count, bytes, largest;
    uint32_t bits; /* of a symbol, to know when packing would be smaller anyway */
} sample_set;

typedef enum trainer_kind { TABLES = 0, CONTENT = 1, KIND_COUNT = 2 } trainer_kind;

vqz_status vqzi_dictionary_check(const uint8_t *data, size_t size) {
    size_t tables = ZDICT_getDictHeaderSize(data, size);
    if (!ZDICT_isError(tables))
        return VQZ_OK;
    return vqzi_frame_status(tables) == VQZ_ERROR_MEMORY ? VQZ_ERROR_MEMORY
                                                         : VQZ_ERROR_MODEL_INVALID;
}

/* zstd before 1.5.6 does not look whether it got the memory for a dictionary (its pull request
   3847), so that is asked for first. */
static bool has_memory(const vqzi_dictionary *dictionary) {
    void *volatile memory = /* or compilers would leave both calls out */
        malloc(ZSTD_estimateCDictSize(dictionary->size, VQZI_STREAM_LEVEL));
    bool enough = memory != NULL;
    free(memory);
    return enough;
}

vqz_status vqzi_dictionary_compressor(vqzi_dictionary *dictionary, const ZSTD_CDict **digested) {
    ZSTD_CDict *shared = atomic_load_explicit(&dictionary->compressor, memory_order_acquire);
    if (shared == NULL) {
        if (!has_memory(dictionary))
            return VQZ_ERROR_MEMORY;
        ZSTD_CDict *own =
            ZSTD_createCDict_byReference(dictionary->data, dictionary->size, VQZI_STREAM_LEVEL);
        if (own == NULL) {
            /* zstd does not say why; what the decompressor can digest is not to blame */
            const ZSTD_DDict *sound;
            VQZ_TRY(vqzi_dictionary_decompressor(dictionary, &sound));
            return VQZ_ERROR_MEMORY;
        }
        if (atomic_compare_exchange_strong_explicit(&dictionary->compressor, &shared, own,
                                                    memory_order_acq_rel, memory_order_acquire))
            shared = own;
        else
            ZSTD_freeCDict(own);
    }
    *digested = shared;
    return VQZ_OK;
}

/* In memory of our own, so that a failure can only be the dictionary's. */
static vqz_status make_decompressor(const vqzi_dictionary *dictionary, ZSTD_DDict **digested) {
    size_t size = ZSTD_estimateDDictSize(dictionary->size, ZSTD_dlm_byRef);
    void *memory = malloc(size);
    if (memory == NULL)
        return VQZ_ERROR_MEMORY;
    if (ZSTD_initStaticDDict(memory, size, dictionary->data, dictionary->size, ZSTD_dlm_byRef,
                             ZSTD_dct_fullDict) == NULL) {
        free(memory);
        return VQZ_ERROR_MODEL_INVALID;
    }
    *digested = memory;
    return VQZ_OK;
}

vqz_status vqzi_dictionary_decompressor(vqzi_dictionary *dictionary, const ZSTD_DDict **digested) {
    ZSTD_DDict *shared = atomic_load_explicit(&dictionary->decompressor, memory_order_acquire);
    if (shared == NULL) {
        ZSTD_DDict *own;
        VQZ_TRY(make_decompressor(dictionary, &own));
        if (atomic_compare_exchange_strong_explicit(&dictionary->decompressor, &shared, own,
                                                    memory_order_acq_rel, memory_order_acquire))
            shared = own;
        else
            free(own);
    }
    *digested = shared;
    return VQZ_OK;
}

void vqzi_dictionary_clear(vqzi_dictionary *dictionary) {
    ZSTD_freeCDict(atomic_load(&dictionary->compressor));
    free(atomic_load(&dictionary->decompressor));
    free(dictionary->data);
    *dictionary = (vqzi_dictionary){0};
}

/* A dictionary of this kind into `bytes`; 0 when zdict finds the samples unsuitable. */
static size_t make(trainer_kind kind, uint8_t *bytes, size_t capacity, const sample_set *set) {
    size_t used;
    if (set->count > UINT32_MAX || set->bytes < MIN_CONTENT)
        return 0;
    if (kind == TABLES) {
        ZDICT_params_t parameters = {.compressionLevel = LEVEL};
        const uint8_t *content = set->data + set->bytes - MIN_CONTENT;
        used = ZDICT_finalizeDictionary(bytes, capacity, content, MIN_CONTENT, set->data,
                                        set->sizes, (unsigned)set->count, parameters);
    } else {
        used = ZDICT_trainFromBuffer(bytes, capacity, set->data, set->sizes, (unsigned)set->count);
    }
    if (ZDICT_isError(used) || vqzi_dictionary_check(bytes, used) != VQZ_OK)
        return 0;
    return used;
}

/* Bytes that the samples take when each is written the cheapest way, with the dictionary as one of
   the ways (size 0: without). */
static vqz_status cost(const sample_set *set, const uint8_t *dictionary, size_t size,
                       size_t *total) {
    vqz_status status = VQZ_ERROR_MEMORY;
    size_t capacity = ZSTD_compressBound(set->largest);
    uint8_t *frame = malloc(capacity);
    ZSTD_CCtx *zstd = vqzi_frame_compressor(LEVEL, WINDOW_LOG);
    ZSTD_CDict *digested = size > 0 ? ZSTD_createCDict(dictionary, size, LEVEL) : NULL;
    if (frame == NULL || zstd == NULL || (size > 0 && digested == NULL))
        goto done;
    *total = 0;
    const uint8_t *sample = set->data;
    int ways = size > 0 ? 2 : 1;
    for (size_t i = 0; i < set->count; sample += set->sizes[i++]) {
        size_t best = (set->sizes[i] * set->bits + 7) / 8 + VQZI_FRAME_HEADER;
        for (int with = 0; with < ways; with++) {
            if (ZSTD_isError(ZSTD_CCtx_refCDict(zstd, with ? digested : NULL)))
                goto done;
            size_t used = ZSTD_compress2(zstd, frame, capacity, sample, set->sizes[i]);
            if (ZSTD_isError(used))
                goto done;
            best = VQZI_MIN(best, used);
        }
        *total += best;
    }
    status = VQZ_OK;
done:
    ZSTD_freeCDict(digested);
    ZSTD_freeCCtx(zstd);
    free(frame);
    return status;
}

static sample_set describe(const uint8_t *data, const size_t *sizes, size_t count) {
    sample_set set = {.data = data, .sizes = sizes, .count = count, .bits = 1};
    uint32_t most = 0;
    for (size_t i = 0; i < count; i++) {
        set.bytes += sizes[i];
        set.largest = VQZI_MAX(set.largest, sizes[i]);
    }
    for (size_t i = 0; i < set.bytes; i++)
        most = VQZI_MAX(most, data[i]);
    while (most >> set.bits != 0)
        set.bits++;
    return set;
}

/* Every second sample, copied next to each other: (even ones..., odd ones...). */
static void split(const sample_set *all, uint8_t *data, size_t *sizes, sample_set halves[2]) {
    for (size_t half = 0; half < 2; half++) {
        uint8_t *start = data;
        size_t *start_sizes = sizes;
        const uint8_t *sample = all->data;
        for (size_t i = 0; i < all->count; sample += all->sizes[i++])
            if (i % 2 == half) {
                memcpy(data, sample, all->sizes[i]);
                data += all->sizes[i];
                *sizes++ = all->sizes[i];
            }
        halves[half] = describe(start, start_sizes, (size_t)(sizes - start_sizes));
        halves[half].bits = all->bits;
    }
}

vqz_status vqzi_dictionary_train(const uint8_t *samples, const size_t *sizes, size_t count,
                                 size_t capacity, void **data, size_t *size) {
    *data = NULL;
    *size = 0;
    capacity = VQZI_MIN(capacity, (size_t)VQZI_MAX_DICTIONARY);
    sample_set all = describe(samples, sizes, count);
    if (count < 2 || all.bytes < (size_t)4 * MIN_CONTENT || capacity < MIN_CAPACITY)
        return VQZ_OK;
    vqz_status status = VQZ_ERROR_MEMORY;
    uint8_t *copy = malloc(all.bytes), *bytes = malloc(capacity);
    size_t *copy_sizes = NULL, copy_size;
    if (vqzi_mul(count, sizeof *copy_sizes, &copy_size))
        copy_sizes = malloc(copy_size);
    if (copy == NULL || bytes == NULL || copy_sizes == NULL)
        goto done;
    sample_set halves[2];
    split(&all, copy, copy_sizes, halves);
    /* made from one half, judged on the other: content copied from the samples proves nothing */
    size_t best, best_kind = KIND_COUNT;
    status = cost(&halves[1], NULL, 0, &best);
    for (trainer_kind kind = TABLES; kind < KIND_COUNT && status == VQZ_OK; kind++) {
        size_t total, used = make(kind, bytes, capacity, &halves[0]);
        if (used == 0)
            continue;
        status = cost(&halves[1], bytes, used, &total);
        if (status == VQZ_OK && total < best) {
            best = total;
            best_kind = kind;
        }
    }
    if (status != VQZ_OK || best_kind == KIND_COUNT)
        goto done;
    *size = make((trainer_kind)best_kind, bytes, capacity, &all);
    if (*size > 0) {
        *data = bytes;
        bytes = NULL;
    }
done:
    free(copy_sizes);
    free(copy);
    free(bytes);
    return status;
}
