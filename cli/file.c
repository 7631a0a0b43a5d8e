/*
 * file.c - reading: whole files, and files that are read as they are used (see source.h); folders.
 *
 * Messages do not repeat the path: whoever reports them puts it in front.
 */
#include "cli/file.h"
#include "cli/source.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void file_hold_standard_streams(void) {
    for (int number = STDIN_FILENO; number <= STDERR_FILENO; number++) {
        if (fcntl(number, F_GETFD) >= 0 || errno != EBADF)
            continue;
        /* the wrong way round: using it fails, as using a closed stream does */
        int handle = open("/dev/null", number == STDIN_FILENO ? O_WRONLY : O_RDONLY);
        if (handle >= 0 && handle != number)
            close(handle);
    }
}

vqz_status file_fail(vqz_diag *diag, const char *doing, int error) {
    vqz_status status = error == ENOMEM ? VQZ_ERROR_MEMORY : VQZ_ERROR_IO;
    const char *remedy = "";
    switch (error) {
    case ENOSPC:
    case EDQUOT:
        remedy = "; free some space or write elsewhere with -o";
        break;
    case EFBIG:
        remedy = "; raise the limit on file sizes or write elsewhere with -o";
        break;
    case EACCES:
    case EPERM:
    case EROFS:
        remedy = "; check the permissions of the file and its folder";
        break;
    case ENOENT:
        remedy = "; check the path";
        break;
    case ENOTDIR:
        remedy = "; a part of the path is a file: check the path";
        break;
    default:
        break;
    }
    return vqzi_fail(diag, status, "%s: %s%s", doing, strerror(error), remedy);
}

/* ---- reading ---- */

static vqz_status too_large(size_t max_size, vqz_diag *diag) {
    return vqzi_fail(diag, VQZ_ERROR_LIMIT,
                     "is larger than %zu bytes; raise --max-pixels or --max-memory", max_size);
}

static void leave_input(int handle) {
    if (handle != STDIN_FILENO)
        close(handle);
}

static vqz_status read_all(int handle, size_t hint, size_t max_size, void **data, size_t *size,
                           vqz_diag *diag) {
    size_t capacity = hint < max_size ? hint + 1 : max_size, used = 0;
    if (capacity == 0)
        capacity = 1;
    uint8_t *buffer = malloc(capacity);
    vqz_status status = VQZ_OK;
    if (buffer == NULL)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "no memory for %zu bytes of file", capacity);
    for (;;) {
        if (used == capacity) {
            uint8_t probe;
            if (capacity >= max_size) { /* full: the end must be here */
                ssize_t got;
                do
                    got = read(handle, &probe, 1);
                while (got < 0 && errno == EINTR);
                if (got == 0)
                    break;
                status =
                    got < 0 ? file_fail(diag, "cannot read", errno) : too_large(max_size, diag);
                goto done;
            }
            size_t grown = capacity > max_size / 2 ? max_size : capacity * 2;
            if (grown < 65536 && max_size > 65536)
                grown = 65536;
            uint8_t *larger = realloc(buffer, grown);
            if (larger == NULL) {
                status =
                    vqzi_fail(diag, VQZ_ERROR_MEMORY, "no memory for %zu bytes of file", grown);
                goto done;
            }
            buffer = larger;
            capacity = grown;
        }
        /* one read may not ask for more than SSIZE_MAX, and Linux stops at 2 GiB anyway */
        ssize_t got = read(handle, buffer + used, VQZI_MIN(capacity - used, (size_t)1 << 30));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            status = file_fail(diag, "cannot read", errno);
            goto done;
        }
        if (got == 0)
            break;
        used += (size_t)got;
    }
    *data = buffer;
    *size = used;
    return VQZ_OK;
done:
    free(buffer);
    return status;
}

/* Opens a file to read, which may be standard input; *handle is closed by leave_input. */
static vqz_status enter_input(const char *path, int *handle, struct stat *facts, vqz_diag *diag) {
    bool standard = strcmp(path, "-") == 0;
    *handle = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (*handle < 0)
        return file_fail(diag, "cannot open", errno);
    vqz_status status = VQZ_OK;
    if (fstat(*handle, facts) != 0)
        status = file_fail(diag, standard ? "cannot read" : "cannot examine", errno);
    else if (S_ISDIR(facts->st_mode))
        status = vqzi_fail(diag, VQZ_ERROR_IO, "is a folder; a file is needed here");
    if (status != VQZ_OK)
        leave_input(*handle);
    return status;
}

vqz_status file_read(const char *path, size_t max_size, void **data, size_t *size, vqz_diag *diag) {
    int handle;
    struct stat facts;
    VQZ_TRY(enter_input(path, &handle, &facts, diag));
    vqz_status status;
    if (S_ISREG(facts.st_mode) && (uintmax_t)facts.st_size > max_size)
        status = too_large(max_size, diag);
    else
        status = read_all(handle, S_ISREG(facts.st_mode) ? (size_t)facts.st_size : 65536, max_size,
                          data, size, diag);
    leave_input(handle);
    return status;
}

/* ---- sources that may be deleted ---- */

void file_mark_source(file_mark *mark, const char *path) {
    mark->known = lstat(path, &mark->facts) == 0;
}

