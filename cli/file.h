/*
 * file.h - files in and out, the way nobody loses data: output goes to a sibling temporary file, is
 * synced, then renamed over the target; any failure or signal leaves the target as it was and
 * nothing behind.
 *
 * Threads may read and write files at the same time, each its own.
 */
#ifndef CLI_FILE_H
#define CLI_FILE_H

#include "trainer/train.h" /* byte_span */
#include <sys/stat.h>

/* Reads a file or standard input ("-"), at most max_size bytes.  *data is malloc'ed. */
VQZ_MUST_CHECK vqz_status file_read(const char *path, size_t max_size, void **data, size_t *size,
                                    vqz_diag *diag);
/* A failure with the errno of what was being done, and its remedy. */
vqz_status file_fail(vqz_diag *diag, const char *doing, int error);

/* How many outputs can be open at once: no more threads than this may write. */
enum { FILE_MAX_OUTPUTS = 256 };

/* A file in work, or standard output ("-").  Standard output cannot be taken back: the first 64 MiB
   are held until they are complete, and only what is larger goes out as it is made. */
typedef struct file_output file_output;
/* Refuses an existing target unless force is set, and a target that is not a regular file. */
VQZ_MUST_CHECK vqz_status file_create(file_output **output, const char *path, bool force,
                                      vqz_diag *diag);
VQZ_MUST_CHECK vqz_status file_append(file_output *output, const void *data, size_t size,
                                      vqz_diag *diag);
/* Puts the file in its place; only file_close may follow. */
VQZ_MUST_CHECK vqz_status file_commit(file_output *output, vqz_diag *diag);
/* Without a successful commit nothing is left behind.  NULL is allowed. */
void file_close(file_output *output);

/* All of the above for data in memory. */
VQZ_MUST_CHECK vqz_status file_write(const char *path, const void *data, size_t size, bool force,
                                     vqz_diag *diag);
/* The train_write of the trainer: replaces what is there. */
VQZ_MUST_CHECK vqz_status file_replace(const char *path, const byte_span *spans, size_t count,
                                       vqz_diag *diag);
/* What file_create would refuse, told before the work is done. */
VQZ_MUST_CHECK vqz_status file_check_target(const char *path, bool force, vqz_diag *diag);
/* Makes what has been created, renamed or removed in the folder of `file` last; 0 or an errno. */
int file_sync_folder(const char *file);

/* A source that may be deleted when it is done: which file it was before it was opened. */
typedef struct file_mark {
    struct stat facts;
    bool known;
} file_mark;
void file_mark_source(file_mark *mark, const char *path);
/* Deletes it.  What is not that very file any more, as it was then, stays, and so does what is no
   regular file, or reached through a link. */
VQZ_MUST_CHECK vqz_status file_remove_source(const file_mark *mark, const char *path,
                                             vqz_diag *diag);

/* Creates a folder and its parents; an existing one is fine. */
VQZ_MUST_CHECK vqz_status file_make_folder(const char *path, vqz_diag *diag);
/* Call before any file is opened: a standard stream that came closed becomes one that can neither
   be read nor written, or the next file would take its number and receive our messages. */
void file_hold_standard_streams(void);
/* Makes SIGINT, SIGTERM, SIGHUP remove the temporary files in work and end the program as the
   signal would; SIGPIPE and SIGXFSZ are ignored so that writing reports EPIPE and EFBIG. */
void file_install_signal_handlers(void);

#endif
