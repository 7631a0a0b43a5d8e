/*
 * models.c - finds and loads models; see models.h.
 */
#include "cli/models.h"
#include "cli/file.h"
#include "cli/text.h"
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAX_LOADED = 8,      /* models kept for the next file, beside those in use */
    HEADER_SIZE = 3 + 1 + 10 + 32 /* magic, version, the longest varint, hash */
};

typedef struct loaded_model {
    char *source; /* path, or "default" */
    uint8_t hash[4];
    vqz_model *model;
    size_t users;
} loaded_model;

struct model_store {
    vqz_limits limits;
    text_list folders; /* the search path */
    pthread_mutex_t lock; /* for what follows; held while loading, so that nothing loads twice */
    loaded_model *loaded; /* the oldest first */
    size_t loaded_count, loaded_capacity;
};

static const char default_name[] = "default";

/* ---- search path ---- */

/* Adds the parts of a colon list, each with `below` appended; empty and relative XDG parts do not
   count (XDG base directory specification). */
static vqz_status add_folders(text_list *folders, const char *list, const char *below) {
    while (*list != '\0') {
        size_t length = strcspn(list, ":");
        if (length > 0 && (below[0] == '\0' || list[0] == '/'))
            VQZ_TRY(text_list_add(folders, text_format("%.*s%s", (int)length, list, below)));
        list += length;
        list += *list == ':';
    }
    return VQZ_OK;
}

static vqz_status find_folders(text_list *folders) {
    static const char below[] = "/vqz/models";
    const char *path = getenv("VQZ_MODEL_PATH");
    if (path != NULL)
        VQZ_TRY(add_folders(folders, path, ""));
    const char *home = getenv("HOME"), *data_home = getenv("XDG_DATA_HOME");
    if (data_home != NULL && data_home[0] == '/')
        VQZ_TRY(text_list_add(folders, text_format("%s%s", data_home, below)));
    else if (home != NULL && home[0] != '\0')
        VQZ_TRY(text_list_add(folders, text_format("%s/.local/share%s", home, below)));
    const char *dirs = getenv("XDG_DATA_DIRS");
    if (dirs == NULL || dirs[0] == '\0')
        dirs = "/usr/local/share:/usr/share";
    return add_folders(folders, dirs, below);
}

vqz_status models_create(model_store **store, const vqz_limits *limits, vqz_diag *diag) {
    model_store *created = calloc(1, sizeof *created);
    if (created == NULL || find_folders(&created->folders) != VQZ_OK) {
        models_free(created);
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory");
    }
    created->limits = *limits;
    pthread_mutex_init(&created->lock, NULL);
    *store = created;
    return VQZ_OK;
}

void models_free(model_store *store) {
    if (store == NULL)
        return;
    for (size_t i = 0; i < store->loaded_count; i++) {
        free(store->loaded[i].source);
        vqz_model_free(store->loaded[i].model);
    }
    free(store->loaded);
    text_list_clear(&store->folders);
    free(store);
}

/* ---- headers ---- */

/* The hash in the first bytes of a .vqm file of version 1 or 2; false when they are none.  A wrong guess does no
   harm: the model is checked in full when it is loaded. */
static bool header_hash(const uint8_t *data, size_t size, uint8_t hash[4]) {
    if (size < 5 || memcmp(data, "VQM", 3) != 0 || (data[3] != 1 && data[3] != 2))
        return false;
    size_t at = 4;
    while (at < size && at < 14 && (data[at] & 0x80) != 0)
        at++;
    at++;
    if (at > size || size - at < 32)
        return false;
    memcpy(hash, data + at, 4);
    return true;
}

static bool file_hash(const char *path, uint8_t hash[4]) {
    /* not blocking: a model folder may hold a pipe, and nothing will ever come from it */
    int handle = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (handle < 0)
        return false;
    uint8_t header[HEADER_SIZE];
    ssize_t got = read(handle, header, sizeof header);
    close(handle);
    return got > 0 && header_hash(header, (size_t)got, hash);
}

static bool default_hash(uint8_t hash[4]) {
    size_t size;
    const void *data = vqz_default_model(&size);
    return header_hash(data, size, hash);
}

/* ---- finding ---- */

static bool is_file(const char *path) {
    struct stat facts;
    return stat(path, &facts) == 0 && !S_ISDIR(facts.st_mode);
}

/* The path behind a name; fresh memory, NULL when it is nowhere (or there is no memory). */
static char *find_name(const model_store *store, const char *name) {
    if (strchr(name, '/') != NULL || is_file(name))
        return text_format("%s", name);
    for (size_t i = 0; i < store->folders.count; i++) {
        static const char *const endings[] = { "", ".vqm" };
        for (size_t j = 0; j < 2; j++) {
            char *path = text_format("%s/%s%s", store->folders.items[i], name, endings[j]);
            if (path != NULL && is_file(path))
                return path;
            free(path);
        }
    }
    return NULL;
}