vqz_status file_remove_source(const file_mark *mark, const char *path, vqz_diag *diag) {
    struct stat now;
    const struct stat *then = &mark->facts;
    if (!mark->known || lstat(path, &now) != 0)
        return file_fail(diag, "cannot be deleted", errno);
    if (!S_ISREG(now.st_mode))
        return vqzi_fail(diag, VQZ_ERROR_IO, "is a link or no regular file, and is kept");
    if (now.st_dev != then->st_dev || now.st_ino != then->st_ino || now.st_size != then->st_size ||
        now.st_mtim.tv_sec != then->st_mtim.tv_sec || now.st_mtim.tv_nsec != then->st_mtim.tv_nsec)
        return vqzi_fail(diag, VQZ_ERROR_IO, "has changed while it was read, and is kept");
    return unlink(path) == 0 ? VQZ_OK : file_fail(diag, "cannot be deleted", errno);
}

/* ---- files that are read as they are used ---- */

enum { WINDOW_SIZE = 1 << 16 };

struct source {
    int handle;  /* -1: everything is in memory */
    off_t start; /* standard input may have been read from already */
    uint64_t size;
    const uint8_t *bytes; /* the window on the file, or everything */
    uint64_t first;       /* offset of bytes[0] */
    size_t held;          /* how many there are */
    uint8_t *own;         /* malloc'ed, what bytes points to, or NULL */
};

vqz_status source_from_memory(source **out, const void *data, size_t size, vqz_diag *diag) {
    source *s = malloc(sizeof *s);
    if (s == NULL)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory");
    *s = (source){.handle = -1, .size = size, .bytes = data, .held = size};
    *out = s;
    return VQZ_OK;
}

static vqz_status source_from_file(source **out, int handle, const struct stat *facts,
                                   vqz_diag *diag) {
    off_t start = lseek(handle, 0, SEEK_CUR);
    if (start < 0)
        return file_fail(diag, "cannot read", errno);
    uint8_t *window = malloc(WINDOW_SIZE);
    if (window == NULL)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory");
    uint64_t size = facts->st_size > start ? (uint64_t)(facts->st_size - start) : 0;
    vqz_status status = source_from_memory(out, window, 0, diag);
    if (status != VQZ_OK) {
        free(window);
        return status;
    }
    (*out)->handle = handle;
    (*out)->start = start;
    (*out)->size = size;
    (*out)->own = window;
    return VQZ_OK;
}

vqz_status source_open(source **out, const char *path, size_t max_size, vqz_diag *diag) {
    int handle;
    struct stat facts;
    VQZ_TRY(enter_input(path, &handle, &facts, diag));
    /* some file systems (that of /proc) do not know their sizes */
    if (S_ISREG(facts.st_mode) && facts.st_size > 0) {
        vqz_status status = source_from_file(out, handle, &facts, diag);
        if (status != VQZ_OK)
            leave_input(handle);
        return status;
    }
    void *data = NULL;
    size_t size = 0;
    vqz_status status = read_all(handle, 65536, max_size, &data, &size, diag);
    leave_input(handle);
    if (status != VQZ_OK)
        return status;
    status = source_from_memory(out, data, size, diag);
    if (status != VQZ_OK)
        free(data);
    else
        (*out)->own = data;
    return status;
}

void source_close(source *s) {
    if (s == NULL)
        return;
    if (s->handle >= 0)
        leave_input(s->handle);
    free(s->own);
    free(s);
}

uint64_t source_size(const source *s) {
    return s->size;
}

vqz_status source_at(source *s, uint64_t offset, const uint8_t **data, size_t *available,
                     vqz_diag *diag) {
    bool inside = offset >= s->first && offset - s->first < s->held;
    if (!inside && s->handle >= 0 && offset < s->size) {
        ssize_t got;
        do
            got = pread(s->handle, s->own, WINDOW_SIZE, s->start + (off_t)offset);
        while (got < 0 && errno == EINTR);
        if (got < 0)
            return file_fail(diag, "cannot read", errno);
        s->first = offset;
        s->held = (size_t)got; /* 0: the file has become shorter */
        inside = got > 0;
    }
    *data = inside ? s->bytes + (size_t)(offset - s->first) : s->bytes;
    *available = inside ? s->held - (size_t)(offset - s->first) : 0;
    return VQZ_OK;
}

vqz_status source_copy(source *s, uint64_t offset, void *dst, size_t size, size_t *got,
                       vqz_diag *diag) {
    uint8_t *to = dst;
    *got = 0;
    while (*got < size) {
        const uint8_t *data;
        size_t available;
        VQZ_TRY(source_at(s, offset + *got, &data, &available, diag));
        if (available == 0)
            break;
        available = VQZI_MIN(available, size - *got);
        memcpy(to + *got, data, available);
        *got += available;
    }
    return VQZ_OK;
}

/* ---- folders ---- */

vqz_status file_make_folder(const char *path, vqz_diag *diag) {
    char partial[PATH_MAX];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof partial)
        return vqzi_fail(diag, VQZ_ERROR_IO, "is no usable folder name");
    memcpy(partial, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (partial[i] != '/' && partial[i] != '\0')
            continue;
        char kept = partial[i];
        partial[i] = '\0';
        struct stat facts;
        if (mkdir(partial, 0777) == 0)
            (void)!file_sync_folder(partial); /* a parent that cannot be read cannot be synced */
        else if (errno != EEXIST)
            return file_fail(diag, "cannot create the folder", errno);
        if (stat(partial, &facts) != 0)
            return file_fail(diag, "cannot create the folder", errno);
        if (!S_ISDIR(facts.st_mode))
            return vqzi_fail(diag, VQZ_ERROR_IO, "cannot create the folder: %s is a file", partial);
        partial[i] = kept;
    }
    return VQZ_OK;
}
