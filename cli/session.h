/*
 * session.h - what the commands that encode or decode share: limits, models, a context, reports.
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
    vqz_limits limits;
    size_t max_file; /* largest input file that makes sense within the limits */
    model_store *models;
    vqz_context *context; /* made on first use, through session_context */
} session;

VQZ_MUST_CHECK vqz_status session_open(session *s, const settings *set, vqz_diag *diag);
void session_close(session *s);
VQZ_MUST_CHECK vqz_status session_context(session *s, vqz_context **context, vqz_diag *diag);

/* Reads a picture, warning of what is lost; *file_size may be NULL. */
VQZ_MUST_CHECK vqz_status session_read_picture(session *s, const char *path, picture *p,
                                               size_t *file_size, vqz_diag *diag);

/* Runs work on every job: reports its errors, goes on, and returns the exit code.  The name put
   before an error is the output's when *at_output was set. */
typedef vqz_status (*job_work)(session *s, const job *j, bool *at_output, vqz_diag *diag);
int session_run_jobs(const settings *set, const job_rules *rules, int count, char **operands,
                     job_work work);

/* Seconds of a clock that never jumps. */
double session_clock(void);

#endif