/* A .vqm with this hash directly in folder; fresh memory. */
static char *find_hash_in(const char *folder, const uint8_t hash[4]) {
    static const char *const extensions[] = { "vqm", NULL };
    DIR *handle = opendir(folder);
    if (handle == NULL)
        return NULL;
    char *found = NULL;
    for (struct dirent *entry; found == NULL && (entry = readdir(handle)) != NULL;) {
        uint8_t own[4];
        if (!path_has_extension(entry->d_name, extensions))
            continue;
        char *path = path_join(folder, entry->d_name);
        if (path != NULL && file_hash(path, own) && memcmp(own, hash, 4) == 0)
            found = path;
        else
            free(path);
    }
    closedir(handle);
    return found;
}

static char *find_hash(const model_store *store, const uint8_t hash[4], const char *beside) {
    char *found = NULL;
    for (size_t i = 0; found == NULL && i < store->folders.count; i++)
        found = find_hash_in(store->folders.items[i], hash);
    if (found == NULL && beside != NULL && strcmp(beside, "-") != 0) {
        char *folder = path_folder(beside);
        if (folder != NULL)
            found = find_hash_in(folder, hash);
        free(folder);
    }
    return found;
}

char *models_locate(const model_store *store, const uint8_t hash[4], const char *beside) {
    uint8_t own[4];
    if (default_hash(own) && memcmp(own, hash, 4) == 0)
        return text_format("%s", default_name);
    return find_hash(store, hash, beside);
}

/* ---- loading ---- */

/* Makes room for one more: the oldest that nobody uses goes when there are many. */
static vqz_status make_room(model_store *store) {
    for (size_t i = 0; i < store->loaded_count && store->loaded_count >= MAX_LOADED; i++) {
        if (store->loaded[i].users > 0)
            continue;
        free(store->loaded[i].source);
        vqz_model_free(store->loaded[i].model);
        store->loaded_count--;
        memmove(&store->loaded[i], &store->loaded[i + 1],
                (store->loaded_count - i) * sizeof *store->loaded);
        i--;
    }
    if (store->loaded_count < store->loaded_capacity)
        return VQZ_OK;
    size_t capacity = store->loaded_capacity == 0 ? MAX_LOADED : store->loaded_capacity * 2;
    loaded_model *loaded = realloc(store->loaded, capacity * sizeof *loaded);
    if (loaded == NULL)
        return VQZ_ERROR_MEMORY;
    store->loaded = loaded;
    store->loaded_capacity = capacity;
    return VQZ_OK;
}

static vqz_status load(model_store *store, const char *source, const void *data, size_t size,
                       const vqz_model **model, vqz_diag *diag) {
    vqz_diag inner = { "" };
    vqz_model *fresh;
    vqz_status status = vqz_model_load(&fresh, data, size, &store->limits, &inner);
    if (status != VQZ_OK)
        return vqzi_fail(diag, status, "model %s: %s%s", source, inner.message,
                         status == VQZ_ERROR_LIMIT ? " (--max-macs, --max-memory)" : "");
    char *name = text_format("%s", source);
    if (name == NULL || make_room(store) != VQZ_OK) {
        free(name);
        vqz_model_free(fresh);
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory");
    }
    vqz_model_info info;
    vqz_model_get_info(fresh, &info);
    loaded_model *slot = &store->loaded[store->loaded_count++];
    *slot = (loaded_model){ .source = name, .model = fresh, .users = 1 };
    memcpy(slot->hash, info.hash, 4);
    *model = fresh;
    return VQZ_OK;
}

/* Hands out what is there already: the model from this source, or with this hash. */
static bool borrow_loaded(model_store *store, const char *source, const uint8_t *hash,
                          const vqz_model **model) {
    for (size_t i = 0; i < store->loaded_count; i++) {
        loaded_model *m = &store->loaded[i];
        if ((source == NULL || strcmp(m->source, source) != 0) &&
            (hash == NULL || memcmp(m->hash, hash, 4) != 0))
            continue;
        m->users++;
        *model = m->model;
        return true;
    }
    return false;
}

static vqz_status load_default(model_store *store, const vqz_model **model, vqz_diag *diag) {
    if (borrow_loaded(store, default_name, NULL, model))
        return VQZ_OK;
    size_t size;
    const void *data = vqz_default_model(&size);
    if (size == 0)
        return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                         "this build has no default model; give one with -m MODEL");
    return load(store, default_name, data, size, model, diag);
}

static vqz_status load_path(model_store *store, const char *path, const vqz_model **model,
                            vqz_diag *diag) {
    if (borrow_loaded(store, path, NULL, model))
        return VQZ_OK;
    void *data;
    size_t size;
    vqz_diag inner = { "" };
    vqz_status status = file_read(path, (size_t)store->limits.max_memory, &data, &size, &inner);
    if (status != VQZ_OK)
        return vqzi_fail(diag, status, "model %s: %s", path, inner.message);
    status = load(store, path, data, size, model, diag);
    free(data);
    return status;
}

