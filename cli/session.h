/*
 * session.h - what the commands that encode or decode share: limits, models, and the work on a list
 * of files, one after another or several at a time.
 */
#ifndef CLI_SESSION_H
#define CLI_SESSION_H

#include "cli/jobs.h"
#include "cli/models.h"
#include "cli/picture.h"
#include "cli/settings.h"

typedef struct session {
    const settings *settings;
    report report;
    vqz_limits limits; /* for each file in work */
    size_t max_file; /* largest input that makes sense within the limits, where it is read whole */
    model_store *models;
} session;

VQZ_MUST_CHECK vqz_status session_open(session *s, const settings *set, vqz_diag *diag);
void session_close(session *s);

/* Whoever works on a job.  There is one with all the threads, or one a thread. */
typedef struct task task;
typedef struct worker {
    session *session;
    const task *task;
    report report;        /* of the job: shown when all jobs before it are done */
    vqz_context *context; /* made on first use, through worker_context */
    int threads;
    bool at_output; /* set before what can only fail because of the output: errors are told under
                       its name then */
} worker;

struct task {
    vqz_status (*run)(worker *w, const job *j, size_t index, vqz_diag *diag);
    /* After a success, one at a time, in the order of the list; NULL: nothing. */
    void (*done)(session *s, const task *t, const job *j, size_t index);
    void *user;
    bool serial; /* only ever one worker */
};

VQZ_MUST_CHECK vqz_status worker_context(worker *w, vqz_context **context, vqz_diag *diag);
/* Warns of what was lost in reading a picture. */
void worker_warn(worker *w, const char *path, const picture *facts);

/* Decodes every row and keeps none: an error when the file is not good. */
VQZ_MUST_CHECK vqz_status session_decode_all(vqz_decoder *decoder, uint32_t width, uint32_t height,
                                             uint32_t channels, vqz_diag *diag);
/* --rm: deletes the source of a job whose output is in place and on the disk, and found whole,
   unless `keep` says why it should stay.  The mark was made before the source was opened. */
VQZ_MUST_CHECK vqz_status worker_remove_source(worker *w, const job *j, const file_mark *mark,
                                               const char *keep, vqz_diag *diag);
/* What contradicts --rm in the other options, reported; 0 or an exit code. */
int session_check_removal(const settings *set);

/* Runs the task on every job: reports errors, goes on, and returns how many failed.  With at least
   as many jobs as threads, each thread takes one at a time; else all work on one.  What is told,
   and what is written, does not depend on that. */
size_t session_run(session *s, const job_list *list, const task *t);
/* All of a command that turns files into files; returns the exit code. */
int session_run_command(const settings *set, const job_rules *rules, int count, char **operands,
                        const task *t);

/* What the options say about encoding; quality and metadata are the caller's. */
void session_encode_options(const session *s, vqz_encode_options *options);

/* The kind of picture to write: --format, else the extension of the output, else PNG. */
const char *session_format(const session *s, const char *output);
/* Told before the work: .pgm and .ppm say what is in them. */
VQZ_MUST_CHECK vqz_status session_check_format(const char *format, uint32_t channels,
                                               vqz_diag *diag);
/* How many rows to take at a time, about a mebibyte. */
uint32_t session_band(size_t row_bytes, uint32_t height);
/* Seconds of a clock that never jumps. */
double session_clock(void);

#endif
