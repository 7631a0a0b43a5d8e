/*
 * file.c - whole files in and out; see file.h.
 *
 * The one piece of state in the program is here: a signal handler can only reach a static variable,
 * so the name of the temporary file in work is one.  It changes only in the main thread, with the
 * handled signals blocked; the handler passes signals that arrive in another thread on to it.
 * Messages do not repeat the path: whoever reports them puts it in front.
 */
#include "cli/file.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char temporary_path[PATH_MAX]; /* "" when there is none */
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
    if (temporary_path[0] != '\0')
        unlink(temporary_path);
    /* end as if the signal had never been handled; it is delivered when the handler returns */
    signal(number, SIG_DFL);
    raise(number);
}

void file_install_signal_handlers(void) {
    main_thread = pthread_self();
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    handled_signals(&action.sa_mask);
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
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

static vqz_status fail_errno(vqz_diag *diag, const char *doing, int error) {
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
                status = vqzi_fail(diag, VQZ_ERROR_LIMIT,
                                   "is larger than %zu bytes; raise --max-pixels or --max-memory",
                                   max_size);
                goto done;
            }
            size_t grown = capacity > max_size / 2 ? max_size : capacity * 2;
            if (grown < 65536 && max_size > 65536)
                grown = 65536;
            uint8_t *larger = realloc(buffer, grown);
            if (larger == NULL) {
                status = vqzi_fail(diag, VQZ_ERROR_MEMORY, "no memory for %zu bytes of file",
                                   grown);
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
            status = fail_errno(diag, "cannot read", errno);
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

vqz_status file_read(const char *path, size_t max_size, void **data, size_t *size,
                     vqz_diag *diag) {
    if (strcmp(path, "-") == 0)
        return read_all(STDIN_FILENO, 65536, max_size, data, size, diag);
    int handle = open(path, O_RDONLY | O_CLOEXEC);
    if (handle < 0)
        return fail_errno(diag, "cannot open", errno);
    struct stat facts;
    vqz_status status;
    if (fstat(handle, &facts) != 0)
        status = fail_errno(diag, "cannot examine", errno);
    else if (S_ISDIR(facts.st_mode))
        status = vqzi_fail(diag, VQZ_ERROR_IO, "is a folder; a file is needed here");
    else if (S_ISREG(facts.st_mode) && (uintmax_t)facts.st_size > max_size)
        status = vqzi_fail(diag, VQZ_ERROR_LIMIT,
                           "is larger than %zu bytes; raise --max-pixels or --max-memory",
                           max_size);
    else
        status = read_all(handle, S_ISREG(facts.st_mode) ? (size_t)facts.st_size : 65536, max_size,
                          data, size, diag);
    close(handle);
    return status;
}

/* ---- writing ---- */

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

static vqz_status write_standard_output(const void *data, size_t size, bool force,
                                        vqz_diag *diag) {
    if (isatty(STDOUT_FILENO) == 1 && !force)
        return vqzi_fail(diag, VQZ_ERROR_IO,
                         "is a terminal, which binary data would garble; redirect it, name a file "
                         "with -o, or force it with -f");
    int error = write_all(STDOUT_FILENO, data, size);
    return error == 0 ? VQZ_OK : fail_errno(diag, "cannot write", error);
}

/* Moves the temporary file to its target; without force an existing target is left alone, also one
   that appeared a moment ago.  Returns 0 or an errno. */
static int move_into_place(const char *source, const char *target, bool force) {
    if (!force) {
#ifdef RENAME_NOREPLACE
        if (renameat2(AT_FDCWD, source, AT_FDCWD, target, RENAME_NOREPLACE) == 0)
            return 0;
        if (errno != EINVAL && errno != ENOSYS)
            return errno;
#endif
        if (link(source, target) == 0) {
            unlink(source);
            return 0;
        }
        if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS)
            return errno;
        /* a file system with neither: the check made before writing has to do */
    }
    return rename(source, target) == 0 ? 0 : errno;
}

static void sync_folder(const char *folder) {
    int handle = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (handle >= 0) {
        /* some file systems cannot; the data themselves are safe by now */
        (void)!fsync(handle);
        close(handle);
    }
}

/* Creates the temporary file beside target, with its name where the signal handler finds it. */
static int create_temporary(const char *target, int *handle) {
    const char *slash = strrchr(target, '/');
    int folder_length = slash == NULL ? 0 : (int)(slash - target) + 1;
    char name[PATH_MAX];
    int length = snprintf(name, sizeof name, "%.*s.vqz-XXXXXX", folder_length, target);
    if (length < 0 || (size_t)length >= sizeof name)
        return ENAMETOOLONG;
    sigset_t set, old;
    handled_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    *handle = mkostemp(name, O_CLOEXEC);
    int error = *handle < 0 ? errno : 0;
    if (error == 0)
        memcpy(temporary_path, name, (size_t)length + 1);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return error;
}

static void forget_temporary(bool remove_it) {
    sigset_t set, old;
    handled_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    if (remove_it)
        unlink(temporary_path);
    temporary_path[0] = '\0';
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* What may be overwritten; *mode receives the permissions the new file gets. */
static vqz_status check_target(const char *path, bool force, mode_t *mode, vqz_diag *diag) {
    struct stat facts;
    if (stat(path, &facts) != 0) {
        if (errno != ENOENT)
            return fail_errno(diag, "cannot write", errno);
        if (lstat(path, &facts) == 0)
            return vqzi_fail(diag, VQZ_ERROR_IO,
                             "is a symbolic link that leads nowhere; remove it or write elsewhere");
        mode_t mask = umask(0);
        umask(mask);
        *mode = 0666 & ~mask;
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

vqz_status file_write(const char *path, const void *data, size_t size, bool force,
                      vqz_diag *diag) {
    if (strcmp(path, "-") == 0)
        return write_standard_output(data, size, force, diag);
    mode_t mode;
    VQZ_TRY(check_target(path, force, &mode, diag));

    /* a link keeps being one: its target is what gets replaced */
    char *resolved = realpath(path, NULL);
    const char *target = resolved != NULL ? resolved : path;
    int handle;
    int error = create_temporary(target, &handle);
    if (error != 0) {
        free(resolved);
        return fail_errno(diag, "cannot write", error);
    }
    error = write_all(handle, data, size);
    if (error == 0 && fchmod(handle, mode) != 0 && errno != EPERM)
        error = errno;
    if (error == 0 && fsync(handle) != 0 && errno != EINVAL)
        error = errno;
    if (close(handle) != 0 && error == 0)
        error = errno;
    if (error == 0)
        error = move_into_place(temporary_path, target, force);
    forget_temporary(error != 0);
    vqz_status status = VQZ_OK;
    if (error == EEXIST && !force)
        status = vqzi_fail(diag, VQZ_ERROR_IO, "already exists; overwrite it with -f");
    else if (error != 0)
        status = fail_errno(diag, "cannot write", error);
    else {
        const char *slash = strrchr(target, '/');
        char folder[PATH_MAX] = ".";
        if (slash != NULL)
            snprintf(folder, sizeof folder, "%.*s", (int)(slash - target) + 1, target);
        sync_folder(folder);
    }
    free(resolved);
    return status;
}

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
        if (mkdir(partial, 0777) != 0 && errno != EEXIST)
            return fail_errno(diag, "cannot create the folder", errno);
        if (stat(partial, &facts) != 0)
            return fail_errno(diag, "cannot create the folder", errno);
        if (!S_ISDIR(facts.st_mode))
            return vqzi_fail(diag, VQZ_ERROR_IO, "cannot create the folder: %s is a file", partial);
        partial[i] = kept;
    }
    return VQZ_OK;
}
