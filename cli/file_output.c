/*
 * file_output.c - files out; see file.h.
 *
 * The one piece of state in the program is here: a signal handler can only reach static variables,
 * so the names of the temporary files in work are in a static table.  It changes, together with
 * what is on disk, only between enter_table and leave_table, with the handled signals blocked in
 * that thread. The handler runs in the main thread alone (it passes signals that arrive elsewhere
 * on), lets whoever is between the two finish, keeps the others out, and removes what is left.
 *
 * Nobody can remove a temporary file when SIGKILL or a power cut ends the program.  So its name
 * follows from the target's, and whoever writes it holds a lock on it: the next program that writes
 * the same target finds it, sees that nobody does, and removes it.
 *
 * Messages do not repeat the path: whoever reports them puts it in front.
 */
#include "cli/file.h"
#include "format/container.h" /* vqzi_crc32 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static char temporary_paths[FILE_MAX_OUTPUTS][PATH_MAX]; /* "": free */
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool table_in_use, ending;
static pthread_t main_thread;

static void handled_signals(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
}

static void on_signal(int number) {
    if (!pthread_equal(pthread_self(), main_thread)) {
        pthread_kill(main_thread, number);
        return;
    }
    ending = true;
    while (table_in_use)
        poll(NULL, 0, 1);
    for (size_t i = 0; i < FILE_MAX_OUTPUTS; i++)
        if (temporary_paths[i][0] != '\0')
            unlink(temporary_paths[i]);
    /* end as if the signal had never been handled; it is delivered when the handler returns */
    signal(number, SIG_DFL);
    raise(number);
}

static void enter_table(sigset_t *old) {
    sigset_t set;
    handled_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, old);
    pthread_mutex_lock(&table_lock);
    table_in_use = true;
    if (!ending)
        return;
    /* the handler is at work: the program is about to end, and must not leave anything new */
    table_in_use = false;
    for (;;)
        pause();
}

static void leave_table(const sigset_t *old) {
    table_in_use = false;
    pthread_mutex_unlock(&table_lock);
    pthread_sigmask(SIG_SETMASK, old, NULL);
}

void file_install_signal_handlers(void) {
    main_thread = pthread_self();
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    handled_signals(&action.sa_mask);
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction old;
        /* nohup and background shells ignore some: that stays so */
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
    }
    /* a closed pipe and a file size limit are to be errors of write() */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

/* ---- the target ---- */

/* The mask can only be read by changing it, which must not happen while another thread makes a
   file: every thread comes by here before it makes its first. */
static mode_t creation_mask;

static void read_creation_mask(void) {
    creation_mask = umask(0);
    umask(creation_mask);
}

/* What may be overwritten; *mode receives the permissions the new file gets. */
static vqz_status check_target(const char *path, bool force, mode_t *mode, vqz_diag *diag) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct stat facts;
    pthread_once(&once, read_creation_mask);
    if (stat(path, &facts) != 0) {
        if (errno != ENOENT)
            return file_fail(diag, "cannot write", errno);
        if (lstat(path, &facts) == 0)
            return vqzi_fail(diag, VQZ_ERROR_IO,
                             "is a symbolic link that leads nowhere; remove it or write elsewhere");
        *mode = 0666 & ~creation_mask;
        return VQZ_OK;
    }
    if (S_ISDIR(facts.st_mode))
        return vqzi_fail(diag, VQZ_ERROR_IO, "is a folder; name a file");
    if (!S_ISREG(facts.st_mode))
        return vqzi_fail(diag, VQZ_ERROR_IO,
                         "is not a regular file; name one, or write to - and redirect");
    if (!force)
        return vqzi_fail(diag, VQZ_ERROR_IO, "already exists; overwrite it with -f");
    *mode = facts.st_mode & 07777;
    return VQZ_OK;
}

vqz_status file_check_target(const char *path, bool force, vqz_diag *diag) {
    mode_t mode;
    return strcmp(path, "-") == 0 ? VQZ_OK : check_target(path, force, &mode, diag);
}

/* ---- output ---- */

enum {
    BUFFER_SIZE = 1 << 18,
    HELD_SIZE = 1 << 26 /* of standard output */
};

struct file_output {
    int handle;
    size_t slot; /* of the temporary file; FILE_MAX_OUTPUTS: none */
    char *target;
    mode_t mode;
    bool force;
    uint8_t *buffer;
    size_t used, capacity, hold; /* what exceeds hold is written */
};

/* ---- the temporary file ---- */