/* The folders of the search path for a message; fresh memory, NULL when there is none. */
static char *describe_folders(const model_store *store) {
    char *text = text_format("%s", "");
    for (size_t i = 0; text != NULL && i < store->folders.count; i++) {
        char *longer = text_format("%s%s%s", text, i == 0 ? "" : ", ", store->folders.items[i]);
        free(text);
        text = longer;
    }
    return text;
}

static vqz_status fail_name(const model_store *store, const char *name, vqz_diag *diag) {
    char *folders = describe_folders(store);
    vqz_status status = vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                                  "model %s: found neither here nor in %.300s; give its path", name,
                                  folders == NULL ? "the search path" : folders);
    free(folders);
    return status;
}

static vqz_status borrow_by_name(model_store *store, const char *name, const vqz_model **model,
                                 vqz_diag *diag) {
    if (name == NULL || strcmp(name, default_name) == 0)
        return load_default(store, model, diag);
    char *path = find_name(store, name);
    if (path == NULL)
        return fail_name(store, name, diag);
    vqz_status status = load_path(store, path, model, diag);
    free(path);
    return status;
}

vqz_status models_by_name(model_store *store, const char *name, const vqz_model **model,
                          vqz_diag *diag) {
    pthread_mutex_lock(&store->lock);
    vqz_status status = borrow_by_name(store, name, model, diag);
    pthread_mutex_unlock(&store->lock);
    return status;
}

static void give_back(model_store *store, const vqz_model *model) {
    for (size_t i = 0; i < store->loaded_count; i++)
        if (store->loaded[i].model == model)
            store->loaded[i].users--;
}

void models_return(model_store *store, const vqz_model *model) {
    if (model == NULL)
        return;
    pthread_mutex_lock(&store->lock);
    give_back(store, model);
    pthread_mutex_unlock(&store->lock);
}

vqz_status models_read(const model_store *store, const char *name, void **data, size_t *size,
                       vqz_diag *diag) {
    if (strcmp(name, default_name) == 0) {
        const void *builtin = vqz_default_model(size);
        *data = *size == 0 ? NULL : malloc(*size);
        if (*data == NULL)
            return vqzi_fail(diag, VQZ_ERROR_ARGUMENT,
                             "this build has no default model; give another one");
        memcpy(*data, builtin, *size);
        return VQZ_OK;
    }
    char *path = find_name(store, name);
    if (path == NULL)
        return fail_name(store, name, diag);
    vqz_diag inner = { "" };
    vqz_status status = file_read(path, (size_t)store->limits.max_memory, data, size, &inner);
    if (status != VQZ_OK)
        status = vqzi_fail(diag, status, "model %s: %s", path, inner.message);
    free(path);
    return status;
}

static vqz_status borrow_by_hash(model_store *store, const uint8_t hash[4], const char *name,
                                 const char *beside, const vqz_model **model, vqz_diag *diag) {
    char wanted[9], given[9] = "", own_text[64] = "";
    text_hash4(wanted, hash);
    if (name != NULL) {
        /* a model named by the user that cannot be read is an error, not a reason to search on */
        const vqz_model *named;
        VQZ_TRY(borrow_by_name(store, name, &named, diag));
        vqz_model_info info;
        vqz_model_get_info(named, &info);
        if (memcmp(info.hash, hash, 4) == 0) {
            *model = named;
            return VQZ_OK;
        }
        give_back(store, named);
        text_hash4(given, info.hash);
        snprintf(own_text, sizeof own_text, " (the one given with -m is %s)", given);
    }
    if (borrow_loaded(store, NULL, hash, model))
        return VQZ_OK;
    uint8_t own[4];
    if (default_hash(own) && memcmp(own, hash, 4) == 0)
        return load_default(store, model, diag);
    char *path = find_hash(store, hash, beside);
    if (path != NULL) {
        vqz_status status = load_path(store, path, model, diag);
        free(path);
        return status;
    }
    char *folders = describe_folders(store);
    vqz_status status =
        vqzi_fail(diag, VQZ_ERROR_MODEL_MISMATCH,
                  "needs the model with hash %s%s, which is neither built in nor in %.260s, nor "
                  "beside the file; give it with -m MODEL",
                  wanted, own_text, folders == NULL ? "the search path" : folders);
    free(folders);
    return status;
}

vqz_status models_by_hash(model_store *store, const uint8_t hash[4], const char *name,
                          const char *beside, const vqz_model **model, vqz_diag *diag) {
    pthread_mutex_lock(&store->lock);
    vqz_status status = borrow_by_hash(store, hash, name, beside, model, diag);
    pthread_mutex_unlock(&store->lock);
    return status;
}
