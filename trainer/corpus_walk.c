/*
 * corpus_walk.c - see corpus_walk.h.
 *
 * Folders already entered are kept in a hash set of (device, inode): a loop of symbolic links ends,
 * and a picture does not count twice because two links lead to its folder.
 */
#include "trainer/corpus_walk.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { MAX_DEPTH = 256 };

typedef struct folder_id {
    uint64_t device, inode;
    bool used;
} folder_id;

typedef struct walker {
    const corpus_options *options;
    corpus_files *files;
    size_t capacity;
    folder_id *entered; /* open addressing, a power of two slots, at most half full */
    size_t entered_slots, entered_count;
    vqz_diag *diag;
} walker;

static vqz_status out_of_memory(walker *w) {
    return vqzi_fail(w->diag, VQZ_ERROR_MEMORY, "out of memory for the list of pictures");
}

static folder_id *find_slot(folder_id *slots, size_t count, uint64_t device, uint64_t inode) {
    size_t at = (size_t)((inode ^ device << 32) * 0x9E3779B97F4A7C15u >> 20);
    for (;; at++) {
        folder_id *slot = &slots[at & (count - 1)];
        if (!slot->used || (slot->device == device && slot->inode == inode))
            return slot;
    }
}

/* *first tells whether the folder had not been entered before. */
static vqz_status enter_folder(walker *w, const struct stat *facts, bool *first) {
    if (2 * w->entered_count >= w->entered_slots) {
        size_t slots = VQZI_MAX((size_t)64, 2 * w->entered_slots);
        folder_id *grown = calloc(slots, sizeof *grown);
        if (grown == NULL)
            return out_of_memory(w);
        for (size_t i = 0; i < w->entered_slots; i++)
            if (w->entered[i].used)
                *find_slot(grown, slots, w->entered[i].device, w->entered[i].inode) = w->entered[i];
        free(w->entered);
        w->entered = grown;
        w->entered_slots = slots;
    }
    folder_id *slot = find_slot(w->entered, w->entered_slots, facts->st_dev, facts->st_ino);
    *first = !slot->used;
    w->entered_count += *first;
    *slot = (folder_id){.device = facts->st_dev, .inode = facts->st_ino, .used = true};
    return VQZ_OK;
}

static vqz_status add_file(walker *w, const char *path) {
    corpus_files *files = w->files;
    if (files->count == w->capacity) {
        size_t capacity = VQZI_MAX((size_t)256, 2 * w->capacity);
        char **grown = realloc(files->paths, capacity * sizeof *grown);
        if (grown == NULL)
            return out_of_memory(w);
        files->paths = grown;
        w->capacity = capacity;
    }
    char *copy = strdup(path);
    if (copy == NULL)
        return out_of_memory(w);
    files->paths[files->count++] = copy;
    return VQZ_OK;
}

static void report(walker *w, const char *path, const char *reason) {
    w->files->unreadable++;
    if (w->options->skipped != NULL)
        w->options->skipped(w->options->user, path, reason);
}

const char *const picture_extensions[] = {"png", "jpg", "jpeg", "jpe", "jfif", "pnm",
                                          "ppm", "pgm", "pbm",  "pam", NULL};

static bool has_picture_extension(const char *name) {
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot != NULL && picture_extensions[i] != NULL; i++)
        if (strcasecmp(dot + 1, picture_extensions[i]) == 0)
            return true;
    return false;
}

static int is_visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

/* By bytes, not by locale, so that the order is the same everywhere. */
static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static vqz_status walk_folder(walker *w, const char *path, const struct stat *facts, int depth);

static vqz_status walk_entry(walker *w, const char *folder, const char *name, int depth) {
    size_t folder_length = strlen(folder), name_length = strlen(name);
    bool slash = folder_length > 0 && folder[folder_length - 1] == '/';
    char *path = malloc(folder_length + name_length + 2);
    if (path == NULL)
        return out_of_memory(w);
    memcpy(path, folder, folder_length);
    path[folder_length] = '/';
    memcpy(path + folder_length + !slash, name, name_length + 1);
    struct stat facts;
    vqz_status status = VQZ_OK;
    if (stat(path, &facts) != 0) {
        if (has_picture_extension(name))
            report(w, path, strerror(errno));
    } else if (S_ISDIR(facts.st_mode)) {
        status = walk_folder(w, path, &facts, depth);
    } else if (S_ISREG(facts.st_mode) && has_picture_extension(name)) {
        status = add_file(w, path);
    }
    free(path);
    return status;
}

static vqz_status walk_folder(walker *w, const char *path, const struct stat *facts, int depth) {
    bool first = false;
    VQZ_TRY(enter_folder(w, facts, &first));
    if (!first)
        return VQZ_OK;
    if (depth == MAX_DEPTH) {
        report(w, path, "folders are nested too deeply");
        return VQZ_OK;
    }
    struct dirent **entries;
    int count = scandir(path, &entries, is_visible, by_name);
    if (count < 0) {
        if (errno == ENOMEM)
            return out_of_memory(w);
        report(w, path, strerror(errno));
        return VQZ_OK;
    }
    vqz_status status = VQZ_OK;
    for (int i = 0; i < count; i++) {
        if (status == VQZ_OK)
            status = walk_entry(w, path, entries[i]->d_name, depth + 1);
        free(entries[i]);
    }
    free(entries);
    return status;
}

vqz_status corpus_walk(corpus_files *files, const corpus_options *options, vqz_diag *diag) {
    *files = (corpus_files){0};
    walker w = {.options = options, .files = files, .diag = diag};
    vqz_status status = VQZ_OK;
    for (size_t i = 0; i < options->path_count && status == VQZ_OK; i++) {
        struct stat facts;
        if (stat(options->paths[i], &facts) != 0)
            status = vqzi_fail(diag, VQZ_ERROR_IO, "%s: %s", options->paths[i], strerror(errno));
        else if (S_ISDIR(facts.st_mode))
            status = walk_folder(&w, options->paths[i], &facts, 0);
        else
            status = add_file(&w, options->paths[i]);
    }
    free(w.entered);
    if (status != VQZ_OK)
        corpus_files_free(files);
    return status;
}

void corpus_files_free(corpus_files *files) {
    for (size_t i = 0; i < files->count; i++)
        free(files->paths[i]);
    free(files->paths);
    *files = (corpus_files){0};
}