/* Whether a file that was opened and locked is still the one of this name. */
static bool is_still(int handle, const char *name) {
    struct stat opened, named;
    return fstat(handle, &opened) == 0 && lstat(name, &named) == 0 &&
           opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

/* Removes a temporary file that nobody writes any more.  In doubt it stays. */
static bool remove_abandoned(const char *name) {
    int handle = open(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat facts;
    bool removed = handle >= 0 && fstat(handle, &facts) == 0 && S_ISREG(facts.st_mode) &&
                   flock(handle, LOCK_EX | LOCK_NB) == 0 && is_still(handle, name) &&
                   unlink(name) == 0;
    if (handle >= 0)
        close(handle);
    return removed;
}

/* A new file of this name, locked where the file system has locks; -1 with errno. */
static int create_locked(const char *name) {
    for (;;) {
        int handle = open(name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (handle < 0 && errno == EEXIST && remove_abandoned(name))
            continue;
        if (handle < 0)
            return -1;
        (void)!flock(handle, LOCK_EX);
        if (is_still(handle, name))
            return handle;
        close(handle); /* taken for abandoned before it was locked */
    }
}

/* Creates it beside the target, with its name where the signal handler finds it: the first of
   ".vqz-HASH-0", -1, ... that is not in work.  Returns 0 or an errno. */
static int create_temporary(file_output *o) {
    enum { MAX_TRIES = 1000 };
    const char *slash = strrchr(o->target, '/'), *base = slash == NULL ? o->target : slash + 1;
    char name[PATH_MAX];
    sigset_t old;
    int error = EMFILE;
    enter_table(&old);
    size_t slot = 0;
    while (slot < FILE_MAX_OUTPUTS && temporary_paths[slot][0] != '\0')
        slot++;
    for (int i = 0; slot < FILE_MAX_OUTPUTS && i < MAX_TRIES; i++) {
        int length = snprintf(name, sizeof name, "%.*s.vqz-%08x-%d", (int)(base - o->target),
                              o->target, vqzi_crc32(0, base, strlen(base)), i);
        error = ENAMETOOLONG;
        if (length < 0 || (size_t)length >= sizeof name)
            break;
        o->handle = create_locked(name);
        error = o->handle < 0 ? errno : 0;
        if (error != EEXIST)
            break;
    }
    if (error == 0) {
        memcpy(temporary_paths[slot], name, strlen(name) + 1);
        o->slot = slot;
    }
    leave_table(&old);
    return error;
}

/* Without force an existing target is left alone, also one that appeared a moment ago. */
static int rename_to(const char *target, const char *name, bool force) {
    if (!force) {
#ifdef RENAME_NOREPLACE
        if (renameat2(AT_FDCWD, name, AT_FDCWD, target, RENAME_NOREPLACE) == 0)
            return 0;
        if (errno != EINVAL && errno != ENOSYS)
            return errno;
#endif
        if (link(name, target) == 0) {
            unlink(name);
            return 0;
        }
        if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS)
            return errno;
        /* a file system with neither: the check made before writing has to do */
    }
    return rename(name, target) == 0 ? 0 : errno;
}

static int move_into_place(file_output *o) {
    sigset_t old;
    enter_table(&old);
    int error = rename_to(o->target, temporary_paths[o->slot], o->force);
    if (error == 0) {
        temporary_paths[o->slot][0] = '\0';
        o->slot = FILE_MAX_OUTPUTS;
    }
    leave_table(&old);
    return error;
}

int file_sync_folder(const char *file) {
    const char *slash = strrchr(file, '/');
    char folder[PATH_MAX] = ".";
    if (slash != NULL)
        snprintf(folder, sizeof folder, "%.*s", (int)(slash - file) + 1, file);
    int handle = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (handle < 0)
        return errno;
    int error = fsync(handle) == 0 ? 0 : errno;
    close(handle);
    /* some file systems cannot, and need not */
    return error == EINVAL || error == EROFS || error == ENOTSUP ? 0 : error;
}

/* ---- output in pieces ---- */

vqz_status file_create(file_output **output, const char *path, bool force, vqz_diag *diag) {
    bool standard = strcmp(path, "-") == 0;
    mode_t mode = 0;
    if (!standard)
        VQZ_TRY(check_target(path, force, &mode, diag));
    else if (isatty(STDOUT_FILENO) == 1 && !force)
        return vqzi_fail(diag, VQZ_ERROR_IO,
                         "is a terminal, which binary data would garble; redirect it, name a file "
                         "with -o, or force it with -f");
    file_output *o = calloc(1, sizeof *o);
    if (o == NULL)
        return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory");
    *o = (file_output){.handle = standard ? STDOUT_FILENO : -1,
                       .slot = FILE_MAX_OUTPUTS,
                       .mode = mode,
                       .force = force,
                       .hold = standard ? HELD_SIZE : BUFFER_SIZE};
    int error = 0;
    if (!standard) {
        /* a link keeps being one: its target is what gets replaced */
        o->target = realpath(path, NULL);
        if (o->target == NULL)
            o->target = strdup(path);
        error = o->target == NULL ? ENOMEM : create_temporary(o);
    }
    if (error != 0) {
        file_close(o);
        return file_fail(diag, "cannot write", error);
    }
    *output = o;
    return VQZ_OK;
}

/* 0 or an errno. */
static int write_all(int handle, const uint8_t *data, size_t size) {
    while (size > 0) {
        ssize_t written = write(handle, data, VQZI_MIN(size, (size_t)1 << 30));
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return errno;
        data += written;
        size -= (size_t)written;
    }
    return 0;
}

static int flush(file_output *o) {
    int error = write_all(o->handle, o->buffer, o->used); /* NOLINT(*NullDereference) */
    o->used = 0;
    o->hold = BUFFER_SIZE; /* once something is out, there is no reason to hold the rest */
    return error;
}

vqz_status file_append(file_output *o, const void *data, size_t size, vqz_diag *diag) {
    int error = 0;
    if (size > o->hold - o->used) /* NOLINT(*NullDereference) */
        error = flush(o);
    if (error == 0 && size > o->hold) {
        error = write_all(o->handle, data, size);
        size = 0;
    }
    if (error == 0 && size > o->capacity - o->used) {
        size_t grown = VQZI_MAX(2 * (o->used + size), (size_t)BUFFER_SIZE);
        uint8_t *larger = realloc(o->buffer, grown);
        if (larger == NULL)
            return vqzi_fail(diag, VQZ_ERROR_MEMORY, "out of memory for output");
        o->buffer = larger;
        o->capacity = grown;
    }
    if (error != 0)
        return file_fail(diag, "cannot write", error);
    if (size > 0)
        memcpy(o->buffer + o->used, data, size);
    o->used += size;
    return VQZ_OK;
}

vqz_status file_commit(file_output *o, vqz_diag *diag) {
    int error = flush(o);
    if (o->target == NULL)
        return error == 0 ? VQZ_OK : file_fail(diag, "cannot write", error);
    if (error == 0 && fchmod(o->handle, o->mode) != 0 && errno != EPERM)
        error = errno;
    if (error == 0 && fsync(o->handle) != 0 && errno != EINVAL)
        error = errno;
    if (close(o->handle) != 0 && error == 0)
        error = errno;
    o->handle = -1;
    if (error == 0)
        error = move_into_place(o);
    if (error == EEXIST && !o->force)
        return vqzi_fail(diag, VQZ_ERROR_IO, "already exists; overwrite it with -f");
    if (error == 0)
        error = file_sync_folder(o->target);
    /* a folder that may be written and not read cannot be synced */
    return error == 0 || error == EACCES ? VQZ_OK : file_fail(diag, "cannot write", error);
}

void file_close(file_output *o) {
    if (o == NULL)
        return;
    if (o->target != NULL && o->handle >= 0)
        close(o->handle);
    if (o->slot < FILE_MAX_OUTPUTS) {
        sigset_t old;
        enter_table(&old);
        unlink(temporary_paths[o->slot]);
        temporary_paths[o->slot][0] = '\0';
        leave_table(&old);
    }
    free(o->target);
    free(o->buffer);
    free(o);
}

static vqz_status write_spans(const char *path, const byte_span *spans, size_t count, bool force,
                              vqz_diag *diag) {
    file_output *output = NULL;
    VQZ_TRY(file_create(&output, path, force, diag));
    vqz_status status = VQZ_OK;
    for (size_t i = 0; i < count && status == VQZ_OK; i++)
        status = file_append(output, spans[i].data, spans[i].size, diag);
    if (status == VQZ_OK)
        status = file_commit(output, diag);
    file_close(output);
    return status;
}

vqz_status file_write(const char *path, const void *data, size_t size, bool force, vqz_diag *diag) {
    return write_spans(path, &(byte_span){data, size}, 1, force, diag);
}

vqz_status file_replace(const char *path, const byte_span *spans, size_t count, vqz_diag *diag) {
    return write_spans(path, spans, count, true, diag);
}
